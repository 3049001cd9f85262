"""All sick runs."""

from __future__ import annotations

from . import sick_calls, sick_curves, sick_embeddings, sick_language, sick_levels, sick_logs, sick_numbers, sick_wiring
from .cases import SICK, Outcome, Sick, examined

__all__ = ["FILES", "SICK", "Outcome", "Sick", "examined"]

# each enters its runs when it is loaded
FILES = (sick_calls, sick_wiring, sick_numbers, sick_levels, sick_curves, sick_embeddings, sick_language, sick_logs)
