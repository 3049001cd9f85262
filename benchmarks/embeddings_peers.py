"""The contenders of each case: losskit, dense forms in torch, other libraries; and the matrix products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import embeddings_forms as forms
import torch
from embeddings_cases import CLASSES, Case, Problem
from linear_child import status
from linear_peers import AbsentError
from linear_race import seconds
from linear_report import installed
from torch import Tensor

Loss = Callable[..., Tensor]
Step = Callable[[], Any]
DENSE = "dense form in torch"
FLOOR = {"CLIP": "four bare GEMMs", "CLIP beside other kernels": "four bare GEMMs", "SigLIP": "three bare GEMMs"}
BLOCKS = {"cpu": (256, 512, 1024, 2048), "cuda": (2048, 4096, 8192, 16384)}  # rows of scores at a time
CUDA_DENSE_ROWS = 32768  # more do not fit


def named(package: str) -> str:
    """With its version, if it is there: what a peer computes changed between two of them."""
    version = installed(package)
    return package if version == "not installed" else f"{package} {version}"


SENTENCE_TRANSFORMERS, METRIC_LEARNING = named("sentence-transformers"), named("pytorch-metric-learning")
PML_NTXENT = f"{METRIC_LEARNING}, NTXentLoss"


@dataclass(frozen=True)
class Contender:
    """Somebody's loss of the tensors of a case."""

    name: str
    make: Callable[[], Loss]  # raises AbsentError
    needs: Callable[[int], float] = lambda rows: 0.0  # bytes that must be there, about
    module: str = "torch"
    once: bool = False  # takes so long that the run which is checked is the one that is timed
    alike: bool = True  # whether it is the loss of the case, and so can be checked
    most_rows: int = 1 << 62

    def loss(self, case: Case) -> Loss:
        """The function to call, or AbsentError."""
        try:
            there = find_spec(self.module) is not None
        except ValueError:  # a module that was put there by hand
            there = True
        if not there:
            raise AbsentError(f"not installed: {self.module}")
        if case.rows > self.most_rows:
            raise AbsentError(f"spared: more than {self.most_rows} rows")
        available = status("MemAvailable", "/proc/meminfo") if case.device == "cpu" else None
        if available is not None and self.needs(case.rows) > 0.8 * available:
            raise AbsentError(f"needs {self.needs(case.rows) / 2**30:.1f} GiB, {available / 2**30:.1f} GiB are available")
        return self.make()


def square(matrices: float) -> Callable[[int], float]:
    return lambda rows: matrices * 4 * rows**2


def cube(tensors: float) -> Callable[[int], float]:
    return lambda rows: tensors * 4 * rows**3


def positives_by_negatives(rows: int) -> float:
    """Of pytorch-metric-learning: each positive pair with each negative pair of the batch, 16.5 bytes (measured)."""
    return 16.5 * rows * (rows / CLASSES - 1) * rows * (rows - rows / CLASSES)


def ours(name: str) -> Loss:
    import losskit

    if not hasattr(losskit, name):
        raise AbsentError(f"losskit missing: losskit {losskit.__version__} has no {name}")
    found: Loss = getattr(losskit, name)
    return found


def clip() -> Loss:
    loss = ours("clip_loss")  # rows of length one come in, as they do in open_clip's loss
    return lambda q, k, scale: loss(q, k, logit_scale=scale, normalize=False)


def siglip() -> Loss:
    loss = ours("siglip_loss")
    return lambda q, k, scale, bias: loss(q, k, logit_scale=scale, logit_bias=bias, normalize=False)


def ranking() -> Loss:
    loss = ours("multiple_negatives_ranking_loss")
    return lambda q, k, n: loss(q, k, negatives=n[:, None], temperature=1 / forms.SCALE)


def all_triplets() -> Loss:
    loss = ours("batch_triplet_loss")
    return lambda x, labels: loss(x, labels, margin=forms.MARGIN, normalize=False, average="active")


def nt_xent_of_labels() -> Loss:
    """InfoNCE counts a row among its own positives; taking that term out leaves the mean over the other ones."""
    loss = ours("info_nce_loss")

    def run(x: Tensor, labels: Tensor) -> Tensor:
        count = len(x) // CLASSES
        every = loss(x, x, query_ids=labels, multi_positive=True, temperature=forms.TEMPERATURE)
        own = loss(x, x, query_ids=labels, temperature=forms.TEMPERATURE)
        return (count * every - own) / (count - 1)

    return run


def supervised() -> Loss:
    loss = ours("supervised_contrastive_loss")
    return lambda x, labels: loss(x, labels, temperature=forms.SUPCON)


def cosent() -> Loss:
    loss = ours("cosent_loss")
    return lambda q, k, target: loss(q, k, target, temperature=1 / forms.SCALE)


def metric_learning(name: str, temperature: float) -> Callable[[], Loss]:
    def make() -> Loss:
        from pytorch_metric_learning import losses

        found: Loss = getattr(losses, name)(temperature=temperature)
        return found

    return make


def sentence(name: str, rows: int, **options: Any) -> Callable[[], Loss]:
    """One of its losses without a model: of ``rows`` columns of embeddings, and then labels."""

    def make() -> Loss:
        from sentence_transformers import losses

        built = getattr(losses, name)(None, **options)
        return lambda *t: built.compute_loss_from_embeddings(list(t[:rows]), t[rows] if len(t) > rows else None)

    return make


def infinite() -> Loss:
    from inf_cl import cal_flash_loss

    return lambda q, k, scale: (cal_flash_loss(q, k, scale=scale).mean() + cal_flash_loss(k, q, scale=scale).mean()) / 2


SENTENCE: dict[str, Any] = {"module": "sentence_transformers"}
METRIC: dict[str, Any] = {"module": "pytorch_metric_learning"}
CONTENDERS: dict[str, tuple[Contender, ...]] = {
    "CLIP": (
        Contender("losskit", clip),
        Contender(DENSE, lambda: forms.clip, square(6), most_rows=CUDA_DENSE_ROWS),
    ),
    "CLIP beside other kernels": (
        Contender("losskit", clip),
        Contender("Inf-CL, both ways", infinite, module="inf_cl"),
    ),
    "SigLIP": (
        Contender("losskit", siglip),
        Contender(DENSE, lambda: forms.siglip, square(6), most_rows=CUDA_DENSE_ROWS),
    ),
    "multiple negatives": (
        Contender("losskit", ranking),
        Contender(DENSE, lambda: forms.ranking, square(12)),
        Contender(SENTENCE_TRANSFORMERS, sentence("MultipleNegativesRankingLoss", 3), square(12), **SENTENCE),
    ),
    "all triplets": (
        Contender("losskit", all_triplets),
        Contender(DENSE, lambda: forms.batch_all, cube(4)),
        Contender(SENTENCE_TRANSFORMERS, sentence("BatchAllTripletLoss", 1, margin=forms.MARGIN), cube(4), **SENTENCE),
    ),
    "given triplets": (
        Contender("losskit", lambda: ours("triplet_margin_loss")),
        Contender("torch", lambda: forms.given_triplets),
    ),
    "NT-Xent of labels": (
        Contender("losskit", nt_xent_of_labels),
        Contender("losskit, supervised_contrastive_loss", supervised, alike=False),
        Contender(DENSE, lambda: forms.nt_xent_of_labels, square(12)),
        Contender(PML_NTXENT, metric_learning("NTXentLoss", forms.TEMPERATURE), positives_by_negatives, once=True, **METRIC),
    ),
    "SupCon": (
        Contender("losskit", supervised),
        Contender(DENSE, lambda: forms.supervised, square(12)),
        Contender(f"{METRIC_LEARNING}, SupConLoss", metric_learning("SupConLoss", forms.SUPCON), square(12), **METRIC),
    ),
    "CoSENT": (
        Contender("losskit", cosent),
        Contender(DENSE, lambda: forms.cosent, square(8)),
        Contender(SENTENCE_TRANSFORMERS, sentence("CoSENTLoss", 2), square(8), **SENTENCE),
    ),
    "Barlow Twins": (
        Contender("losskit", lambda: ours("barlow_twins_loss")),
        Contender("D x D, as lightly", lambda: forms.barlow),
    ),
    "VICReg": (
        Contender("losskit", lambda: ours("vicreg_loss")),
        Contender("D x D, as lightly", lambda: forms.vicreg_masked),
        Contender("D x D, as the authors", lambda: forms.vicreg),
    ),
}


def step(loss: Loss, given: Problem) -> Step:
    """One training step's share of the loss: value and all gradients."""

    def run() -> Tensor:
        given.clear()
        value = loss(*given.leaves, *given.others)
        value.backward()
        return value.detach()

    return run


def products(case: Case, given: Problem, block: int, most: int) -> Step:
    """The matrix products alone, in blocks of rows: scores, and their two adjoints; CLIP needs scores twice."""
    x, y = (leaf.detach() for leaf in given.leaves[:2])
    x = x[:most]
    scores, dx, dy = x.new_empty(min(block, len(x)), len(y)), torch.empty_like(x), torch.empty_like(y)

    def run() -> None:
        dy.zero_()
        blocks = [slice(start, min(start + block, len(x))) for start in range(0, len(x), block)]
        for rows in blocks if case.kind != "SigLIP" else ():
            torch.mm(x[rows], y.T, out=scores[: rows.stop - rows.start])
        for rows in blocks:
            z = scores[: rows.stop - rows.start]
            torch.mm(x[rows], y.T, out=z)
            torch.mm(z, y, out=dx[rows])
            dy.addmm_(z.T, x[rows])

    return run


def floor(case: Case, given: Problem) -> tuple[Step, dict[str, float], float]:
    """The products in the blocks that are fastest on some of the rows, the seconds of each try, and about those of all."""
    most, tried = min(max(BLOCKS[case.device]), case.rows), {}
    for block in BLOCKS[case.device]:
        some = products(case, given, block, most)
        some()
        tried[block] = min(seconds(some, case.device) for _ in range(2))
    best = min(tried, key=lambda block: tried[block])
    about = tried[best] * case.rows / most
    return products(case, given, best, case.rows), {str(block): round(took, 6) for block, took in tried.items()}, about
