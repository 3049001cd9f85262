"""Perplexity as a streaming metric: update with logits, hidden states, log-probabilities or sums, in any order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from ..core.call import verify, whole_number
from ..core.check import at_least, first_place, peek, wide
from ..core.domain import ClassIndex, Domain, LinearWeight, Logits, Mask, Real
from ..core.reduce import Parts
from ..losses.sequence import shift_targets
from ..ops.margin import class_last
from .figures import PerplexityResult, figures
from .nats import of_hidden, of_logits
from .totals import Group, Key, Name, State, Totals, checked, fields, key_of, keys, lines, number, others_of

__all__ = ["Perplexity", "PerplexityResult"]

_ROUNDING = 0.01  # how far above 0 a log-probability of half precision may come

_MASK = Mask(meaning="True where a token is there and counts")
_LOGITS = {
    "logits": Logits(),
    "target": ClassIndex(meaning="token ids, one for each row of scores (classes last; class_dim=1 for (B, V, T))"),
    "mask": _MASK,
}
_HIDDEN = {
    "hidden": Real("* D", meaning="one hidden vector for each token"),
    "linear_weight": LinearWeight(),
    "target": ClassIndex(meaning='token ids, one for each row of "hidden"'),
    "linear_bias": Real("C", optional=True, meaning="one number for each class"),
    "mask": _MASK,
}
_NATS = {"nats": Real("", meaning="a sum of -log p")}
_TOKENS = {"tokens": Domain("", "integer", "a count")}
_NLL = {"nll": Real(meaning="-log p of each token"), "mask": _MASK}


class Saved(TypedDict):
    """The sums of this rank, and of the others as of the last ``sync``."""

    own: State
    others: list[State]


class Perplexity:
    r"""Among how many tokens the model is undecided, over all that it is shown: exp of the mean -log p of a token.

    The sums are float64 and the counts int64, on the device of the inputs. An update waits for no device, but for one
    place: on CUDA ``update_hidden`` drops rows that do not count, as :func:`linear_log_probs` does. ``compute`` and
    ``result`` wait. On mps, which has no float64, the sums are on the CPU and every update waits.

    Formula:    \exp\left(\frac{\sum_t -\log p_t}{\sum_t 1}\right), the sums over all updates
    Use when:   a language model is watched during training, or scored by a loop of one's own.
    Avoid when: a text is to be scored from its beginning to its end: windows and special tokens are easily got wrong.
    Args:
        ignore_index: targets with this value do not count.
        class_dim: the axis of the classes in ``logits``; 1 for (B, V, T).
        shift: whether position t predicts the target at t + 1. Then ``target`` is the input of the model, and neither the
            logits nor the target are to be shifted by the caller.
    Raises:     TypeError; ShapeError; IndexError for a target outside of [0, V) on CPU (the result is NaN elsewhere).
    Reference:  Jelinek et al. 1977, Perplexity: a measure of the difficulty of speech recognition tasks
    Example:
        >>> metric = losskit.Perplexity()
        >>> metric.update(torch.zeros(2, 3, 60), torch.randint(60, (2, 3)))  # (B, T, V) and (B, T); knows nothing
        >>> metric.compute()
        tensor(60.0000, dtype=torch.float64)
        >>> metric.update_sum(12.0, 4, document="a", bytes=16)
        >>> metric.result().tokens
        10
    """

    def __init__(self, *, ignore_index: int = -100, class_dim: int = -1, shift: bool = False) -> None:
        whole_number("ignore_index", ignore_index)
        whole_number("class_dim", class_dim)
        self.ignore_index, self.class_dim, self.shift = ignore_index, class_dim, _flag("shift", shift)
        self._own = Totals()
        self._others: list[State] = []  # of the other ranks, as of the last sync()

    @torch.no_grad()
    def update(
        self, logits: Tensor, target: Tensor, *, mask: Tensor | None = None, document: Name = None, group: Group = None
    ) -> None:
        """Count the tokens of a batch from the scores of all classes.

        Scores are taken before the softmax. Probabilities are floats too and nobody can tell them apart, so they are not
        guessed at: pass ``probs.log()``. Beside the scores one block of them is kept in float32.

        Shape:      logits (*, V), target (*), mask (*)
        Args:
            mask: False where a token is padding. With ``shift`` a token that follows padding is not counted either, since
                the model has seen nothing of use before it. A prompt is left out by ``ignore_index`` in its targets.
            document: the name of the document, or one for each entry of the first axis: what the interval is made of.
            group: the same for groups, which the result has apart.
        """
        given = {"logits": logits, "target": target, "mask": mask}
        verify(_LOGITS, given, self.ignore_index, self.class_dim)
        target = self._asked(target, mask)
        nll = of_logits(class_last(logits, self.class_dim), target, self.ignore_index)
        self._add(nll, target != self.ignore_index, keys(document, group, target.shape))

    @torch.no_grad()
    def update_hidden(
        self,
        hidden: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        logit_scale: float = 1.0,
        softcap: float | None = None,
        mask: Tensor | None = None,
        memory: int | None = None,
        document: Name = None,
        group: Group = None,
    ) -> None:
        """Count the tokens of a batch from what enters the last layer, without ever holding the scores.

        Shape:      hidden (*, D), linear_weight (V, D), target (*), mask (*)
        Args:
            linear_bias, logit_scale, softcap, memory: as in :func:`linear_log_probs`.
            mask, document, group: as in :meth:`update`.
        """
        given = {"hidden": hidden, "linear_weight": linear_weight, "target": target, "linear_bias": linear_bias, "mask": mask}
        verify(_HIDDEN, given, self.ignore_index, -1)
        target = self._asked(target, mask)
        nll = of_hidden(
            hidden, linear_weight, target, linear_bias,
            ignore_index=self.ignore_index, logit_scale=logit_scale, softcap=softcap, memory=memory,
        )  # fmt: skip
        self._add(nll, target != self.ignore_index, keys(document, group, target.shape))

    @torch.no_grad()
    def update_nll(self, nll: Tensor, *, mask: Tensor | None = None, document: Name = None, group: Group = None) -> None:
        """Count tokens that someone else has scored: the negated ``logprobs`` of a server.

        Each value is the -log p of a token in nats, ``shift`` or not. One that is missing is masked: NaN counts, and shows.

        Shape:      nll (*), mask (*)
        Raises:     ValueError for a value below 0 (on CPU): log-probabilities are to be negated.
        """
        verify(_NLL, {"nll": nll, "mask": mask}, None, -1)
        counted = torch.ones_like(nll, dtype=torch.bool) if mask is None else mask
        nll = torch.where(counted, wide(nll), 0)
        wrong = nll < -_ROUNDING
        if peek(wrong.any()):
            at, place = first_place(wrong)
            raise ValueError(f'"nll" is {float(nll[at]):g}{place}, expected -log p, 0 or more: negate log-probabilities')
        self._add(nll, counted, keys(document, group, nll.shape))

    @torch.no_grad()
    def update_sum(
        self,
        nats: Tensor | float,
        tokens: Tensor | int,
        *,
        document: str | int | None = None,
        group: str | None = None,
        bytes: int | None = None,
        characters: int | None = None,
        words: int | None = None,
    ) -> None:
        """Count sums: ``nats`` = the sum of -log p over ``tokens`` tokens, and the text that these tokens are.

        ``update_sum(0.0, 0, bytes=...)``, of numbers, says of how many bytes the tokens are that other updates have counted
        for the same document so far. A unit that some tokens came without is not known.

        Shape:      nats (), tokens (); numbers or 0-d tensors
        Raises:     ValueError for a number below 0, or nats of no token; for tensors on CPU only, where looking costs nothing.
        """
        units = {"bytes": bytes, "characters": characters, "words": words}
        for name, count in {"tokens": tokens, **units}.items():
            if count is not None and not isinstance(count, Tensor):
                whole_number(name, count)
                at_least(name, count, 0)
        nothing = not isinstance(tokens, Tensor) and tokens == 0
        nats = nats if isinstance(nats, Tensor) else number("nats", nats)
        tokens = tokens if isinstance(tokens, Tensor) else torch.tensor(tokens)
        verify(_NATS, {"nats": nats}, None, -1)
        verify(_TOKENS, {"tokens": tokens}, None, -1)
        _refuse_sums(nats, tokens)
        row = self._put(nats.reshape(1), tokens.reshape(1), [key_of(document, group)])[0]
        self._own.add_units(row, list(units.values()), settles=nothing)

    def _asked(self, target: Tensor, mask: Tensor | None) -> Tensor:
        """The target of each row, ``ignore_index`` where it is not to be counted."""
        target = target.long()
        there = target if mask is None else torch.where(mask, target, self.ignore_index)
        if not self.shift:
            return there
        target = shift_targets(there, ignore_index=self.ignore_index)
        return target if mask is None else torch.where(mask, target, self.ignore_index)

    def _add(self, nll: Tensor, counted: Tensor, names: list[Key]) -> None:
        """Add tokens (*) under one key, or the entries of the first axis under theirs."""
        if nll.numel():
            self._own.owe(self._put(nll, counted, names))

    def _put(self, nats: Tensor, tokens: Tensor, names: list[Key]) -> list[int]:
        device = self._own.join(nats.device)
        late = device.type != "cpu"  # what arrives on the host may be read before it is there
        nats, tokens = (t.to(device, non_blocking=late).reshape(len(names), -1) for t in (nats, tokens))
        return self._own.add(names, nats.sum(1, dtype=torch.float64), tokens.sum(1, dtype=torch.int64))

    def parts(self) -> Parts:
        """Nats and tokens so far as 0-d tensors, without waiting for the device: what other frameworks add up."""
        nats, tokens = self._own.nats.sum(), self._own.tokens.sum()
        for state in self._others:
            nats = nats + state["nats"].sum().to(nats.device, non_blocking=True)
            tokens = tokens + state["tokens"].sum().to(tokens.device, non_blocking=True)
        return Parts(nats, tokens)

    def compute(self) -> Tensor:
        """exp(nats / tokens), 0-d float64 on the device of the sums.

        Raises:     ValueError if no token was counted.
        """
        result = self.result()
        if result.loss is None:
            raise ValueError("compute() has no token to go by: call an update first, with a target that is not ignored")
        return torch.tensor(result.loss, dtype=torch.float64, device=self._own.device).exp()

    def result(self, *, level: float = 0.95) -> PerplexityResult:
        """Every figure, with the interval at ``level`` where documents are named, and the same for each group."""
        return figures(lines([self._own.state(), *self._others]), level)

    def merge_state(self, others: Iterable[Perplexity]) -> Self:
        """Add what other metrics have counted themselves; what ``sync`` has brought them from elsewhere is left out.

        Raises:     TypeError; ValueError for this metric itself, or one that comes twice.
        """
        for other in others_of(self, others, Perplexity):
            self._own.absorb(other._own.state())
        return self

    def sync(self, process_group: dist.ProcessGroup | None = None) -> Self:
        """Let ``compute`` and ``result`` speak for all ranks of ``torch.distributed``; to be called by each of them.

        What this rank counts goes on apart from what came from the others, so that updates may follow, and a second
        ``sync`` brings the others up to date and counts nothing twice. Ranks may hold nothing. Without a process group
        nothing happens. All ranks get the same figures, to the last digit.
        """
        if dist.is_available() and dist.is_initialized():
            states: list[State | None] = [None] * dist.get_world_size(process_group)
            dist.all_gather_object(states, self._own.state(), process_group)
            here = dist.get_rank(process_group)
            self._others = [state for rank, state in enumerate(states) if state is not None and rank != here]
        return self

    def reset(self) -> Self:
        """Forget everything that was counted, here and on other ranks."""
        self._own, self._others = Totals(self._own.device), []
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the sums; an update from an accelerator moves sums that are on the CPU by itself."""
        self._own.to(device)
        return self

    def state_dict(self) -> Saved:
        """What ``load_state_dict`` takes, of tensors and plain Python; each rank saves and loads its own."""
        return {"own": self._own.state(), "others": list(self._others)}

    def load_state_dict(self, state: Saved) -> Self:
        """Take the place of the metric that was saved; the options stay. What ``state_dict`` does not return is refused."""
        mine, others = fields(state, "own", "others")
        if not isinstance(others, list):
            raise TypeError(f'"others" is a {type(others).__name__}, expected a list of tables: what state_dict() returns')
        own, tables = Totals(self._own.device), [checked(table) for table in others]
        own.absorb(checked(mine))
        self._own, self._others = own, tables
        return self


def _refuse_sums(nats: Tensor, tokens: Tensor) -> None:
    """Raise for sums that cannot be, where that can be seen; NaN counts, and shows."""
    if peek(tokens < 0):
        at_least("tokens", int(tokens), 0)
    nothing = peek(tokens == 0)  # apart from nats, which may be elsewhere
    if peek(nats < -_ROUNDING) or (nothing and peek(nats != 0)):
        expected = "0 nats of 0 tokens" if nothing else "the sum of -log p, 0 or more"
        raise ValueError(f'"nats" is {float(nats):g}, expected {expected}')


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):  # a tensor here is a slip of the positions
        raise TypeError(f'"{name}" must be True or False, got {type(value).__name__}')
    return value
