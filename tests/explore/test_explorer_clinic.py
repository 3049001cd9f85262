"""The loss clinic: what the page says of a log is what the doctor says of the same text in a file."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from explorer_driven import CODE, computed, evaluated, numbers, opened
from explorer_logs import CLASSES, Log, as_file, drawn, generated
from losskit.explore.page import SHIPPED

TOOLS = str(Path(__file__).parents[2] / "tools")
sys.path.insert(0, TOOLS)
clinic = import_module("explorer_recorded.clinic")
sys.path.remove(TOOLS)
PORTED: tuple[str, ...] = clinic.PORTED
RECORDED = json.loads((SHIPPED.parent / "recorded" / "clinic.json").read_text(encoding="utf-8"))
FOUND = """[...document.querySelectorAll("#clinic [data-code]")].map((e) => [e.dataset.code, e.dataset.own,
  e.dataset.step === "" ? null : Number(e.dataset.step), e.dataset.said, e.dataset.fix, e.matches("article")])"""
IN_THE_PAGE = """(logs) => logs.map(([text, facts]) => Doctor.diagnose(text, facts).findings.flatMap((top) =>
  [top, ...top.under].map((f) => [f.code, f.own, f.step, f.said, f.fix, f === top, f.level ?? null])))"""
PASTE = """(text) => { const box = document.querySelector("#clinic-log"); box.value = text;
  box.dispatchEvent(new Event("input", {bubbles: true})); }"""
PASTE_EVENT = """(text) => { const data = new DataTransfer(); data.setData("text", text);
  const event = new ClipboardEvent("paste", {clipboardData: data, bubbles: true, cancelable: true});
  document.querySelector("#clinic-log").dispatchEvent(event); }"""
KINDS = {"num_classes": "classes", "vocab_size": "tokens", "batch_size": "pairs"}
STORED = ("rules", "fixes", "constants", "ported", "more")
# numbers of the same files that no log in the page needs: for live runs, for points that are means, for long curves
LIVE: Mapping[str, Sequence[str]] = {
    "D214": ("FEW_POINTS",),
    "D501": ("FOURFOLD", "HUGE", "LATER", "SOON"),
    "D504": ("ALIVE", "CLEAN", "LEFT", "LOOKS", "PACE"),
    "D505": ("PATIENCE", "SHARE"),
    "curve": ("FIRST", "LATE", "SHARE"),
    "excursions": ("IN_A_ROW", "NORMAL"),
    "levels_standing": ("LIVE_ERROR", "LIVE_STEPS", "LONG", "NEAR_LEVEL", "PADDED"),
}
QUICK = 4  # every fourth of the generated logs is pasted; the slow test asks of all


@pytest.fixture(scope="module")
def page(browser: Any) -> Any:
    return opened(browser, "#clinic.patient=own")


def paste(page: Any, text: str, facts: Mapping[str, Any]) -> None:
    """Says what is known of the loss, and puts the text into the field, as a person does."""
    known = next((kind for name, kind in KINDS.items() if name in facts), "none")
    page.locator("#clinic-known").select_option(known)
    if known != "none":
        size = next(facts[name] for name in KINDS if name in facts)
        page.locator("#clinic-count-number").fill(str(size))
    if known == "classes":
        page.locator("#clinic-smoothing-number").fill(str(facts.get("label_smoothing", 0)))
    page.evaluate(PASTE, text)


def of_python(log: Log) -> tuple[list[Any], str]:
    """What the doctor says by the rules that the page has, and the code of its first finding of all."""
    tops = clinic.said_of(as_file(log), log.facts, log.file)
    every = [(one, one is top) for top in tops for one in (top, *top["under"])]
    ported = [[o["code"], o["own"], o["step"], o["said"], o["fix"], is_top] for o, is_top in every if o["code"] in PORTED]
    return ported, tops[0]["code"] if tops else ""


def contradictions(log: Log, shown: Sequence[Sequence[Any]]) -> list[str]:
    """Where page and doctor differ.

    The relation: the page's findings, those that others explain among them, are the doctor's findings by the ported rules, each
    with the same severity of its own, step, sentence and fix; and where the doctor's first finding is by a ported rule, it is the
    page's first.
    """
    told, first = of_python(log)
    ours, theirs = sorted(tuple(map(str, one[:5])) for one in shown), sorted(tuple(map(str, one[:5])) for one in told)
    found = [f"{log.name}: the page alone says {one}" for one in ours if one not in theirs]
    found += [f"{log.name}: only Python says {one}" for one in theirs if one not in ours]
    if first in PORTED and (not shown or shown[0][0] != first):
        found.append(f"{log.name}: {first} is first, and the page begins with {shown[0][0] if shown else 'nothing'}")
    return found


def logs_recorded() -> list[Log]:
    """The logs of the patients; the page's own field knows a vocabulary by the name of one loss."""
    found = []
    for k, run in enumerate(RECORDED["runs"]):
        facts = {**run["facts"], **({"loss": "cross_entropy"} if "vocab_size" in run["facts"] else {})}
        found.append(Log(f"patient {k + 1}", run["log"], facts))
    return found


# ---------------------------------------------------------------------- the patients


@pytest.mark.parametrize("run", RECORDED["runs"], ids=lambda run: run["was"])
def test_the_stored_findings_are_the_doctors_of_the_stored_log(run: dict[str, Any]) -> None:
    assert json.loads(json.dumps(clinic.said_of(run["log"], run["facts"]))) == run["findings"]


def test_the_stored_texts_are_those_of_the_findings() -> None:
    codes = {one["code"] for run in RECORDED["runs"] for one in run["findings"]}
    assert json.loads(json.dumps(clinic.texts(codes))) == {name: RECORDED[name] for name in STORED}


def test_the_page_takes_every_number_of_a_ported_rule_from_the_rule() -> None:
    taken = set[tuple[str, str]]()
    for file in sorted((SHIPPED.parent / "exhibits").glob("e7_*.js")):
        text = file.read_text(encoding="utf-8")
        taken |= set(re.findall(r"\bK\.(\w+)\.([A-Z_]+)", text))
        for names, rule in re.findall(r"\{ ([A-Z_, ]+) \} = (?:K|RECORDED\.clinic\.constants)\.(\w+)", text):
            used = {name for name in names.split(", ") if len(re.findall(rf"\b{name}\b", text)) > 1}
            taken |= {(rule, name) for name in used}
    known = {(rule, name) for rule, numbers in RECORDED["constants"].items() for name in numbers}
    assert known - taken == {(rule, name) for rule, names in LIVE.items() for name in names}
    assert taken <= known


def test_ten_curves_or_more_healthy_and_sick_are_there() -> None:
    illnesses = [run["illness"] for run in RECORDED["runs"]]
    assert len(illnesses) >= 10
    assert illnesses.count("healthy") >= 3
    silent = {run["illness"] for run in RECORDED["runs"] if not run["findings"]}
    assert silent == {"healthy", "hidden"}


def test_a_guess_is_judged_and_the_next_patient_is_closed(browser: Any) -> None:
    page = opened(browser)
    page.locator("#clinic-guess").select_option("twice")
    assert page.locator("#clinic .verdict").get_attribute("data-right") == "true"
    page.locator("#clinic-guess").select_option("healthy")
    assert page.locator("#clinic .verdict").get_attribute("data-right") == "false"
    page.locator("#clinic-patient").select_option("3")
    assert page.evaluate(FOUND) == []
    assert page.locator("#clinic-guess").input_value() == ""
    page.locator("#clinic-open").check()
    assert [one[0] for one in page.evaluate(FOUND)] == ["D501"]


def test_no_patients_illness_is_named_before_it_is_opened(browser: Any) -> None:
    page = opened(browser)
    for k, run in enumerate(RECORDED["runs"]):
        page.locator("#clinic-patient").select_option(str(k + 1))
        assert run["was"] not in page.locator("#clinic .view").inner_text()


# ---------------------------------------------------------------------- a person's own log


def test_the_page_has_the_rules_that_it_says(page: Any) -> None:
    assert page.evaluate("Doctor.codes()") == sorted(PORTED)


def test_what_is_pasted_is_diagnosed_as_the_doctor_does(page: Any) -> None:
    logs = [*logs_recorded(), *list(generated())[::QUICK]]
    found = []
    for log in logs:
        paste(page, log.text, log.facts)
        found += contradictions(log, page.evaluate(FOUND))
    assert found == []
    assert len(logs) >= 25 + len(RECORDED["runs"])
    assert page.trouble == []


@pytest.mark.parametrize("log", list(generated()), ids=lambda log: log.name)
@pytest.mark.slow
def test_every_generated_log_is_diagnosed_as_the_doctor_does(page: Any, log: Log) -> None:
    assert contradictions(log, page.evaluate(IN_THE_PAGE, [[log.text, dict(log.facts)]])[0]) == []


@pytest.mark.slow
def test_logs_drawn_at_random_are_diagnosed_as_the_doctor_does(page: Any) -> None:
    logs = list(drawn(300))
    shown = page.evaluate(IN_THE_PAGE, [[log.text, dict(log.facts)] for log in logs])
    assert [line for log, one in zip(logs, shown, strict=True) for line in contradictions(log, one)] == []


def test_a_wrong_diagnosis_would_be_seen() -> None:
    log = next(log for log in generated() if log.name.startswith("chance,"))
    told, _ = of_python(log)
    moved = [[*told[0][:2], told[0][2] + 1, *told[0][3:]], *told[1:]]
    assert len(contradictions(log, moved)) == 2
    assert len(contradictions(log, [])) > len(told)


@pytest.mark.parametrize("form", ["csv", "json", "printed", "colons", "trainer", "bare", "tabs"])
def test_the_numbers_shown_are_those_of_the_python_below(page: Any, form: str) -> None:
    log = next(log for log in generated() if log.name.endswith(f", {form}") and not log.name.startswith(("healthy", "short")))
    paste(page, log.text, log.facts)
    space, shown = computed(page.evaluate(CODE, "clinic")), numbers(page, "clinic")
    wrong = [one for one in shown if one.py and not same(evaluated(one.py, space), one.value)]
    assert wrong == []
    assert sum(bool(one.py) for one in shown) >= 3


def same(one: float, other: float) -> bool:
    """Equal to 1e-9; NaN is NaN."""
    return one == other or (math.isnan(one) and math.isnan(other)) or abs(one - other) <= 1e-9 * max(1.0, abs(one))


# ---------------------------------------------------------------------- what somebody may paste


def test_nothing_pasted_is_nothing_said(page: Any) -> None:
    paste(page, "", CLASSES)
    assert page.evaluate(FOUND) == []
    assert "Paste a log" in page.locator("#clinic .view").inner_text()


@pytest.mark.parametrize("way", [PASTE, PASTE_EVENT], ids=["into the field", "from the clipboard"])
def test_a_million_lines_are_cut_with_a_sentence(browser: Any, way: str) -> None:
    page = opened(browser, "#clinic.patient=own")
    page.evaluate(f"() => ({way})(Array.from({{length: 1e6}}, (_, i) => `step ${{i}} loss ${{2 + Math.sin(i)}}\\n`).join(''))")
    assert [one.value for one in numbers(page, "clinic")][:2] == [1e6, 2e4]
    assert "reads the first" in page.locator("#clinic [data-cut]").inner_text()
    assert page.evaluate("document.querySelector('#clinic-log').value.split('\\n').length") == 20001
    assert page.trouble == []


def test_a_text_of_few_long_lines_is_cut_too(page: Any) -> None:
    page.evaluate(f"() => ({PASTE})(('loss 2.0 ' + 'word '.repeat(800) + '\\n').repeat(3000))")
    total, kept = [one.value for one in numbers(page, "clinic")][:2]
    assert total == 3000
    assert 4e6 / 4011 < kept + 1 < 4e6 / 4000
    assert page.trouble == []


def test_markup_in_a_log_stays_text(page: Any) -> None:
    head = '<img src=x onerror="window.hit=1">loss'
    paste(page, f"step,{head}\n" + "".join(f"{i},{2 + 0.01 * (i % 7)}\n" for i in range(200)), {})
    assert page.locator("#clinic .view img").count() == 0
    assert page.evaluate("window.hit") is None
    assert head in page.locator("#clinic .legend").inner_text()
    paste(page, "<script>window.hit=1</script></textarea><b>loss</b> 2.0\n", {})
    assert page.locator("#clinic .view b, #clinic .view script").count() == 0
    assert page.evaluate("window.hit") is None
    assert page.trouble == []


def test_half_a_line_is_counted_and_the_rest_is_read(page: Any) -> None:
    whole = "".join(json.dumps({"step": i, "loss": 2.0 - 0.001 * i}) + "\n" for i in range(50))
    paste(page, whole + '{"step": 50, "lo', {})
    assert numbers(page, "clinic")[0].value == 1
    assert "Lines that could not be read" in page.locator("#clinic .view").inner_text()
    assert page.trouble == []


def test_the_log_is_not_put_into_the_address(page: Any) -> None:
    paste(page, "loss 1.234567\n" * 30, CLASSES)
    assert "1.234567" not in page.evaluate("location.hash")
