"""Losses that need not fall, told by the names in a log: two networks against each other, and policies that are rewarded."""

from __future__ import annotations

from ..evidence.run import Run
from ..levels_standing import AGAINST
from .logs.names import kind_of, words

__all__ = ["need_not_fall"]

_MAKES = frozenset({"g", "gen", "generator"})
_JUDGES = frozenset({"d", "dis", "disc", "discriminator", "critic"})
_REWARD = frozenset({"reward", "rewards", "rew"})
_RETURN = frozenset({"return", "returns"})
_EPISODE = frozenset({"ep", "episode", "episodes", "episodic", "discounted", "cumulative"})
_OF_A_POLICY = frozenset({"policy", "td", "actor", "entropy"})
# DPO logs rewards as well, and its loss falls
_OF_PREFERENCES = frozenset({"chosen", "rejected", "accuracies", "margins"})


def need_not_fall(run: Run) -> str:
    """Why the loss of a run may rise or stand when all is well, in words; empty if it should fall."""
    main = run.main("train_loss") or run.main("eval_loss")
    names = [*run.reading.series_seen, *(series.name for series in run.series)]
    if main is not None and AGAINST.search(main.name.lower()):
        return f"{main.name} is the loss of one of two networks against each other"
    losses = [name for name in names if kind_of(name) in ("train_loss", "eval_loss")]
    makes = next((name for name in losses if _MAKES & set(words(name))), None)
    judges = next((name for name in losses if _JUDGES & set(words(name))), None)
    if makes is not None and judges is not None:
        return f"{makes} and {judges} are losses of two networks against each other"
    if any(_OF_PREFERENCES & set(words(name)) for name in names):
        return ""
    rewarded = next((name for name in names if _is_of_a_policy(name)), None)
    return f"{rewarded} is in the log, and the losses of reinforcement learning follow what the policy meets" if rewarded else ""


def _is_of_a_policy(name: str) -> bool:
    said = set(words(name))
    if said & _REWARD or (said & _RETURN and said & _EPISODE):
        return True
    return bool(said & _OF_A_POLICY) and "loss" in said and "cross" not in said
