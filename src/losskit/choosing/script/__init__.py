"""An advice as a training script that the user owns: plain Python, one file, with the loss as it was advised."""

from .write import script, write_script

__all__ = ["script", "write_script"]
