"""The pieces of a script that make numbers of its inputs, with what the training rows alone know."""

from __future__ import annotations

from .names import commented
from .plan import Plan

__all__ = ["about", "inputs"]

_WIDE = '''def wide_of(table{levels}):
    """The inputs as numbers, a row for each row of the table, NaN where one is missing."""
    {parts}
    return torch.cat(parts, 1)'''
_LEVELS = """for name, known in levels.items():
        place = {word: i for i, word in enumerate(known)}
        codes = [place.get(word(cell), len(known)) for cell in table[name]]  # the last: missing, or never seen
        parts.append(nn.functional.one_hot(torch.tensor(codes), len(known) + 1).double())"""
_PREPARE = '''def prepare(table, rows):
    """What brings inputs to one size, from the training rows alone."""
    {levels}wide = wide_of(table{given})[rows]
    median = wide.nanmedian(0).values.nan_to_num(0)
    filled = torch.where(wide.isnan(), median, wide)
    size = filled.std(0, correction=0)
    size = torch.where(size > 1e-9 * filled.abs().amax(0), size, 1)
    return {{"median": median, "mean": filled.mean(0), "size": size, "flagged": wide.isnan().any(0){saved}}}'''
_INPUTS = '''def inputs_of(table, known):
    """The inputs as the model sees them, (N, D): mean 0, variance 1, what is missing filled with the median and flagged."""
    wide = wide_of(table{given})
    filled = torch.where(wide.isnan(), known["median"], wide)
    scaled = ((filled - known["mean"]) / known["size"]).clamp(-10, 10)
    return torch.cat([scaled, wide.isnan()[:, known["flagged"]]], 1).float()'''
_SEEN = "levels = {name: sorted({word(table[name][i]) for i in rows.tolist()} - {None}) for name in WORDS}\n    "


def inputs(plan: Plan) -> list[str]:
    """wide_of(), prepare() and inputs_of(), as short as the kinds of columns allow."""
    words = bool(plan.words)
    return [
        _WIDE.format(levels=", levels" if words else "", parts="\n    ".join(_parts(plan))),
        _PREPARE.format(
            levels=_SEEN if words else "", given=", levels" if words else "", saved=', "levels": levels' if words else ""
        ),
        _INPUTS.format(given=', known["levels"]' if words else ""),
    ]


def _parts(plan: Plan) -> list[str]:
    """The lines that gather the columns, the matrices of each kind side by side."""
    numbers = "[[number(c, name, i) for i, c in enumerate(table[name], 1)] for name in NUMBERS]"
    made = [f"torch.tensor({numbers}, dtype=torch.float64).T"] if plan.numbers else []
    dates = "[[seconds(cell) for cell in table[name]] for name in DATES]"
    made += [f"torch.tensor({dates}, dtype=torch.float64).T"] if plan.dates else []
    lines = [f"parts = [{', '.join(made[:1])}]", *(f"parts.append({one})" for one in made[1:])]
    lines += ["parts += [vectors(table[name]) for name in VECTORS]"] if plan.vectors else []
    if len(lines) == 2 and plan.vectors and not made:
        lines = ["parts = [vectors(table[name]) for name in VECTORS]"]
    return lines + ([_LEVELS] if plan.words else [])


def about(plan: Plan) -> list[str]:
    """A comment that says which inputs are not used, and why."""
    if not plan.left_out:
        return []
    return commented("left out: " + ", ".join(f"{name!r} ({why})" for name, why in plan.left_out.items()))
