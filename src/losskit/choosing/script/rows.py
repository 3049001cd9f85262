"""The script of a table: a row of inputs, and what is predicted of it."""

from __future__ import annotations

import keyword
from pathlib import Path

from . import figures, inputs, reading, target, training
from .flat import flat
from .loss import code_of, loss_of
from .names import commented, listed, literal
from .plan import Plan

__all__ = ["header", "script", "usage"]

FROM = {"functools": "from functools import partial", "datetime": "from datetime import datetime, timedelta, timezone"}


def script(plan: Plan, name: str) -> str:
    """All pieces in the order in which they are read."""
    code = code_of(plan)
    numbers = bool(plan.numbers) or plan.targets[0].kind not in ("text", "list", "vector")
    words = bool(plan.words or plan.dates or plan.group) or plan.targets[0].kind == "text"
    vectors = bool(plan.vectors) or any(column.kind == "vector" for column in plan.targets)
    pieces = [
        reading.reader(plan),
        *reading.cells(plan, words=words, numbers=numbers, vectors=vectors),
        *inputs.inputs(plan),
        training.split(plan),
        *training.build(plan, code),
        *([training.of_all(code)] if code.whole else []),
        loss_of(plan, code),
        figures.judge(plan, code),
        training.fit(plan, code, without=flat(plan, code) is not None),
        *training.main(plan, code),
        training.predict(*figures.answer(plan, code)),
    ]
    size = ["LISTS = 32  # of a batch"] if plan.task == "ranking" else ["BATCH = 128"]
    settings = [*_columns(plan), *target.constants(plan), *code.constants]
    settings += [reading.missing()] if words or numbers else []
    settings += ["SEED, EPOCHS, PATIENCE, RATE = 0, 100, 10, 3e-3", *size]
    own = ["copy", "math", *(["functools"] if code.whole else []), *(["datetime"] if plan.dates else [])]
    return header(plan, name, own, settings) + "\n\n\n".join(pieces) + "\n\n\n" + usage(name)


def _columns(plan: Plan) -> list[str]:
    named = {"NUMBERS": plan.numbers, "DATES": plan.dates, "VECTORS": plan.vectors, "WORDS": plan.words}
    return [f"{name} = {listed(values)}" for name, values in named.items() if values] + inputs.about(plan)


def header(plan: Plan, name: str, own: list[str], settings: list[str]) -> str:
    """What it is, imports, settings."""
    read, other = reading.imports(plan)
    modules = sorted({*own, *read} - set(FROM))
    froms = sorted([*(FROM[one] for one in own if one in FROM), "from pathlib import Path"])
    about = commented(f"{plan.first.loss} on {plan.data.name!r}: written by `losskit choose --code`, and yours to change.")
    lines = [*about, "#", *commented(f"python {name}"), ""]
    lines += [
        *(f"import {module}" for module in modules),
        *froms,
        "",
        "import losskit",
        *(f"import {module}" for module in other),
    ]
    lines += ["import torch", "from torch import nn", ""]
    stem = Path(name).stem + ".pt"
    lines += [f"DATA = {plan.written}", f"SAVED = Path(__file__).with_name({literal(stem)})"]
    return "\n".join([*lines, *settings]) + "\n\n\n"


def usage(name: str) -> str:
    """The last lines: it trains when it is run, and predicts when it is imported."""
    stem = Path(name).stem
    named = stem.isidentifier() and not keyword.iskeyword(stem)
    lines = [f"from {stem} import predict, read", "predict(read(path))"]
    if not named:  # a name that import cannot say
        lines = ["import importlib", f"script = importlib.import_module({literal(stem)})", "script.predict(script.read(path))"]
    lines = ["# To predict, in another file:", *(each for line in lines for each in commented(f"    {line}"))]
    return "\n".join([*lines, 'if __name__ == "__main__":', "    main()", ""])
