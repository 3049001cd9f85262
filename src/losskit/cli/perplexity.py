"""The arguments of ``losskit perplexity``, ``perplexity compare`` and ``perplexity plan``; the work is in the files beside it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["FORMATS", "UNITS", "VERBS", "add", "joined"]

# as in losskit.evaluate, which loads torch; a test holds them together
FORMATS = ("auto", "text", "lines", "jsonl", "json", "csv", "parquet", "tokens")
UNITS = ("token", "byte", "character", "word")
COMPAT = ("lm-eval", "hf-docs", "llama.cpp", "gptq", "evaluate")

_END = """examples:
  losskit perplexity gpt2 book.txt
  losskit perplexity ./model data.jsonl --resume run.journal --json run.json
  losskit perplexity ./model data.jsonl --fail-if 'perplexity>12'
  losskit perplexity ./model data/ --baseline old.json --fail-if-worse 0.5%
  torchrun --nproc-per-node 8 -m losskit perplexity ./model data/

exit codes:
  0    done, and all gates passed
  1    a gate failed (--fail-if, --fail-if-worse); the results are written
  2    wrong use: a flag, stride > window, window > positions of the model,
       a journal of another run, a file that cannot be written, a full disk
  3    data: nothing to score, a line that cannot be read, ids >= vocabulary
  4    a model or tokenizer cannot be loaded, is not causal, or failed;
       vocabularies that differ
  5    a token whose -log p is not finite
  130  interrupted (SIGINT, SIGTERM), or another rank ended: the journal of
       --resume is usable

A figure that is unknown or not a number fails its gate. --fail-if-worse is
paired and one-sided: it fails if, at the confidence of --level, the perplexity
is more than that share above the baseline's; documents too few for an
interval are judged by the ratio itself. The unit is the token where both
have one tokenizer, else the byte."""


def add(verbs: Any) -> None:
    """Add the verbs to a parser's subparsers."""
    form = argparse.RawDescriptionHelpFormatter
    one = verbs.add_parser(
        "perplexity",
        help="evaluate a causal language model on text, with honest error bars",
        description="How unsure a causal language model is of text: every token scored once, with its context and interval told.",
        usage="losskit perplexity MODEL DATA... [options]\n       losskit perplexity compare A.json B.json [options]\n"
        "       losskit perplexity plan (--tokens N | DATA... --tokenizer DIR) [options]",
        epilog=_END,
        formatter_class=form,
    )
    one.add_argument("model", metavar="MODEL", help="directory or id of transformers, or module:factory -> (model, tokenizer)")
    _add_data(one, "+")
    _add_model(one)
    _add_protocol(one)
    _add_figures(one)
    _add_output(one)
    two = verbs.add_parser("perplexity compare", help="two results on the same documents, paired", formatter_class=form)
    two.add_argument("a", metavar="A.json", type=Path, help="what losskit perplexity --json wrote")
    two.add_argument("b", metavar="B.json", type=Path, help="of the same documents")
    two.add_argument("--unit", choices=UNITS, help="default: token where both have one tokenizer, else byte")
    two.add_argument("--level", type=_share, default=0.95, help="of the interval (default: 0.95)")
    two.add_argument("--json", metavar="FILE|-", help="the comparison as JSON")
    two.add_argument("--html", type=Path, metavar="FILE", help="the comparison as a page")
    plan = verbs.add_parser("perplexity plan", help="what windows and strides cost, before running", formatter_class=form)
    plan.add_argument("--tokens", type=_whole, metavar="N", help="tokens of one document, in place of DATA")
    _add_data(plan, "*")
    plan.add_argument("--tokenizer", metavar="DIR", help="directory or id of transformers, for DATA that is text")
    _add_windows(plan)
    plan.add_argument("--json", metavar="FILE|-", help="the plans as JSON")


def joined(argv: Sequence[str]) -> list[str]:
    """``perplexity compare`` as one verb: a model has the place of the second word."""
    if len(argv) > 1 and argv[0] == "perplexity" and argv[1] in ("compare", "plan"):
        return [f"perplexity {argv[1]}", *argv[2:]]
    return list(argv)


def _add_data(parser: argparse.ArgumentParser, count: str) -> None:
    group = parser.add_argument_group("data")
    told = ".txt .jsonl .json .csv .parquet .pt .npy (also .gz, .zst), directories, - for stdin"
    parser.add_argument("data", metavar="DATA", nargs=count, type=Path, help=told)
    group.add_argument("--format", choices=FORMATS, default="auto", help="what the files hold (default: by their names)")
    group.add_argument("--text-field", default="text", metavar="FIELD", help="of a record (default: text)")
    group.add_argument("--id-field", metavar="FIELD", help="its id (default: file:line)")
    group.add_argument("--group-field", metavar="FIELD", help="what it is reported with")
    group.add_argument("--units-from", metavar="FIELD", help="text whose bytes and words are counted instead")
    group.add_argument("--limit", type=_whole, metavar="N", help="so many documents and no more")


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument("--tokenizer", metavar="DIR", help="in place of the model's own")
    group.add_argument("--dtype", choices=("auto", "float32", "bfloat16", "float16"), default="auto", help="default: as saved")
    group.add_argument("--device", help="cpu, cuda, cuda:1 ... (default: cuda if there is one)")
    group.add_argument(
        "--reference", metavar="MODEL|FOLDER", help="compare with a model as it was saved, or with what --save-hidden kept"
    )
    group.add_argument("--save-hidden", type=Path, metavar="DIR", help="keep hidden states, for --reference later")
    group.add_argument("--precision", choices=("float32", "float64"), default="float32", help="of the log-sum-exp")
    group.add_argument("--batch-tokens", type=_whole, metavar="N", help="positions in one pass (default: 4096, 32768 on a GPU)")


def _add_windows(parser: argparse.ArgumentParser) -> Any:
    group = parser.add_argument_group("windows")
    told = "positions read at once (default: what the model was made for, or 2048)"
    group.add_argument("--window", type=_whole, metavar="N", help=told)
    if parser.prog.endswith("plan"):
        told = "strides to put side by side: N, half, quarter, disjoint, separated by commas"
        group.add_argument("--stride", type=_strides, default=None, metavar="LIST", help=told)
    else:
        told = "tokens that each further window scores: N, half, quarter, disjoint (default: half)"
        group.add_argument("--stride", type=_stride, default="half", metavar="N", help=told)
    told = "token before the text: auto, every, first, none, eos, or an id (default: auto: in every window if there is one)"
    group.add_argument("--bos", type=_bos, default="auto", metavar="POLICY", help=told)
    return group


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    group = _add_windows(parser)
    group.add_argument("--truncate", type=_whole, metavar="N", help="cut documents to so many tokens")
    group.add_argument("--compat", choices=COMPAT, action="append", metavar="NAME", help=f"also as by {', '.join(COMPAT)}")
    group.add_argument("--explain", action="store_true", help="also under every protocol: why published numbers differ")


def _add_figures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("figures")
    group.add_argument("--units", type=_units, default=UNITS, metavar="LIST", help=f"of {','.join(UNITS)} (default: all)")
    group.add_argument("--interval", choices=("cluster", "bootstrap", "none"), default="cluster", help="default: cluster")
    group.add_argument("--level", type=_share, default=0.95, metavar="P", help="of the interval (default: 0.95)")
    group.add_argument("--resamples", type=_whole, default=2000, metavar="N", help="of the bootstrap (default: 2000)")
    group.add_argument("--seed", type=int, default=0, metavar="N", help="of the bootstrap (default: 0)")
    group.add_argument("--nonfinite", choices=("error", "report"), default="error", help="tokens of p = 0 or NaN")


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output and gates")
    group.add_argument("--resume", type=Path, metavar="FILE", help="journal: a run that was killed goes on from it")
    group.add_argument("--json", metavar="FILE|-", help="the result; - prints it in place of the table")
    group.add_argument("--html", type=Path, metavar="FILE", help="the result as a page, with the worst documents as heat text")
    group.add_argument("--tokens", type=Path, metavar="FILE", help="every token as JSONL, by a second pass")
    group.add_argument("--top", type=_count, default=5, metavar="N", help="worst documents in the table (default: 5)")
    group.add_argument("--fail-if", action="append", default=[], metavar="GATE", help="e.g. 'perplexity>12'; may be repeated")
    group.add_argument("--baseline", type=Path, metavar="FILE", help="an earlier result of the same documents")
    group.add_argument("--fail-if-worse", metavar="P%", help="than the baseline by more than this share, e.g. 0.5%%")
    group.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _number(kind: Callable[[str], Any], valid: Callable[[Any], bool], expected: str) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not valid(value):
            raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
        return value

    return read


_whole = _number(int, lambda n: n >= 1, "a whole number of at least 1")
_count = _number(int, lambda n: n >= 0, "a whole number of at least 0")
_share = _number(float, lambda p: math.isfinite(p) and 0 < p < 1, "a number between 0 and 1")
_named_stride = ("half", "quarter", "disjoint")


def _stride(text: str) -> int | str:
    if text in _named_stride:
        return text
    return int(_number(int, lambda n: n >= 1, "half, quarter, disjoint or a whole number of at least 1")(text))


def _strides(text: str) -> list[int | str]:
    return [_stride(part.strip()) for part in text.split(",")]


def _bos(text: str) -> int | str:
    if text in ("auto", "every", "first", "none", "eos"):
        return text
    return int(_number(int, lambda n: n >= 0, "auto, every, first, none, eos or the id of a token")(text))


def _units(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for unit in found:
        if unit not in UNITS:
            raise argparse.ArgumentTypeError(f"{unit!r}, expected some of {','.join(UNITS)}")
    return found


def _perplexity(arguments: argparse.Namespace) -> int:
    from .perplexity_run import run_perplexity

    return run_perplexity(arguments)


def _compare(arguments: argparse.Namespace) -> int:
    from .perplexity_beside import run_compare

    return run_compare(arguments)


def _plan(arguments: argparse.Namespace) -> int:
    from .perplexity_beside import run_plan

    return run_plan(arguments)


VERBS = {"perplexity": _perplexity, "perplexity compare": _compare, "perplexity plan": _plan}
