"""What the losses of embeddings are measured on: the cases, their tensors, and how far a result is from float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import embeddings_forms as forms
import torch
import torch.nn.functional as F
from torch import Tensor

CLASSES = 8
SEED = 0
DISTINCT = 1024  # different pairs of a batch that is checked: what they repeat is known without N x N numbers in float64
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """One thing to measure; plain data, so that a child process can be told of it."""

    kind: str
    rows: int
    dim: int
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.kind}, {self.dtype}, N={self.rows} D={self.dim}, {self.device}"


@dataclass
class Problem:
    """Leaves that want gradients, what else the loss is given, and how often each row stands in the batch."""

    leaves: tuple[Tensor, ...]
    others: tuple[Tensor, ...] = ()
    times: int = 1

    def clear(self) -> None:
        for leaf in self.leaves:
            leaf.grad = None

    @property
    def gradient_bytes(self) -> int:
        return sum(leaf.nbytes for leaf in self.leaves)


@dataclass(frozen=True)
class Kind:
    """Of its leaves how many are rows, whether their length is one, whether labels or grades come with them; scalars; truth."""

    rows: int
    truth: Callable[..., Tensor]
    unit: bool = True
    others: str = ""
    scalars: tuple[float, ...] = ()
    repeats: bool = False


CLIP = Kind(2, forms.clip_truth, scalars=(1 / 0.07,), repeats=True)
KINDS = {
    "CLIP": CLIP,
    "CLIP beside other kernels": CLIP,
    "SigLIP": Kind(2, forms.siglip_truth, scalars=(10.0, -10.0), repeats=True),
    "multiple negatives": Kind(3, forms.ranking),
    "all triplets": Kind(1, forms.batch_all_truth, others="labels"),
    "given triplets": Kind(3, forms.given_triplets),
    "NT-Xent of labels": Kind(1, forms.nt_xent_of_labels, others="labels"),
    "SupCon": Kind(1, forms.supervised, others="labels"),
    "CoSENT": Kind(2, forms.cosent, others="grades"),
    "Barlow Twins": Kind(2, forms.barlow, unit=False),
    "VICReg": Kind(2, forms.vicreg, unit=False),
}


def problem(case: Case, distinct: int = 0) -> Problem:
    """Rows that are related, as those of a trained model; ``distinct`` of them, repeated, if that is less than all."""
    kind, dtype = KINDS[case.kind], DTYPES[case.dtype]
    options = {"device": case.device, "generator": torch.Generator(case.device).manual_seed(SEED)}
    several = kind.repeats and 0 < distinct < case.rows
    rows = distinct if several else case.rows
    common = torch.randn(rows, case.dim, **options)
    labels = torch.arange(rows, device=case.device) % CLASSES
    if kind.others == "labels":
        common = torch.randn(CLASSES, case.dim, **options)[labels] / 2  # so that most triplets cost something
    drawn = [common + torch.randn(rows, case.dim, **options) for _ in range(kind.rows)]
    drawn = [(F.normalize(t, dim=1) if kind.unit else t).to(dtype).repeat(case.rows // rows, 1) for t in drawn]
    scalars = [torch.tensor(number, device=case.device) for number in kind.scalars]
    grades = torch.randint(6, (rows,), **options).float() if kind.others == "grades" else labels
    others = (grades,) if kind.others else ()
    return Problem(tuple(t.requires_grad_() for t in [*drawn, *scalars]), others, case.rows // rows)


def relative(found: Tensor | None, true: Tensor) -> float:
    """Frobenius; 1 for a gradient that never came."""
    if found is None:
        return 1.0
    return float((found.double() - true).norm() / true.norm())


def errors(case: Case, given: Problem, value: Tensor) -> dict[str, float]:
    """Of the loss and of the worst gradient in ``given``, relative to float64."""
    kind = KINDS[case.kind]
    rows = case.rows // given.times
    leaves = [(leaf[:rows] if leaf.ndim else leaf).detach().double().requires_grad_() for leaf in given.leaves]
    true = kind.truth(*leaves, *given.others, *((given.times,) if kind.repeats else ()))
    true.backward()
    wrong = []
    for leaf, exact in zip(given.leaves, leaves, strict=True):
        assert exact.grad is not None
        wrong.append(relative(leaf.grad, (exact.grad / given.times).repeat(given.times, 1) if leaf.ndim else exact.grad))
    found = {"loss": relative(value, true.detach()), "gradients": max(wrong)}
    return {name: float(f"{error:.3g}") for name, error in found.items()}


BIG, LARGE = Case("CLIP", 8192, 256), Case("CLIP", 65536, 128)
TRIPLETS, LABELS, GRADES = Case("all triplets", 512, 128), Case("NT-Xent of labels", 256, 128), Case("CoSENT", 4096, 64)
BARLOW, VICREG = Case("Barlow Twins", 256, 4096), Case("VICReg", 256, 4096)
OVERHEADS = [
    Case(kind, rows, 128)
    for kind in ("CLIP", "multiple negatives", "given triplets", "all triplets", "CoSENT")
    for rows in (64, 256)
]
SHAPES: dict[str, list[Case]] = {
    "cpu": [
        *(BIG, TRIPLETS, LABELS, Case("SupCon", 256, 128), GRADES, BARLOW, VICREG),
        *(Case("SigLIP", 8192, 256), Case("multiple negatives", 4096, 256), *OVERHEADS, LARGE),
    ],
    # first what the bars are about; other libraries' kernels last, since a fault in one ends the process
    "cuda": [
        *(Case(kind, rows, 1024, "bfloat16", "cuda") for rows in (65536, 262144, 32768) for kind in ("CLIP", "SigLIP")),
        Case("CLIP beside other kernels", 65536, 1024, "bfloat16", "cuda"),
    ],
}


def chosen(shapes: str, device: str, kinds: list[str] | None = None) -> list[Case]:
    """The cases of --shapes, in the order in which they run."""
    if shapes == "small":
        dtype = "float32" if device == "cpu" else "bfloat16"
        every = [kind for kind in KINDS if device == "cpu" or kind in ("CLIP", "SigLIP")]
        found = [Case(kind, 32, 16, dtype, device) for kind in every]
    else:
        found = SHAPES[device]
    return [case for case in found if not kinds or case.kind in kinds]
