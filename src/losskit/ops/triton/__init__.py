"""Row passes in Triton: imported where a CUDA tensor meets them, and nowhere else."""
