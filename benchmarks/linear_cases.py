"""What linear cross-entropy is measured on: the cases, their tensors, and the truth in float64."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED = -100
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
KINDS = ("time", "half ignored", "forward", "memory", "accuracy")

Shape = tuple[int, int, int]  # rows N, features D, classes V
SMALL: Shape = (64, 32, 500)
CPU_TIME: Shape = (2048, 768, 32768)
CPU_MEMORY: Shape = (8192, 768, 128256)
ACCURACY: Shape = (2048, 64, 26240)  # V / D of a small model with a large vocabulary: where blocks are most
H200: Shape = (8192, 4096, 128256)
MORE: dict[str, tuple[Shape, ...]] = {
    "cpu": ((1024, 1024, 50257), (512, 2048, 151936)),
    "cuda": ((4096, 4096, 128256), (8192, 2304, 256000), (8192, 1024, 151936)),
}
BLOCKS = (1, 2, 8, 64, 256, 1024)


@dataclass(frozen=True)
class Case:
    """One thing to measure; plain data, so that a child process can be told of it."""

    kind: str
    rows: int
    dim: int
    classes: int
    dtype: str
    device: str

    @property
    def shape(self) -> Shape:
        return self.rows, self.dim, self.classes

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.dtype}, N={self.rows} D={self.dim} V={self.classes}, {self.device}"

    @property
    def backward(self) -> bool:
        return self.kind != "forward"

    @property
    def upstream(self) -> float:
        """Loss scaling as float16 training has it; below the largest float16, so that every peer can take it."""
        return 2.0**14 if self.dtype == "float16" else 1.0


@dataclass
class Problem:
    """Leaves that want gradients, and their targets."""

    input: Tensor
    weight: Tensor
    target: Tensor


def problem(case: Case, ignored: float = 0.0, seed: int = 0) -> Problem:
    """Logits of about unit spread; `ignored` is the share of rows, at random places, with nothing to learn."""
    generator = torch.Generator(case.device).manual_seed(seed)
    dtype = DTYPES[case.dtype]
    options = {"device": case.device, "generator": generator}
    input = torch.randn(case.rows, case.dim, **options)
    weight = torch.randn(case.classes, case.dim, **options).mul_(1 / math.sqrt(case.dim))
    target = torch.randint(case.classes, (case.rows,), **options)
    target[torch.randperm(case.rows, **options)[: round(case.rows * ignored)]] = IGNORED
    return Problem(input.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), target)


def chosen(shapes: str, device: str, dtypes: list[str] | None = None) -> list[Case]:
    """The cases of --shapes, in the order in which they run."""
    if shapes == "small":
        found = [Case(kind, *SMALL, dtype, device) for kind in KINDS for dtype in ("float32", "bfloat16", "float16")]
        found = [case for case in found if case.dtype != "float16" or case.kind == "accuracy"]
    else:
        head, dtype = (CPU_TIME, ("float32", "bfloat16")) if device == "cpu" else (H200, ("bfloat16",))
        found = [Case(kind, *head, d, device) for d in dtype for kind in ("time", "forward", "half ignored")]
        found += [Case("accuracy", *ACCURACY, d, device) for d in DTYPES]
        found += [Case("memory", *CPU_MEMORY, "float32", device)] if device == "cpu" else []
        found += [Case("time", *shape, d, device) for shape in MORE[device] for d in dtype] if shapes == "all" else []
    return [case for case in found if not dtypes or case.dtype in dtypes]


@dataclass
class Truth:
    """Mean loss and its gradients in float64."""

    loss: float
    input: Tensor | None
    weight: Tensor | None


def truth(given: Problem, gradients: bool = True, budget: int = 2**29) -> Truth:
    """By row blocks, so that the float64 logits fit in `budget` bytes; the target's entry is minus the sum of the others."""
    weight, valid = given.weight.detach().double(), (given.target != IGNORED).nonzero()[:, 0]
    count = max(1, valid.numel())
    total = weight.new_zeros(())
    dx = torch.zeros_like(given.input, dtype=torch.float64, requires_grad=False) if gradients else None
    dw = torch.zeros_like(weight) if gradients else None
    for index in valid.split(max(1, budget // (8 * weight.shape[0]))):
        rows, own = given.input.detach()[index].double(), given.target[index, None]
        log_p = (rows @ weight.T).log_softmax(-1)
        total -= log_p.gather(1, own).sum()
        if dx is None or dw is None:
            continue
        slope = log_p.exp_().scatter_(1, own, 0)
        slope.scatter_(1, own, -slope.sum(-1, keepdim=True)).div_(count)
        dx[index] = slope @ weight
        dw.addmm_(slope.T, rows)
    return Truth((total / count).item(), dx, dw)


def relative(found: Tensor, wanted: Tensor) -> float:
    """Relative Frobenius error."""
    return (torch.linalg.vector_norm(found.double() - wanted) / torch.linalg.vector_norm(wanted)).item()


def errors(given: Problem, true: Truth, loss: Tensor, upstream: float = 1.0) -> dict[str, float]:
    """Relative errors of the loss and of the gradients that lie in `given`; a gradient that never came is an error of 1."""
    found = {"loss": abs(loss.item() - true.loss) / abs(true.loss)}
    if true.input is None or true.weight is None:
        return found
    dx, dw = (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in (given.input, given.weight))
    found["dX"], found["dW"] = relative(dx.double() / upstream, true.input), relative(dw.double() / upstream, true.weight)
    unseen = torch.ones(given.weight.shape[0], dtype=torch.bool, device=given.target.device)
    unseen[given.target[given.target != IGNORED]] = False
    if unseen.any():
        found["dW of classes not in the batch"] = relative(dw[unseen].double() / upstream, true.weight[unseen])
    return found
