"""Reports: text in any width, strict JSON, JUnit, a page; order and folding of findings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from losskit.doctor.evidence import Evidence, Phase
from losskit.doctor.evidence.calls import Level
from losskit.doctor.evidence.run import Reading, Run, Series
from losskit.doctor.examine import examine, fold
from losskit.doctor.finding import RULES, SECTIONS, Fault, Finding, Hit, Rule, finding, rules
from losskit.doctor.page.terminal import text
from losskit.doctor.report import Case, Report, sickest_first

SICK = "runs/<script>alert(1)</script>/\x1b[31mred\u202e"


def made(code: str, severity: Any = "error", explains: tuple[str, ...] = (), step: int | None = None, **hit: Any) -> Finding:
    """A finding of a rule that is not registered."""

    def words(evidence: Evidence) -> Iterator[Hit]:
        """Words.

        Cause: because 2 + 2 = 4.
        Rule: r
        Silent when: s
        Fix: model.fc = nn.Linear(20, 10)
            # no softmax
        Confirm: losskit check train.py:make
        Reference: Somebody 2019.
        Example:
            x
        """
        yield from ()

    said = hit.pop("said", f"{code} said with 1 number")
    return Finding(Rule(code, severity, ("after",), explains, words), Hit(said, {"n": 1.0}, step=step, **hit))


def run(n: int = 500, name: str = "loss") -> Run:
    steps = torch.arange(n)
    values = 2.0 + torch.exp(-steps / 50).double()
    levels = (Level("ln 10 = 2.3026: chance among 10 classes", math.log(10), "chance"),)
    return Run("a", (Series(name, "train_loss", steps, values),), Reading("jsonl", points=n), levels)


def case(*findings: Finding, **more: Any) -> Case:
    return Case(SICK, "after", findings, run=run(), **more)


def test_a_finding_without_a_number_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        Hit("all is lost", {})


def test_a_rule_needs_every_section_and_a_code_of_its_own() -> None:
    def half(evidence: Evidence) -> Iterator[Hit]:
        """Half.

        Cause: c
        """
        yield from ()

    with pytest.raises(ValueError, match="D998 has no section"):
        finding("D998", severity="error", phases=("after",))(half)
    with pytest.raises(ValueError, match="D and three digits"):
        finding("E1", severity="error", phases=("after",))(half)
    assert "D998" not in RULES


def test_every_rule_has_its_file_its_sections_and_a_number_in_its_rule() -> None:
    folder = Path(finding.__code__.co_filename).parent / "findings"
    for code, rule in rules().items():
        path = folder / f"{code.lower()}_{rule.function.__name__}.py"
        assert path.is_file(), path
        assert all(rule.sections[head].strip() for head in SECTIONS), code
        assert rule.summary.endswith((".", "?")), code
        assert path.read_text().startswith(f'"""{code}: '), path
    assert len(list(folder.glob("d*.py"))) == len(rules())


def test_every_code_of_the_table_is_there() -> None:
    families = {
        1: [*range(1, 20)],
        2: [*range(1, 22)],
        3: [*range(1, 13)],
        4: [*range(1, 6)],
        5: [*range(1, 9)],
        6: [1, 2, 3, 4, 6],
        7: [*range(1, 6)],
        8: [*range(1, 6)],
        9: [*range(1, 6)],
    }
    assert set(rules()) >= {f"D{family}{number:02d}" for family, numbers in families.items() for number in numbers}


def test_rules_explain_codes_that_exist() -> None:
    for code, rule in rules().items():
        for one in rule.explains:
            assert any(known.startswith(one.rstrip("x")) for known in rules()), f"{code} explains {one}"
            assert one != code


def test_nothing_is_found_in_no_evidence() -> None:
    phases: tuple[Phase, ...] = ("before", "during", "after")
    for phase in phases:
        assert examine(Evidence(phase)) == ((), ())


def test_a_rule_that_fails_is_a_fault_and_silences_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(evidence: Evidence) -> Iterator[Hit]:
        raise RuntimeError("no such thing")
        yield

    def whole(evidence: Evidence) -> Iterator[Hit]:
        yield Hit("seen", {"n": 1})

    known = {"D901": Rule("D901", "error", ("after",), (), broken), "D902": Rule("D902", "info", ("after",), (), whole)}
    monkeypatch.setattr("losskit.doctor.examine.rules", lambda: known)
    findings, faults = examine(Evidence("after"))
    assert [f.code for f in findings] == ["D902"]
    assert faults == (Fault("D901", "RuntimeError: no such thing"),)


def test_the_earliest_cause_comes_first_and_its_consequences_are_folded_into_it() -> None:
    nan, spread, curve = made("D301", step=10, explains=("D302", "D5xx")), made("D302", step=11), made("D501", step=12)
    other = made("D601", "warning", step=3)
    found = fold([curve, other, spread, nan])
    assert [f.code for f in found] == ["D301", "D601"]
    assert sorted(f.code for f in found[0].consequences) == ["D302", "D501"]


def test_what_came_before_is_no_consequence() -> None:
    found = fold([made("D501", step=5), made("D301", step=10, explains=("D5xx",))])
    assert [(f.code, f.consequences) for f in found] == [("D501", ()), ("D301", ())]


def test_a_chain_is_folded_into_its_first_cause_and_its_severity_is_the_worst() -> None:
    found = fold([made("D501"), made("D401", "warning", explains=("D501",)), made("D115", "warning", explains=("D401",))])
    assert [f.code for f in found] == ["D115"]
    assert found[0].severity == "error"
    assert {f.code for f in found[0].consequences} == {"D401", "D501"}


def test_two_that_explain_each_other_are_both_told() -> None:
    assert len(fold([made("D501", explains=("D502",)), made("D502", explains=("D501",))])) == 2


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_text_keeps_to_its_width_and_shows_no_control_letters(width: int) -> None:
    sick = case(made("D403", step=7, where="train.py:41"), made("D404", "info"), facts={"loss": 2.3}, left_out=(("a", "b"),))
    said = text(Report((sick, Case("b", "after", problem="half a file"))), width)
    assert all(len(line) <= width for line in said.splitlines()), said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "D403" in said
    assert "half a" in said


def test_a_healthy_case_is_one_line_and_its_curve() -> None:
    said = text(Report((case(),)), 100)
    assert "healthy: nothing found in 500 points of loss, 3 to 2" in said
    assert "╌" in said
    assert "ln 10 = 2.3026" in said


def test_a_log_that_is_too_short_is_not_called_healthy() -> None:
    short = Case("a", "after", (made("D903", "info"),), run=run(5))
    said = text(Report((short, case())), 80)
    assert "not judged" in said
    assert "1 healthy run" not in said


def test_json_is_strict_and_versioned(tmp_path: Path) -> None:
    broken = made("D301", said="a NaN", step=3)
    object.__setattr__(broken.hit, "numbers", {"value": math.nan, "n": math.inf})
    report = Report((case(broken, facts={"x": math.nan, "y": (1, 2)}),))
    found = report.to_json(tmp_path / "r.json")
    assert found == json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda token: pytest.fail(token))
    assert found["schema"] == "losskit.doctor/1"
    assert found["exit_code"] == 2
    first = found["cases"][0]
    assert first["findings"][0]["numbers"] == {"value": "nan", "n": "inf"}
    assert first["run"]["series"][0]["points"] == 500


def test_junit_has_a_case_for_each_rule_and_fails_the_found(tmp_path: Path) -> None:
    rule = next(iter(rules().values()))
    hit = Finding(rule, Hit("said \x00 <b>", {"n": 1}))
    report = Report((Case("a", rule.phases[0], (hit,)), Case("b", "after", problem="no\x1bthing")))
    report.to_junit(tmp_path / "r.xml")
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    asked = sum(rule.phases[0] in one.phases for one in rules().values())
    assert [suite.get("tests") for suite in root] == [str(asked), "1"]
    assert len(root.findall(".//failure")) == (rule.severity != "info")
    assert [one.get("message") for one in root.findall(".//error")] == ["no\ufffdthing"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]


def test_the_page_is_one_file_that_loads_nothing_and_runs_nothing_foreign(tmp_path: Path) -> None:
    sick = case(made("D403", said="<img src=x onerror=alert(1)>", step=7), facts={"<b>": "</script><script>alert(2)</script>"})
    Report((sick, Case("b", "after", problem="half"))).to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.loaded == []
    assert tags.tags.count("script") == 3  # the charts as data, plotly, our own
    assert "img" not in tags.tags
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_runs_share_is_said_once_and_then_where_it_stands(tmp_path: Path) -> None:
    fix = "look at the batch of step {}, and no other"
    first, again, other = (
        Case(name, "after", (made("D301", said=f"a NaN in {name}", step=step, fix=fix.format(step)),))
        for name, step in (("runs/a", 7), ("runs/b", 90), ("runs/c", 7))
    )
    different = Case("runs/d", "after", (made("D301", said="a NaN in runs/d", fix="another one"),))
    report = Report((first, again, other, different))
    printed = text(report, 80)
    report.to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    for said in (printed, page):
        for one in ("because 2 + 2 = 4.", "the batch of step", "losskit check train.py:make", "another one"):
            assert said.count(one) == 1, one
        assert all(f"a NaN in runs/{name}" in said for name in "abcd"), "the evidence of each stands"
    assert printed.count("why, fix, check  as for runs/a") == 2
    assert printed.count("why, check  as for runs/a") == 1, "a fix of its own is printed"
    assert page.count('<a href="#case-1">runs/a</a>: why, fix, confirm') == 2


def test_two_findings_of_a_code_in_a_run_share_their_words() -> None:
    found = [made("D301", said=f"a NaN in {name}", where=name) for name in ("x", "y")]
    printed = text(Report((Case("a", "after", tuple(found)),)), 80)
    assert (printed.count("because 2 + 2 = 4."), printed.count("why, fix, check  as above")) == (1, 1)


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "r.html").write_text("old")
    with pytest.raises(OSError, match="missing"):
        Report((case(),)).to_html(tmp_path / "missing" / "r.html")
    assert (tmp_path / "r.html").read_text() == "old"


def test_exit_codes_tell_errors_warnings_reading_and_faults_apart() -> None:
    error, warning, info = made("D1"), made("D2", "warning"), made("D3", "info")
    unread, fault = Case("c", "after", problem="x"), Case("d", "after", faults=(Fault("D1", "x"),))
    assert Report((case(error), unread)).exit_code == 2
    assert Report((case(warning),)).exit_code == 0
    assert Report((case(warning),)).exit_for("warning") == 1
    assert Report((case(info),)).exit_for("warning") == 0
    assert Report((case(), unread)).exit_code == 3
    assert Report(()).exit_code == 3
    assert Report((case(), fault)).exit_code == 4


def test_the_sickest_comes_first() -> None:
    well, warned, bad = Case("w", "after"), case(made("D2", "warning")), case(made("D1"))
    unread = Case("u", "after", problem="x")
    assert sickest_first([well, unread, warned, bad]) == (bad, warned, unread, well)
