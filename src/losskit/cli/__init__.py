"""losskit on the command line. Verbs only: parse, call, print; torch is imported when a verb needs it."""

from __future__ import annotations

import argparse
import difflib
import inspect
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from . import choose, doctor, doctor_rule, explore, perplexity, verify

__all__ = ["main"]

_ABOUT = "The loss layer for PyTorch: exact losses, and numbers you can check."
_END = """examples:
  losskit list --task regression
  losskit show focal_loss
  losskit choose data.csv --target COL --prove   which loss to take, and why
  losskit demo                    all demos on real data, and report.html
  losskit explore                 a page where you move a prediction and see the loss answer
  losskit verify                  recompute the numbers of our documents, beside torch
  losskit perplexity MODEL DATA   how unsure a language model is of text, with error bars
  losskit check train.py:make     what one batch tells about a training run before it starts
  losskit doctor runs/            what the logs of runs tell, the sickest first

exit codes: 0 fine, 1 a check or a gate failed, 2 wrong use, 130 interrupted; of perplexity
also 3 data, 4 model, 5 not finite (losskit perplexity --help); of check and doctor 2 also
errors found, 3 nothing to judge, 4 the doctor failed (losskit doctor --help); of choose 1 a
proof that disagrees, 3 nothing to learn (losskit choose --help)"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "losskit", description=_ABOUT, epilog=_END, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"losskit {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="every loss, by task")
    listing.add_argument("--task", help="only this task, e.g. classification")
    showing = verbs.add_parser("show", help="one loss: formula, gradient, when, numbers, paper, code, picture; or a finding")
    showing.add_argument("name", metavar="NAME", help="e.g. focal_loss, or D101")
    demo = verbs.add_parser("demo", help="which loss is right and why, on real data")
    demo.add_argument("names", nargs="*", metavar="NAME", help="only these demos (default: all)")
    demo.add_argument("--html", type=Path, default=Path("report.html"), metavar="FILE", help="the report (default: report.html)")
    for verb in (listing, showing, demo):
        verb.add_argument("--json", action="store_true", help="print JSON, for a program")
    choose.add(verbs)
    perplexity.add(verbs)
    doctor.add(verbs)
    explore.add(verbs)
    verify.add(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    # before torch is loaded: threads that spin while they wait take ten times as long beside other programs
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    arguments = _parser().parse_args(perplexity.joined(sys.argv[1:] if argv is None else argv))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the letters gets question marks, not half a page
    try:
        return int(_VERBS[arguments.verb](arguments))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except SystemExit:  # rich has found the pipe closed, and sees to the rest
        return 0
    except BrokenPipeError:  # the reader has seen enough: losskit list | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, ImportError, OSError) as problem:
        print(f"losskit: {problem}", file=sys.stderr)
        return 2


def _cards() -> dict[str, Any]:
    import losskit

    return losskit.CATALOGUE


def _list(arguments: argparse.Namespace) -> int:
    from ..core.card import TASKS

    cards = _cards()
    known = [t for t in TASKS if any(card.task == t for card in cards.values())]
    if arguments.task is not None and arguments.task not in known:
        raise ValueError(f"no loss is for the task {arguments.task!r}: it is one of {', '.join(known)}")
    tasks = [t for t in known if arguments.task in (None, t)]
    rows = [(task, name, card.summary) for task in tasks for name, card in cards.items() if card.task == task]
    if arguments.json:
        print(json.dumps([dict(zip(("task", "name", "summary"), row, strict=True)) for row in rows], indent=2))
        return 0
    console = _console()
    if console.width < 80:  # a third column would be a ribbon
        for task, name, summary in rows:
            console.print(f"[bold]{name}[/bold] ({task})\n  {summary}", highlight=False)
        return 0
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("task")
    table.add_column("loss", no_wrap=True)
    table.add_column("what it is for", ratio=1)
    seen = ""
    for task, name, summary in rows:
        table.add_row("" if task == seen else task, name, summary)
        seen = task
    console.print(table)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from ..explore.curves import curve

    cards, name = _cards(), arguments.name
    if re.fullmatch(r"[dD]\d{3}", name):
        return doctor_rule.show_rule(name.upper(), as_json=arguments.json)
    if name not in cards:
        raise ValueError(_unknown(name, cards))
    card = cards[name]
    if arguments.json:
        drawn = curve(card)
        picture = {"axis": drawn.axis, "x": drawn.x.tolist(), "value": drawn.value.tolist(), "gradient": drawn.gradient.tolist()}
        facts = {"name": name, "task": card.task, "summary": card.summary, "module": card.module.__name__}
        required = [name for name, default in card.options.items() if default is inspect.Parameter.empty]
        facts |= {"required": required, "options": {k: v for k, v in card.options.items() if k not in required}}
        facts |= {"laws": sorted(card.laws), **{k.lower().replace(" ", "_"): v for k, v in card.sections.items()}}
        print(json.dumps({**facts, "levels": _levels(card), "curve": picture}, indent=2))
        return 0
    _print_card(card)
    return 0


def _unknown(name: str, cards: Mapping[str, Any]) -> str:
    """What to say to a name that is no loss: which are called nearly so, what else has the name, or which losses speak of it."""
    import losskit

    asked, none = re.sub(r"[\s-]+", "_", name.strip().lower()), f"no loss is called {name!r}"
    called = {spelt.lower(): loss for loss, card in cards.items() for spelt in (card.module.__name__, loss)}

    def like(cutoff: float) -> list[str]:
        return list(dict.fromkeys(called[key] for key in difflib.get_close_matches(asked, called, n=3, cutoff=cutoff)))

    spaces = {"losskit": losskit, "losskit.evaluate": losskit.evaluate}
    public = [f"{space}.{known}" for space, module in spaces.items() for known in module.__all__ if known.lower() == asked]
    spoken = _spoken(name.strip(), cards)
    if public and asked not in called:
        use = f"; losskit show {_either(spoken)} speaks of it" if 0 < len(spoken) < 10 else ""
        return f"{none}: it is another public name, help({public[0]}) explains it{use}"
    inside = sorted(dict.fromkeys(loss for key, loss in called.items() if len(asked) > 2 and asked in key), key=len)
    if near := like(0.8) or inside:
        return f"{none}: did you mean {_either(near)}?"
    if spoken:
        return f"{none}, but losskit show {_either(spoken)} speaks of it"
    return f"{none}: did you mean {_either(near)}?" if (near := like(0.6)) else f"{none}; losskit list names them all"


def _spoken(asked: str, cards: Mapping[str, Any]) -> list[str]:
    """The losses whose text has a word that begins so, first those that say it in their summary."""
    if len(asked) < 3:
        return []
    word = re.compile(rf"(?<![^\W_]){re.escape(asked)}", re.IGNORECASE)
    summaries = [loss for loss, card in cards.items() if word.search(card.summary)]
    return list(dict.fromkeys([*summaries, *(loss for loss, card in cards.items() if word.search(card.function.__doc__ or ""))]))


def _either(names: Sequence[str]) -> str:
    """One of the names; of many, the first three and how many there are beside them."""
    shown = [*names[:3], f"{len(names) - 3} more"] if len(names) > 4 else list(names)
    return " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _levels(card: Any) -> dict[str, Any]:
    """The reference numbers for ten classes, or as far as no data is needed."""
    import losskit

    from ..core.domain import ClassIndex

    wanted = [f for f in (card.chance, card.constant, card.floor) if f is not None]
    of_classes = isinstance(card.sample.get("target"), ClassIndex)
    known = {"num_classes": 10, "prior": [0.1] * 10 if of_classes else 0.1, "batch_size": 1024}
    facts = {k: v for k, v in known.items() if any(k in inspect.signature(f).parameters for f in wanted)}
    levels = losskit.reference(card.name, **facts)._asdict()
    return {"facts": facts, **levels}


def _print_card(card: Any) -> None:
    from rich.markup import escape
    from rich.padding import Padding

    from ..explore.curves import curve
    from ..explore.terminal import plain, plot

    console = _console()
    console.print(f"[bold]{card.name}[/bold]  {card.module.__name__}  ({card.task})")
    console.print(escape(card.summary) + "\n")
    _code(console, "Signature", _signature(card))
    for heading, text in card.sections.items():
        if heading == "Example":
            continue
        console.print(f"[bold]{heading}[/bold]")
        text = plain(text) if heading in ("Formula", "Gradient") else text
        for line in _paragraphs(text) if heading == "Args" else [" ".join(text.split())]:
            console.print(Padding(escape(line), (0, 0, 0, 2)), highlight=False)
    levels = _levels(card)
    facts = levels.pop("facts")
    said = [f"{k} {v:.6g}" for k, v in levels.items() if v is not None]
    if said:
        given = (
            ""
            if not facts
            else " for "
            + ", ".join("ten equal classes" if k == "prior" and isinstance(v, list) else f"{k}={v}" for k, v in facts.items())
        )
        console.print(f"[bold]Numbers to expect[/bold]\n  {', '.join(said)}{given}", highlight=False)
    example = card.sections["Example"]
    needed = "torch, losskit, math" if "math." in example else "torch, losskit"
    _code(console, "Example", f">>> import {needed}\n{example}")
    console.print()
    console.print(plot(curve(card), width=min(console.width, 84)), highlight=False, markup=False)


def _code(console: Any, heading: str, text: str) -> None:
    """Lines as they are, however long: a line that is broken cannot be pasted."""
    console.print(f"[bold]{heading}[/bold]")
    for line in text.splitlines():
        console.print(f"  {line}".rstrip(), soft_wrap=True, highlight=False, markup=False)


def _signature(card: Any) -> str:
    """The tensors in a line, then every option in a line with its default."""

    def option(parameter: inspect.Parameter, equals: str = "=") -> str:
        value = parameter.default
        spelt = json.dumps(value) if isinstance(value, str) else repr(value)
        return parameter.name if value is parameter.empty else f"{parameter.name}{equals}{spelt}"

    every = inspect.signature(card.function).parameters.values()
    tensors = [option(one) for one in every if one.kind is not one.KEYWORD_ONLY]
    options = [option(one, " = ") for one in every if one.kind is one.KEYWORD_ONLY]
    return "\n".join([f"losskit.{card.name}(", f"    {', '.join([*tensors, '*'])},", *(f"    {one}," for one in options), ")"])


def _paragraphs(text: str) -> list[str]:
    """One line an argument: what is indented deeper goes on where the last line stopped."""
    found: list[str] = []
    for line in text.splitlines():
        if found and line.startswith("  "):
            found[-1] += " " + line.strip()
        else:
            found.append(line.strip())
    return found


def _console() -> Any:
    from rich.console import Console

    return Console(soft_wrap=False)


def _demo(arguments: argparse.Namespace) -> int:
    from ..demos.main import run_demo

    return run_demo(arguments.names, html=arguments.html, json=arguments.json)


_VERBS = {
    "list": _list,
    "show": _show,
    "demo": _demo,
    **choose.VERBS,
    **perplexity.VERBS,
    **doctor.VERBS,
    **explore.VERBS,
    **verify.VERBS,
}
