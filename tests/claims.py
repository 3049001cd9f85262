"""What a card says: the laws it claims by name, the reference numbers it states, its docstring."""

from __future__ import annotations

import doctest
import inspect
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from cases import Case, draw
from harness import LAWS, NONE, Variant, gradients, law, same
from losskit.core.card import SECTIONS, TASKS, Card, Level

REMARKS = ("whole_batch", "stop_gradient", "detached_weights")  # say which laws do not apply
CLAIMS = ("nonnegative", "zero_at_target", "symmetric", "convex", "shift_invariant", "bounded_gradient")


def moving(case: Case) -> str:
    """The name of the prediction: "input", or "mean" where there are several parameters."""
    return next(iter(case.learnable()))


def claim(card: Card, name: str) -> bool:
    return name in card.laws


def nonnegative(card: Card, variant: Variant) -> None:
    for seed in range(20):
        assert (draw(card, variant, seed=seed).value(**NONE) >= 0).all()


def zero_at_target(card: Card, variant: Variant) -> None:
    case = draw(card, variant)
    perfect = case.replaced(**{moving(case): case.tensors["target"].clone()})
    same(perfect.value(**NONE), torch.zeros_like(perfect.value(**NONE)), 1e-12)
    for gradient in gradients(perfect):
        same(gradient, torch.zeros_like(gradient), 1e-9)


def symmetric(card: Card, variant: Variant) -> None:
    case = draw(card, variant)
    name = moving(case)
    swapped = case.replaced(**{name: case.tensors["target"], "target": case.tensors[name]})
    same(swapped.value(**NONE), case.value(**NONE))


def convex(card: Card, variant: Variant) -> None:
    for seed in range(20):
        one, other = draw(card, variant, seed=seed), draw(card, variant, seed=seed + 100)
        name = moving(one)
        ends = [one.value(**NONE), one.replaced(**{name: other.tensors[name]}).value(**NONE)]
        middle = one.replaced(**{name: (one.tensors[name] + other.tensors[name]) / 2})
        assert (middle.value(**NONE) <= (ends[0] + ends[1]) / 2 + 1e-12).all()


def shift_invariant(card: Card, variant: Variant) -> None:
    if variant.get("z_loss"):
        return
    case = draw(card, variant)
    shift = 7 * torch.randn(len(case.tensors["input"]), 1, dtype=torch.float64)
    same(case.replaced(input=case.tensors["input"] + shift).value(**NONE), case.value(**NONE), 1e-9)


def bounded_gradient(card: Card, variant: Variant) -> None:
    case = draw(card, variant)
    name = moving(case)
    near, far = (
        float(gradients(case.replaced(**{name: case.tensors[name] * k}), reduction="sum")[0].abs().max()) for k in (10, 1e6)
    )
    assert far <= 2 * near + 1


for _name in CLAIMS:

    def _law(card: Card, variant: Variant, name: str = _name) -> None:
        if claim(card, name):
            globals()[name](card, variant)

    LAWS[_name] = _law


def stated(card: Card, level: Level, variant: Variant, **known: Any) -> float | None:
    """The level under the facts that are known and the options of the variant; None if it needs a fact that is not known."""
    parameters = inspect.signature(level).parameters
    facts = {**known, **{k: v for k, v in variant.items() if not hasattr(v, "draw")}}
    if any(p.default is p.empty and n not in facts for n, p in parameters.items()):
        return None
    if any(hasattr(v, "draw") for v in variant.values()) or any(k not in parameters for k in variant):
        return None  # an option the level does not know of: it says nothing about this variant
    value = float(level(**{n: facts[n] for n in parameters if n in facts}))
    return None if math.isnan(value) else value  # it does not know under these options


def facts_of(case: Case) -> dict[str, Any]:
    """What can be known of the data of a case: classes, their frequencies, the target itself."""
    target = case.tensors.get("target")
    rows = math.prod(case.sizes.lead or ())
    facts: dict[str, Any] = {"num_classes": case.sizes.named["C"], "batch_size": rows}
    if target is not None:  # an option of this name is no fact
        facts["target"] = target
    if "relevance" in case.tensors:
        facts |= {"relevance": case.tensors["relevance"], "list_size": case.sizes.named["L"]}
    if target is not None and not target.is_floating_point():
        facts["prior"] = torch.bincount(target, minlength=case.sizes.named["C"]).double()
    elif target is not None and ((target == 0) | (target == 1)).all():
        facts["prior"] = float(target.mean())
    return facts


def minimum(case: Case, *, constant: bool) -> float:
    """The lowest mean loss over the learnable tensors: free for each row, or one constant for all rows.

    From several starts, since a loss that gives up on outliers is flat far from the target.
    """
    drawn, target = list(case.predicted().values()), case.tensors.get("target")
    starts = [[torch.zeros_like(t) for t in drawn], drawn]
    if target is not None and target.shape == drawn[0].shape:
        starts.append([target.to(drawn[0].dtype), *starts[0][1:]])
    return min(descend(case, [t.mean(0) if constant else t for t in start]) for start in starts)


def descend(case: Case, start: list[Tensor]) -> float:
    """The mean loss after a search from ``start``, whose tensors are expanded to the rows of the case."""
    free = [t.detach().clone().requires_grad_() for t in start]
    search = torch.optim.LBFGS(
        free, lr=1, max_iter=400, tolerance_grad=1e-12, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def filled() -> Tensor:
        return case.replaced(**{n: v.expand(case.tensors[n].shape) for n, v in zip(case.predicted(), free, strict=True)}).value()

    def closure() -> Tensor:
        search.zero_grad()
        loss = filled()
        loss.backward()
        return loss

    for _ in range(5):
        search.step(closure)
    return float(filled().detach())


def hard(case: Case) -> Case:
    """The case with 0/1 targets where the target is a float between 0 and 1."""
    domain = case.card.sample.get("target")
    if domain is not None and getattr(domain, "low", None) == 0 and getattr(domain, "high", None) == 1:
        target = case.tensors["target"]
        if not target.is_floating_point() or target.ndim > 1:
            return case
        return case.replaced(target=(torch.arange(len(target)) % 3 == 0).to(target.dtype))
    return case


def chance_is_what_zeros_give(card: Card, variant: Variant) -> None:
    if card.chance is None:
        return
    case = hard(draw(card, variant, batch=(30,)))
    level = stated(card, card.chance, variant, **facts_of(case))
    if level is not None:
        zeros = case.replaced(**{n: torch.zeros_like(t) for n, t in case.predicted().items()})
        same(zeros.value(), torch.tensor(level, dtype=torch.float64), 1e-9)


def constant_is_the_best_constant(card: Card, variant: Variant) -> None:
    if card.constant is None:
        return
    case = hard(draw(card, variant, batch=(31,)))
    level = stated(card, card.constant, variant, **facts_of(case))
    if level is not None:
        assert abs(minimum(case, constant=True) - level) < 2e-4 * (1 + abs(level)), (
            f"{minimum(case, constant=True)} is not {level}"
        )


def floor_is_reached_and_never_passed(card: Card, variant: Variant) -> None:
    if card.floor is None:
        return
    case = hard(draw(card, variant, batch=(8,)))
    level = stated(card, card.floor, variant, **facts_of(case))
    if level is not None:
        for seed in range(10):
            other = hard(draw(card, variant, seed=seed))
            assert other.value() >= (stated(card, card.floor, variant, **facts_of(other)) or 0.0) - 1e-9
        assert -1e-9 <= minimum(case, constant=False) - level < 2e-3, f"{minimum(case, constant=False)} is not {level}"


for _law_ in (chance_is_what_zeros_give, constant_is_the_best_constant, floor_is_reached_and_never_passed):
    LAWS[_law_.__name__] = _law_


@law
def card_and_docstring_are_whole(card: Card, variant: Variant) -> None:
    assert card.task in TASKS
    assert list(card.sections) == list(SECTIONS), f"sections are {list(card.sections)}"
    assert all(card.sections.values())
    assert card.summary.endswith(".")
    assert card.laws <= {*CLAIMS, *REMARKS}, f"{set(card.laws) - {*CLAIMS, *REMARKS}} is no law"
    runner = doctest.DocTestRunner(verbose=False)
    names = {"torch": torch, "losskit": losskit, "math": math, "F": F}
    found = doctest.DocTestFinder().find(inspect.unwrap(card.function), card.name, globs=names)
    assert sum(len(test.examples) for test in found) > 0
    for test in found:
        assert runner.run(test).failed == 0, f"the example of {card.name} fails"
