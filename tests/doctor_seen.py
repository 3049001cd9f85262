"""A piece of a user's code under the spy, and what the rules make of it."""

from losskit.doctor.before.facts import look_at_batch
from losskit.doctor.before.spy import Spy
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine

MINE = (
    *("D101", "D102", "D103", "D104", "D105", "D106", "D107", "D108", "D109", "D110", "D111", "D112", "D113", "D114"),
    *("D117", "D118", "D119", "D801", "D802", "D803", "D805"),
)


def seen(work, batch=None, tokenizer=None, **more):
    """The calls of a piece of user's code with its total and its batch; what it raises is theirs."""
    with Spy() as spy:
        try:
            total = work()
        except Exception:
            total = None
    assert not spy.problems
    value = float(total.detach()) if total is not None and total.numel() == 1 else None
    inside = None if batch is None else look_at_batch(batch, tokenizer)
    return Evidence("before", calls=spy.finish(total), batch=inside, total=value, **more)


def found(work, batch=None, tokenizer=None, codes=MINE, **more):
    """The findings by code."""
    findings, faults = examine(seen(work, batch, tokenizer, **more), codes=codes)
    assert not faults
    return {one.code: one for one in findings}


def numbers(work, code, **more):
    """The numbers of one finding."""
    return found(work, **more)[code].hit.numbers
