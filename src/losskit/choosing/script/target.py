"""The piece of a script that makes the target: NaN where it is not known."""

from __future__ import annotations

from .names import assigned, listed
from .plan import Plan

__all__ = ["constants", "target"]


def _wide(plan: Plan) -> bool:
    return plan.targets[0].kind == "vector" or len(plan.targets) > 1


def _coded(plan: Plan) -> bool:
    """Whether cells are classes that have to be numbered."""
    return plan.task in ("binary", "multiclass", "embedding") and not _wide(plan) and not plan.soft


def constants(plan: Plan) -> list[str]:
    """The names of target, group and classes."""
    names = [column.name for column in plan.targets]
    found = [f"TARGETS = {listed(names)}"] if len(names) > 1 else [assigned("TARGET", names[0])]
    if plan.group is not None:
        found.append(assigned("GROUP", plan.group))
    if _coded(plan) or (plan.task == "multilabel" and plan.targets[0].kind == "list"):
        found.append(f"CLASSES = {listed(plan.classes)}")
    return found


def target(plan: Plan) -> list[str]:
    """Lines that make ``target`` of the table; float32 would round away what targets of 1e9 differ by, where the code of the loss
    standardises them."""
    if plan.task == "multilabel" and plan.targets[0].kind == "list":
        return [
            "target = torch.tensor(",
            "    [[math.nan if tags is None else name in map(str, tags) for name in CLASSES] for tags in table[TARGET]]",
            ").float()",
        ]
    if _coded(plan):
        made = "word" if plan.targets[0].kind == "text" else "number"
        return [
            "place = {name: i for i, name in enumerate(CLASSES)}",
            f"target = torch.tensor([float(place.get({made}(cell), math.nan)) for cell in table[TARGET]])",
        ]
    if _wide(plan):
        return _several(plan)
    double = ", dtype=torch.float64" if "centre" in plan.first.code else ""
    return [f"target = torch.tensor([number(c, TARGET, i) for i, c in enumerate(table[TARGET], 1)]{double})"]


def _several(plan: Plan) -> list[str]:
    if len(plan.targets) == 1:
        wide = "vectors(table[TARGET])"
    elif any(column.kind == "vector" for column in plan.targets):
        wide = "torch.cat([vectors(table[name]) for name in TARGETS], 1)"
    else:
        wide = "torch.tensor([[number(c, name, i) for i, c in enumerate(table[name], 1)] for name in TARGETS]).T"
    lines = [f"target = {wide}.float()"]
    if plan.task == "multiclass" and not plan.soft:  # one 1 in each row
        lines.append("target = torch.where(target.isnan().any(1), math.nan, target.nan_to_num(0).argmax(1))")
    return lines
