"""Sharing an evaluation over ranks: who does what, and one exchange that ends with an error, never a hang, when a rank dies."""

from __future__ import annotations

import contextlib
import heapq
import os
import pickle
import queue
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist

__all__ = ["Ranks", "gather", "ranks", "share", "start_from_environment", "stop"]

T = TypeVar("T")
# gloo has no "forever", and a group's own limit is minutes: a rank may be hours behind and well
_FOREVER = timedelta(days=3650)
# a rank that dies takes all its connections with it at nearly the same time; who died with it is named too
_GRACE = 0.5
_TAG, _END_TAG = 1105, 1106


class Ranks(NamedTuple):
    """Which process this is, and of how many."""

    rank: int
    world: int


class _State:
    """What this module made and has to take down again."""

    started = False
    group: tuple[object, dist.ProcessGroup] | None = None  # the default group, and the gloo group beside it


def ranks() -> Ranks:
    """This process among the ranks; (0, 1) without an initialised process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks(0, 1)
    return Ranks(dist.get_rank(), dist.get_world_size())


def start_from_environment() -> bool:
    """Join the other ranks if torchrun started this process as one of several; whether it did.

    On CUDA each rank takes the device of its ``LOCAL_RANK``; objects still travel over gloo, which notices a dead rank at once.
    """
    if not dist.is_available() or dist.is_initialized() or "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return False
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl" if dist.is_nccl_available() else "gloo")
    else:
        dist.init_process_group("gloo")
    _State.started = True
    return True


def stop() -> None:
    """Leave what :func:`start_from_environment` joined, without waiting for anyone. A group made by others is left as it is."""
    _State.group = None
    if _State.started and dist.is_initialized():
        dist.destroy_process_group()
    _State.started = False


def share(costs: Sequence[int], world: int) -> list[int]:
    """The owner of each piece of work: the longest first, each to the rank with the least to do (Graham's rule).

    The same on every rank. The busiest rank has at most 4/3 - 1/(3 world) of the work that it has in the best plan.
    """
    if world < 1:
        raise ValueError(f'"world" must be >= 1, got {world}')
    heap = [(0, 0, rank) for rank in range(world)]  # work, pieces, rank: pieces that cost nothing are spread as well
    owners = [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        work, pieces, rank = heap[0]
        heapq.heapreplace(heap, (work + costs[index], pieces + 1, rank))
        owners[index] = rank
    return owners


def gather(outcome: T | BaseException) -> list[T]:
    """Every rank's outcome, by rank, on every rank; or, if the outcome of a rank is an exception, that exception on every rank.

    All ranks call it equally often. It waits without limit for a rank that lives. All raise the same: the exception of the lowest
    rank, its message behind ``rank 1:``, once every rank is there. A process that ends, however, makes the others raise within a
    second; a machine that vanishes without closing its connections is for torchrun to notice.

    Raises:     the exception of a rank, as its own type where that can be sent, else as a RuntimeError; RuntimeError for a rank
                that ended. No rank can be reached after that.
    """
    me = ranks()
    if me.world == 1:
        if isinstance(outcome, BaseException):
            raise outcome
        return [outcome]
    parcel = _pack(outcome, me.rank)
    parcels = _exchange(parcel, me)
    found: list[T] = []
    for rank in range(me.world):
        good, content = pickle.loads(parcels[rank])
        if not good:
            error = _rebuild(*content)
            raise error from (outcome if rank == me.rank and isinstance(outcome, BaseException) else None)
        found.append(content)
    return found


def _pack(outcome: object, rank: int) -> bytes:
    if not isinstance(outcome, BaseException):
        try:
            return pickle.dumps((True, outcome))
        except Exception as error:
            outcome = TypeError(f'"outcome" cannot be sent to the other ranks ({error}): give numbers, texts, lists and dicts')
    text, kind = f"rank {rank}: {outcome}", type(outcome)
    blob = b""
    # SystemExit is told, not sent: with a text in it, it would be another status
    if isinstance(outcome, (Exception, KeyboardInterrupt)):
        state = {**vars(outcome), **({"errno": outcome.errno} if isinstance(outcome, OSError) else {})}
        for attempt in ({}, state):
            with contextlib.suppress(Exception):
                blob = pickle.dumps((kind, attempt))
    return pickle.dumps((False, (text, f"rank {rank}: {kind.__name__}: {outcome}", blob)))


def _rebuild(text: str, fallback: str, blob: bytes) -> BaseException:
    """The exception with its new message, past its constructor: that may want other arguments."""
    with contextlib.suppress(Exception):
        kind, state = pickle.loads(blob)
        error: BaseException = kind.__new__(kind, text)
        for name, value in state.items():
            setattr(error, name, value)
        if text in str(error):
            return error
    return RuntimeError(fallback)


def _exchange(parcel: bytes, me: Ranks) -> dict[int, bytes | bytearray]:
    """The parcels of all ranks. One thread waits for each peer, so that any death is seen while others are slow."""
    group, peers = _objects(), [rank for rank in range(me.world) if rank != me.rank]
    answers: queue.SimpleQueue[tuple[int, bytearray | None]] = queue.SimpleQueue()

    def swap(peer: int) -> None:
        try:
            answers.put((peer, _swap(parcel, peer, group)))
        except Exception:  # gloo's words name an address, not a rank
            answers.put((peer, None))

    threads = [threading.Thread(target=swap, args=(peer,), daemon=True) for peer in peers]
    for thread in threads:
        thread.start()
    parcels: dict[int, bytes | bytearray] = {me.rank: parcel}
    ended: list[int] = []
    try:
        while len(parcels) + len(ended) < me.world:
            try:
                peer, answer = answers.get(timeout=_GRACE)
            except queue.Empty:
                if ended:
                    break
                continue
            if answer is None:
                ended.append(peer)
            else:
                parcels[peer] = answer
    finally:
        if len(parcels) < me.world:
            _release(peers, group)
        for thread in threads:
            thread.join(timeout=10)
    if ended:
        names = f"rank{'s' if len(ended) > 1 else ''} {', '.join(map(str, sorted(ended)))}"
        raise RuntimeError(
            f"{names} ended without a result for rank {me.rank}: see what it printed, then resume from the journal"
        )
    return parcels


def _swap(parcel: bytes, peer: int, group: dist.ProcessGroup) -> bytearray:
    """Send ours to the peer and take its own. A connection that closes raises, in every wait."""
    sends = [_number(len(parcel)), torch.frombuffer(bytearray(parcel), dtype=torch.uint8)]
    works = [dist.isend(each, peer, group=group, tag=_TAG) for each in sends]
    size = _number(0)
    _wait(dist.irecv(size, peer, group=group, tag=_TAG), _FOREVER)
    theirs = bytearray(int(size))
    _wait(dist.irecv(torch.frombuffer(theirs, dtype=torch.uint8), peer, group=group, tag=_TAG), _FOREVER)
    for work in works:  # who returned before the peer has its part might end, and take it along
        _wait(work, _FOREVER)
    return theirs


def _number(value: int) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.int64)


def _wait(work: Any, limit: timedelta) -> None:
    work.wait(limit)


def _release(peers: Sequence[int], group: dist.ProcessGroup) -> None:
    """End the waits of all threads: a wait of gloo that runs out of time closes all connections of its group.

    A thread left in such a wait would abort the interpreter at its end, and the other ranks see that this one gave up.
    """
    for peer in peers:
        with contextlib.suppress(RuntimeError):
            _wait(dist.irecv(_number(0), peer, group=group, tag=_END_TAG), timedelta(milliseconds=1))


def _objects() -> dist.ProcessGroup:
    """A gloo group of all ranks: the default one if it has gloo, else one that all ranks make at their first gather."""
    world = dist.group.WORLD
    assert world is not None
    if "cpu:gloo" in str(dist.get_backend_config()):
        return world
    if _State.group is None or _State.group[0] is not world:
        made: Any = dist.new_group(backend="gloo")
        _State.group = (world, made)
    return _State.group[1]
