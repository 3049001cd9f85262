"""Writes the table of claims, docs/explanation/claims.md, from the tests that carry ``pytest.mark.claim``.

``--run`` runs these tests, or with names (``--run R3 R4``) those of some claims, and puts outcomes, date and versions into the
table; ``--check`` says whether every claim has a test that passed and the table is the one of the tests as they are.
"""

from __future__ import annotations

import ast
import json
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from claims_said import CLAIMS, NOTES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explanation" / "claims.md"
RESULTS = PAGE.with_suffix(".json")
SHOWN = ("torch", "transformers", "accelerate", "lightning", "sentence-transformers", "torchmetrics", "scikit-learn")
HEAD = """# Claims and their tests

What is said of losses in general, on this site and on others, and the tests that hold it here. A claim is one sentence; a test is
one too, and its name is that sentence with underscores. `python tools/claims.py --run` runs them all again and writes this
page, `--check` fails where a claim has no test, a test did not pass, or the page is old.
"""


def marked(folder: Path) -> dict[str, list[str]]:
    """Claim -> the tests that carry its mark, as "tests/losses/test_x.py::test_y", read from the sources."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(folder.rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "mark.claim" not in source:
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef):
                for name in _marks(node):
                    found[name].append(f"{path.relative_to(folder.parent).as_posix()}::{node.name}")
    return dict(found)


def _marks(test: ast.FunctionDef) -> Iterator[str]:
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.claim":
            yield from (str(ast.literal_eval(name)) for name in mark.args)


class Outcomes:
    """A plugin of pytest: how often each test passed, failed or was skipped over its parameters."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Pytest calls this for setup, call and teardown of each test."""
        name = report.nodeid.split("[")[0]
        if report.when == "call" or report.outcome != "passed":
            self.counts[name][report.outcome] += 1


def run(tests: Mapping[str, list[str]], only: Sequence[str] = ()) -> int:
    """Run every marked test, slow or not, or those of some claims, and keep what came of it beside what is known of others."""
    import pytest

    outcomes = Outcomes()
    wanted = sorted({name for claim, names in tests.items() if not only or claim in only for name in names})
    code = pytest.main(["-m", "claim", "--rootdir", str(ROOT), *(str(ROOT / name) for name in wanted)], plugins=[outcomes])
    existing = {name for names in tests.values() for name in names}
    before = {name: count for name, count in results()["tests"].items() if only and name in existing}
    found = {
        "date": date.today().isoformat(),
        "versions": {"python": platform.python_version(), **{name: v for name in SHOWN if (v := _version(name))}},
        "tests": dict(sorted({**before, **{name: dict(count) for name, count in outcomes.counts.items()}}.items())),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(code)


def _version(name: str) -> str | None:
    try:
        return version(name).split("+")[0]
    except PackageNotFoundError:
        return None


def results() -> dict[str, Any]:
    """What the last run found."""
    if not RESULTS.is_file():
        return {"tests": {}, "versions": {}}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def outcome(names: list[str], counts: Mapping[str, Mapping[str, int]]) -> str:
    """The last column: pass, with the number of cases, or what is in its way."""
    if not names:
        return "no test yet"
    if any(name not in counts for name in names):
        return "not run yet"
    total = Counter[str]()
    for name in names:
        total.update(counts[name])
    if total["failed"]:
        return f"**fails**: {total['failed']} of {sum(total.values())} cases"
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    return f"pass: {total['passed']} case{'s' if total['passed'] != 1 else ''}{skipped}"


def page(tests: Mapping[str, list[str]], found: Mapping[str, Any]) -> str:
    """The page as Markdown."""
    rows = [_row(name, tests.get(name, []), found["tests"]) for name in CLAIMS]
    parts = [HEAD]
    if "date" in found:
        versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
        parts.append(f"Run on {found['date']}: {versions}.\n")
    parts.append("\n".join(["| | claim | held by | outcome |", "|---|---|---|---|", *rows]) + "\n")
    parts.append("## What is not claimed\n\n" + "\n".join(f"- **{name}**: {note}" for name, note in NOTES.items()) + "\n")
    return "\n".join(parts)


def _row(claim: str, names: list[str], counts: Mapping[str, Mapping[str, int]]) -> str:
    said = [f"{name.split('::test_')[1].replace('_', ' ')} (`{name.split('::')[0].removeprefix('tests/')}`)" for name in names]
    return f"| {claim} | {CLAIMS[claim]} | {'<br>'.join(said)} | {outcome(names, counts)} |"


def problems(tests: Mapping[str, list[str]], found: Mapping[str, Any], written: str) -> list[str]:
    """What a reader of the page would be told wrongly."""
    counts, existing = found["tests"], {name for names in tests.values() for name in names}
    said = [f"{claim} has no test: {text}" for claim, text in CLAIMS.items() if not tests.get(claim)]
    said += [f"{claim} is no claim, but {', '.join(names)} carries it" for claim, names in tests.items() if claim not in CLAIMS]
    said += [f"{name} is in the results and not among the tests" for name in counts if name not in existing]
    said += [f"{name} has not been run: python tools/claims.py --run" for name in sorted(existing) if name not in counts]
    bad = [name for name, count in counts.items() if count.get("failed") or not count.get("passed")]
    said += [f"{name} did not pass" for name in bad if name in existing]
    if written != page(tests, found):
        said.append(f"{PAGE.relative_to(ROOT)} is old: python tools/claims.py")
    return said


def main() -> int:
    """Write the page, after a run if that is asked for, or check it."""
    tests = marked(ROOT / "tests")
    if "--check" in sys.argv:
        said = problems(tests, results(), PAGE.read_text(encoding="utf-8") if PAGE.is_file() else "")
        print("\n".join(said) or f"{len(CLAIMS)} claims are held by {len({n for v in tests.values() for n in v})} tests")
        return int(bool(said))
    code = run(tests, [name for name in sys.argv[1:] if name in CLAIMS]) if "--run" in sys.argv else 0
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(tests, results()), encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
