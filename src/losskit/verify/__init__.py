"""Recomputes the tables that our documents print, beside torch's answer to the same input."""

from .. import api  # fills the catalogue in its own order, whatever is imported next

__all__ = ["api"]
