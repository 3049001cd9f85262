"""What is made of a tile of pairs: loss and slope of each, and how much it counts; in place, a mask being a sheet of 0 and 1.

On a CPU a comparison written as numbers costs 0.05 ns a pair and a product with it 0.1, while torch.where costs 3.4: as much as
four exponentials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

__all__ = ["EXPONENTIALS", "Form", "Room", "Rows", "Tile", "counts_for", "reach", "row_sums"]

Form = Literal["logistic", "soft_zero_one", "exponential", "mse", "hinge", "squared_hinge"]
EXPONENTIALS: tuple[Form, ...] = ("logistic", "soft_zero_one", "exponential")
_NOBODY = 1e30  # a score this far below makes an exponential of 0 in float32 too


def reach(dtype: torch.dtype) -> float:
    """Up to which number and its opposite exponentials, and products of them with 1, are in range: 80 in float32."""
    return 80.0 if dtype == torch.float32 else 700.0


class Room:
    """Sheets of memory that every tile is written to anew."""

    def __init__(self, like: Tensor, size: int) -> None:
        self._like, self._size = like, size
        self._sheets: dict[str, Tensor] = {}

    def sheet(self, name: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Memory of this shape, what was written under the same name before being lost."""
        if name not in self._sheets:
            self._sheets[name] = self._like.new_empty(self._size)
        return self._sheets[name][: math.prod(shape)].view(shape)


class Tile(NamedTuple):
    """Pairs of some rows i and some columns j of G lists."""

    i: Mapping[str, Tensor]
    """Numbers of the more relevant items, (G, R, 1)"""
    j: Mapping[str, Tensor]
    """Numbers of the less relevant ones, (G, 1, C)"""
    room: Room
    masked: int
    """So many columns from the left hold pairs that are none."""
    tied: bool
    """Whether pairs of one relevance are wanted, in place of those that fall from i to j"""

    def sheet(self, name: str, columns: int | None = None) -> Tensor:
        """Room for a number of each pair, or of those in the first columns."""
        high, wide = self.i["depth"], self.j["depth"]
        return self.room.sheet(name, (*high.shape[:2], wide.shape[2] if columns is None else columns))


class Rows(NamedTuple):
    """What a tile says of its rows, (G, R), and of its pairs."""

    losses: Tensor
    pulls: Tensor
    """By how much each row's item is pulled up: the sum of the slopes"""
    slope: Tensor
    """-dl/dd of each pair, (G, R, C)"""


def row_sums(form: Form, margin: float, tile: Tile, weights: Tensor | None, spread: float) -> Rows:
    """The sums of losses and slopes of each row.

    ``weights`` (G, R, C) multiply both. ``spread`` bounds |s_i - s_j| where exponentials are products, and is inf elsewhere.
    """
    if form in EXPONENTIALS:
        return _of_exponential(form, tile, weights, spread)
    x = tile.sheet("x")
    if form == "mse":
        torch.sub(tile.i["score"], tile.j["score"], out=x)
        _blank(tile, x, 0.0)
        slope = torch.mul(x, -2, out=tile.sheet("slope"))
        return _summed(x.square_(), slope, weights)
    torch.sub(tile.j["score"], tile.i["score"], out=x).add_(margin)
    _blank(tile, x, 0.0)
    x.clamp_(min=0)
    if form == "hinge":
        return _summed(x, torch.gt(x, 0, out=tile.sheet("slope")), weights)
    slope = torch.mul(x, 2, out=tile.sheet("slope"))
    return _summed(x.square_(), slope, weights)


def _of_exponential(form: Form, tile: Tile, weights: Tensor | None, spread: float) -> Rows:
    """With e = exp(-d): log(1 + e) and e / (1 + e); e / (1 + e) and e / (1 + e)^2; e and e."""
    e, slope = tile.sheet("x"), tile.sheet("slope")
    beyond = None if math.isfinite(spread) else tile.sheet("beyond")
    if beyond is None:
        torch.mul(tile.i["falling"], tile.j["rising"], out=e)
        _blank(tile, e, 0.0)
    else:
        torch.sub(tile.j["score"], tile.i["score"], out=beyond)
        _blank(tile, beyond, -_NOBODY)
        top = math.inf if form == "exponential" else reach(e.dtype)
        torch.clamp(beyond, max=top, out=e).exp_()
    if form == "exponential":
        return _summed(e, slope.copy_(e), weights)
    torch.add(e, 1, out=slope)
    if form == "soft_zero_one":
        e.mul_(slope.reciprocal_())
        return _summed(e, slope.mul_(e), weights)
    torch.div(e, slope, out=slope)
    if beyond is None and weights is None:
        pulls = slope.sum(-1)
        return Rows(_log1p_sums(e, pulls, spread), pulls, slope)
    e.log1p_()
    if beyond is not None:  # log(1 + e^x) = x beyond what e^x can say
        e.add_(beyond.sub_(reach(e.dtype)).clamp_(min=0))
    return _summed(e, slope, weights)


def _summed(value: Tensor, slope: Tensor, weights: Tensor | None) -> Rows:
    if weights is not None:
        value.mul_(weights)
        slope.mul_(weights)
    return Rows(value.sum(-1), slope.sum(-1), slope)


def _log1p_sums(e: Tensor, pulls: Tensor, spread: float) -> Tensor:
    """sum_j log(1 + e_ij) as logarithms of products of a few, where the losses are not so small that 1 + e loses them."""
    many = int(reach(e.dtype) / (spread + 1))
    # e / (1 + e) <= log(1 + e): at a mean of 0.05 the rounding of 1 + e is 1e-6 of the sum at worst
    if many < 2 or e.device.type != "cpu" or not float(pulls.sum()) > 0.05 * e.numel():
        return e.log1p_().sum(-1)
    e.add_(1)
    width, joined = e.shape[-1], 1
    while 2 * joined <= many and width > 1:
        half = width // 2
        e[..., :half].mul_(e[..., width - half : width])
        width, joined = width - half, 2 * joined
    return e[..., :width].log().sum(-1)


def _blank(tile: Tile, x: Tensor, absent: float) -> None:
    """Where there is no pair, x becomes 0, or is moved far down by ``absent``."""
    if not tile.masked:
        return
    mask, far = tile.sheet("mask", tile.masked), tile.j["depth"][..., : tile.masked]
    if tile.tied:
        torch.eq(tile.i["depth"], far, out=mask)
        itself = torch.eq(tile.i["item"], tile.j["item"][..., : tile.masked], out=tile.sheet("itself", tile.masked))
        mask.sub_(itself).clamp_(min=0)
    else:
        torch.lt(tile.i["depth"], far, out=mask)
    if absent:
        x[..., : tile.masked].add_(mask.sub_(1).mul_(-absent))
    else:
        x[..., : tile.masked].mul_(mask)


def counts_for(tile: Tile, mu: float) -> Tensor | None:
    """How much each pair counts besides the weight of its row (G, R, C): Lambda; the mean weight of a tied pair. None: 1.

    Which vectors there are says which terms Lambda has.
    """
    i, j = tile.i, tile.j
    if tile.tied:
        if "weight" not in i:
            return None
        return torch.add(i["weight"], j["weight"], out=tile.sheet("lambda")).mul_(0.5)
    if "gain" not in i:
        return None
    gain = torch.sub(i["gain"], j["gain"], out=tile.sheet("lambda"))
    places = [t for t in (_exchanged(tile), _toeplitz(tile, mu)) if t is not None]
    for other in places[1:]:
        places[0].add_(other)
    return gain.mul_(places[0]) if places else gain


def _exchanged(tile: Tile) -> Tensor | None:
    """What exchanging the two in the order of scores changes."""
    i, j = tile.i, tile.j
    if "ordered" not in i:
        return None
    place, sign = tile.sheet("place"), tile.sheet("sign")
    torch.sub(i["ordered"], j["ordered"], out=place)
    if "swapped" not in i:
        place.mul_(torch.sub(i["raw"], j["raw"], out=sign).sign_())
    else:
        place.mul_(torch.gt(i["raw"], j["raw"], out=sign))
        other = torch.sub(j["swapped"], i["swapped"], out=tile.sheet("other"))
        place.add_(other.mul_(torch.lt(i["raw"], j["raw"], out=sign)))
    if "tied" in i:
        place.addcmul_(i["tied"].expand_as(place), torch.eq(i["raw"], j["raw"], out=sign))
    return place


def _toeplitz(tile: Tile, mu: float) -> Tensor | None:
    """mu steps(d) as in ``lambda_pairs``, in sheets that are there: with memory made anew sums take half as long again."""
    i, j = tile.i, tile.j
    if "rank" not in i:
        return None
    d = torch.sub(i["rank"], j["rank"], out=tile.sheet("delta")).abs_()
    if "apart" in i:
        same = torch.eq(i["raw"], j["raw"], out=tile.sheet("sign"))
        d.addcmul_(d, same, value=-1).addcmul_(i["apart"].expand_as(d), same)
    d.clamp_(min=1)  # what is nearer is an item and itself, which are no pair
    step = torch.add(d, 1, out=tile.sheet("other")).reciprocal_().log1p_()
    first = d.log1p_()
    product = torch.add(first, step, out=tile.sheet("sign")).mul_(first)
    return step.div_(product).mul_(mu * math.log(2))
