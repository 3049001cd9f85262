"""losskit on the command line. Verbs only: parse, call, print; torch is imported when a verb needs it."""

from __future__ import annotations

import argparse
import difflib
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from . import perplexity

__all__ = ["main"]

_ABOUT = "The loss layer for PyTorch: exact losses, and numbers you can check."
_END = """examples:
  losskit list --task regression
  losskit show focal_loss
  losskit demo                    all demos on real data, and report.html
  losskit verify                  recompute the tables of our documents, beside torch
  losskit perplexity MODEL DATA   how unsure a language model is of text, with error bars

exit codes: 0 fine, 1 a check or a gate failed, 2 wrong use, 130 interrupted; of perplexity
also 3 data, 4 model, 5 not finite (losskit perplexity --help)"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "losskit", description=_ABOUT, epilog=_END, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"losskit {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    listing = verbs.add_parser("list", help="every loss, by task")
    listing.add_argument("--task", help="only this task, e.g. classification")
    showing = verbs.add_parser("show", help="one loss: formula, gradient, when, numbers, paper, code, picture")
    showing.add_argument("name", metavar="NAME", help="e.g. focal_loss")
    demo = verbs.add_parser("demo", help="which loss is right and why, on real data")
    demo.add_argument("names", nargs="*", metavar="NAME", help="only these demos (default: all)")
    demo.add_argument("--html", type=Path, default=Path("report.html"), metavar="FILE", help="the report (default: report.html)")
    verify = verbs.add_parser("verify", help="recompute the tables of the README, beside torch; exit 1 if one is wrong")
    for verb in (listing, showing, demo, verify):
        verb.add_argument("--json", action="store_true", help="print JSON, for a program")
    perplexity.add(verbs)
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
    if name not in cards:
        near = difflib.get_close_matches(name, cards, n=3, cutoff=0.4)
        raise ValueError(
            f"no loss is called {name!r}" + (f": did you mean {' or '.join(near)}?" if near else "; losskit list names them all")
        )
    card = cards[name]
    if arguments.json:
        drawn = curve(card)
        picture = {"axis": drawn.axis, "x": drawn.x.tolist(), "value": drawn.value.tolist(), "gradient": drawn.gradient.tolist()}
        facts = {
            "name": name,
            "task": card.task,
            "summary": card.summary,
            "module": card.module.__name__,
            "laws": sorted(card.laws),
        }
        print(
            json.dumps(
                {
                    **facts,
                    **{k.lower().replace(" ", "_"): v for k, v in card.sections.items()},
                    "levels": _levels(card),
                    "curve": picture,
                },
                indent=2,
            )
        )
        return 0
    _print_card(card)
    return 0


def _levels(card: Any) -> dict[str, Any]:
    """The reference numbers for ten classes, or as far as no data is needed."""
    import inspect

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
    console.print("[bold]Example[/bold]")
    console.print(Padding(escape("import losskit, torch\n" + card.sections["Example"]), (0, 0, 0, 2)), highlight=False)
    console.print()
    console.print(plot(curve(card), width=min(console.width, 84)), highlight=False, markup=False)


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


def _verify(arguments: argparse.Namespace) -> int:
    from ..verify.main import run_verify

    return run_verify(json=arguments.json)


_VERBS = {"list": _list, "show": _show, "demo": _demo, "verify": _verify, **perplexity.VERBS}
