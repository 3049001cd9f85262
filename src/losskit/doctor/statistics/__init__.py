"""What curves say: noise, slopes, levels, jumps; robust, and honest about chance."""
