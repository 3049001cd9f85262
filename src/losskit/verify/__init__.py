"""Recomputes the tables that our documents print, beside torch's answer to the same input."""
