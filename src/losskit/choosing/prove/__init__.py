"""Advice as evidence: every candidate trained on the user's own data, cross-validated."""

from .run import prove as prove
from .run import prove_problem as prove_problem

__all__ = ["prove", "prove_problem"]
