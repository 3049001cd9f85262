"""Which samples a batch is drawn from: weights that balance classes, and a weighted sampler for many ranks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils.data import Sampler
from typing_extensions import override

from ..core.call import whole_number
from ..core.check import ShapeError, at_least, between, choice, first_place

__all__ = ["DistributedWeightedSampler", "class_balanced_sample_weights"]


def class_balanced_sample_weights(labels: Tensor | Sequence[int], *, balance: float = 1.0) -> Tensor:
    r"""How often each sample is to be drawn so that rare classes are seen: for a weighted sampler.

    Formula:    w_i = n_{y_i}^{-q} / \mathrm{mean}, so that a draw is of class c with probability n_c^{1-q} / \sum_k n_k^{1-q}
    Use when:   batches hardly ever hold a rare class, as losses of a whole batch need (auc_hinge_loss, aucm_loss). Not together
                with class weights in the loss: each of the two balances already.
    Shape:      labels (N,) integers or bools, one class a sample; or (N, C) of 0 and 1, any number of classes -> (N,) float64
    Args:
        labels: the classes. A sample of several classes is drawn as often as its rarest one asks for; one without any is of the
            background, which is a class like the others.
        balance: q in [0, 1]: 0 draws all samples alike, 1 all classes, 0.5 is square-root sampling.
    Returns:    (N,) float64 with mean 1, for DistributedWeightedSampler or torch.utils.data.WeightedRandomSampler.
    Raises:     ShapeError; TypeError; ValueError for labels (N, C) that are not 0 or 1, or a balance outside of [0, 1].
    Reference:  Kang et al. 2020, arXiv:1910.09217; several classes: Gupta, Dollar, Girshick 2019, arXiv:1908.03195
    Example:
        >>> losskit.class_balanced_sample_weights([0, 0, 0, 1])
        tensor([0.6667, 0.6667, 0.6667, 2.0000], dtype=torch.float64)
    """
    between("balance", balance, 0, 1)
    try:
        y = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as problem:
        raise TypeError(f'"labels" must be a Tensor or a sequence of integers, got {type(labels).__name__} ({problem})') from None
    if y.ndim not in (1, 2):
        raise ShapeError(f'"labels" has shape {tuple(y.shape)}, expected (N,) class indices, or (N, C) of 0 and 1')
    if not y.numel():
        return torch.ones(len(y), dtype=torch.float64)
    weight = _rarest(y, balance) if y.ndim == 2 else _rarity(y, balance)
    return weight / weight.mean()


def _rarity(y: Tensor, balance: float) -> Tensor:
    if y.is_floating_point() or y.is_complex():
        raise TypeError(f'"labels" has dtype {y.dtype}, expected integers: (N,) class indices; use labels.long()')
    _, index, counts = y.unique(return_inverse=True, return_counts=True)
    rarity: Tensor = counts.double().pow(-balance)
    return rarity[index]


def _rarest(y: Tensor, balance: float) -> Tensor:
    wrong = (y != 0) & (y != 1)
    if bool(wrong.any()):
        at, place = first_place(wrong)
        raise ValueError(f'"labels" is {y[at].item():g}{place}, expected 0 or 1: whether the sample is of the class')
    member = torch.cat([y == 1, (y == 0).all(-1, keepdim=True)], -1)  # the background comes last
    rarity = member.sum(0).clamp(min=1).double().pow(-balance)
    return torch.where(member, rarity, 0).amax(-1)


class DistributedWeightedSampler(Sampler[int]):
    """Weighted draws for a DataLoader on many ranks: what all ranks draw together is one weighted sample.

    All ranks make the same draws from (seed, epoch), and each takes its own: every ``num_replicas``-th. Call ``set_epoch``
    before each epoch, or every epoch is the same. No rank waits for another. Any number of weights, where torch.multinomial
    refuses more than 2^24.

    With replacement every draw is of sample i with probability w_i / sum(w). Without, each next one is so among those that are
    left, so that heavy samples come early.

    Args:
        weights: (N,) how often each sample is to be drawn, zero or more; zero: never. See class_balanced_sample_weights.
        num_samples: how many draws all ranks make together in an epoch; by default as many as there are weights (without
            replacement: weights above 0). Every rank makes equally many: rounded up with replacement, and down without.
        replacement: whether a sample can be drawn again.
        num_replicas: the number of ranks, by default that of torch.distributed.
        rank: which of them this is, by default that of torch.distributed.
        seed: the same on all ranks.

    Raises:     ShapeError; TypeError; ValueError for weights that are negative, not finite or all 0, more samples than weights
                above 0 without replacement, or where torch.distributed is not initialised and num_replicas or rank is missing.

    Example:
        >>> weights = losskit.class_balanced_sample_weights([0, 0, 0, 1])
        >>> sampler = losskit.DistributedWeightedSampler(weights, num_replicas=2, rank=0)
        >>> sampler.set_epoch(3)
        >>> len(list(sampler))  # of four draws
        2
    """

    def __init__(
        self,
        weights: Tensor | Sequence[float],
        *,
        num_samples: int | None = None,
        replacement: bool = True,
        num_replicas: int | None = None,
        rank: int | None = None,
        seed: int = 0,
    ) -> None:
        choice("replacement", replacement, (True, False))
        whole_number("seed", seed)
        self.weights = _weights(weights)
        self.replacement, self.seed, self.epoch, self.start = replacement, seed, 0, 0
        self.num_replicas, self.rank = _ranks(num_replicas, rank)
        positive = int((self.weights > 0).sum())
        if num_samples is None:
            num_samples = len(self.weights) if replacement else positive
        whole_number("num_samples", num_samples)
        at_least("num_samples", num_samples, 1)
        if not replacement and num_samples > positive:
            raise ValueError(
                f'"num_samples" is {num_samples}, expected at most {positive}, the weights above 0: draw with replacement=True'
            )
        self.share = -(-num_samples // self.num_replicas) if replacement else num_samples // self.num_replicas
        if not self.share:
            raise ValueError(f'"num_samples" is {num_samples}, expected at least one for each of {self.num_replicas} ranks')

    def set_epoch(self, epoch: int, *, start: int = 0) -> None:
        """Make the draws of this epoch; ``start`` leaves out as many of this rank's first ones, to go on where a run stopped."""
        whole_number("epoch", epoch)
        whole_number("start", start)
        between("start", start, 0, self.share)
        self.epoch, self.start = epoch, start

    @override
    def __iter__(self) -> Iterator[int]:
        digest = hashlib.sha256(f"{self.seed} {self.epoch}".encode()).digest()  # seed 1, epoch 0 is not seed 0, epoch 1
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
        draws = self._with(generator) if self.replacement else self._without(generator)
        return iter(draws[self.start :].tolist())

    def __len__(self) -> int:
        """How many draws this rank makes, less those that are left out."""
        return self.share - self.start

    def _with(self, generator: torch.Generator) -> Tensor:
        sums = self.weights.cumsum(0)
        last = int(self.weights.nonzero()[-1])
        mine = torch.rand(self.share * self.num_replicas, generator=generator, dtype=torch.float64)[
            self.rank :: self.num_replicas
        ]
        # the first sum above the point is of a weight above 0; rounding may put the point at the very end
        return torch.searchsorted(sums, mine * sums[-1], right=True).clamp(max=last)

    def _without(self, generator: torch.Generator) -> Tensor:
        # waiting times of rates w: who comes first is drawn in proportion to w, and so is each next one
        waits = torch.empty_like(self.weights).exponential_(generator=generator) / self.weights
        order = waits.topk(self.share * self.num_replicas, largest=False).indices
        return order[self.rank :: self.num_replicas]


def _weights(weights: Tensor | Sequence[float]) -> Tensor:
    if isinstance(weights, Tensor) and weights.is_complex():
        raise TypeError(f'"weights" must be real numbers, one a sample, got a Tensor of {weights.dtype}')
    try:
        w = torch.as_tensor(weights, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as problem:
        raise TypeError(f'"weights" must be real numbers, one a sample, got {type(weights).__name__} ({problem})') from None
    if w.ndim != 1 or not w.numel():
        raise ShapeError(f'"weights" has shape {tuple(w.shape)}, expected (N,): one weight for each sample')
    wrong = ~((w >= 0) & w.isfinite())
    if bool(wrong.any()):
        at, place = first_place(wrong)
        raise ValueError(f'"weights" is {float(w[at]):g}{place}, expected a finite number, zero or more')
    if not bool(w.any()):
        raise ValueError('"weights" must not be all zero: nothing could be drawn')
    return w / w.max()  # whose sum is finite


def _ranks(num_replicas: int | None, rank: int | None) -> tuple[int, int]:
    if num_replicas is None or rank is None:
        if not (dist.is_available() and dist.is_initialized()):
            missing = "num_replicas" if num_replicas is None else "rank"
            raise ValueError(
                f'"{missing}" is not given and torch.distributed is not initialised: call init_process_group first, or pass'
                " num_replicas=1, rank=0 on a single process"
            )
        num_replicas = dist.get_world_size() if num_replicas is None else num_replicas
        rank = dist.get_rank() if rank is None else rank
    whole_number("num_replicas", num_replicas)
    whole_number("rank", rank)
    at_least("num_replicas", num_replicas, 1)
    if not 0 <= rank < num_replicas:
        raise ValueError(f'"rank" is {rank}, expected one of the {num_replicas} ranks, in [0, {num_replicas - 1}]')
    return num_replicas, rank
