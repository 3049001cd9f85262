"""What stands between a step that is not finite and the weights: a skipped update, the last good weights, a veto."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .origin_state import Kept, first_bad, named_state

__all__ = ["Guard", "honours_found_inf"]

# torch names the optimizers whose fused kernels read found_inf by this flag of the class or the instance
_FLAG = "_step_supports_amp_scaling"
_FOUND = "found_inf"  # which torch reads and does not declare


def honours_found_inf(optimizer: torch.optim.Optimizer) -> bool:
    """Whether step() leaves weights and state alone where ``optimizer.found_inf`` is 1: torch's fused optimizers."""
    return bool(getattr(optimizer, _FLAG, False)) and all(group.get("fused") for group in optimizer.param_groups)


class Guard:
    """Keeps a step whose loss or gradient is not finite away from the weights.

    Where the optimizer is fused, ``arm(flag)`` makes the next step() a no-op on the device where the flag is set, without a
    synchronisation. For others ``arm`` returns False: keep ``snapshot()``, ask ``poisoned`` before a checkpoint is written, and
    ``restore()``.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, model: nn.Module | None = None, *, path: str | Path | None = None
    ) -> None:
        self.optimizer = optimizer
        self.modules = () if model is None else (model,)
        self.honours = honours_found_inf(optimizer)
        self._path = None if path is None else Path(path)
        self._good: Kept | None = None
        self._armed: Tensor | None = None
        self._skipped: Tensor | None = None
        self._hook = optimizer.register_step_post_hook(self._after_step) if self.honours else None

    def arm(self, flag: Tensor) -> bool:
        """Skip the next step() where ``flag``, one element, is not 0; whether the optimizer will.

        A flag that a gradient scaler has set is left alone: the scaler skips the step itself.
        """
        if not self.honours or (self._foreign() is not None):
            return False
        self._armed = (flag.detach() != 0).to(torch.float32).reshape(())
        setattr(self.optimizer, _FOUND, self._armed)
        return True

    def disarm(self) -> None:
        """Forget a flag that no step() has used up."""
        if self._armed is not None and getattr(self.optimizer, "found_inf", None) is self._armed:
            delattr(self.optimizer, "found_inf")
        self._armed = None

    @property
    def skipped(self) -> int:
        """Steps left out so far; waits for the device."""
        return 0 if self._skipped is None else int(self._skipped.item())

    def _foreign(self) -> Any:
        found = getattr(self.optimizer, "found_inf", None)
        return None if found is self._armed else found

    def _after_step(self, *_: object) -> None:
        if self._armed is not None:
            self._skipped = self._armed if self._skipped is None else self._skipped + self._armed
        self.disarm()

    def snapshot(self, step: int | None = None) -> bool:
        """Keep weights, buffers and the optimizer's state if all are finite; whether they were."""
        if self.poisoned:
            return False
        good = Kept.of(self.modules, self.optimizer, step)
        if self._path is None:
            self._good = good
            return True
        beside = self._path.with_name(self._path.name + ".part")
        torch.save({"copies": good.copies, "states": good.states, "groups": good.groups, "step": step}, beside)
        os.replace(beside, self._path)  # a run that is killed while it writes still has the last one
        return True

    def restore(self) -> int | None:
        """Put the last good weights back; the step that they are of.

        Raises:     RuntimeError if there was no snapshot.
        """
        good = self._good if self._path is None else self._read(self._path)
        if good is None:
            raise RuntimeError("there is no snapshot to restore, expected one: call snapshot() while the weights are finite")
        good.put_back(self.optimizer)
        return good.step

    def _read(self, path: Path) -> Kept | None:
        if not path.exists():
            return None
        stored = torch.load(path, weights_only=True, map_location="cpu")
        tensors = tuple(t for kind, _, t in named_state(self.modules, self.optimizer) if kind != "optimizer")
        return Kept(tensors, tuple(stored["copies"]), tuple(stored["states"]), tuple(stored["groups"]), stored["step"])

    @property
    def poisoned(self) -> bool:
        """Whether a weight, a buffer or the optimizer's state is not finite now: do not write a checkpoint of it."""
        return first_bad(self.modules, self.optimizer) is not None

    def close(self) -> None:
        """Take the hook off the optimizer."""
        self.disarm()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
