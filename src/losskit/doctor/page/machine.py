"""A report for programs: JSON with a versioned schema, and JUnit for a CI server."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from ... import __version__
from ...evaluate.files import whole, write_whole
from ..evidence.run import Run, Series
from ..finding import Finding, rules
from ..report import Case, Report

__all__ = ["SCHEMA", "as_json", "plain", "write_junit"]

SCHEMA = "losskit.doctor/1"
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(report: Report, path: str | Path | None = None) -> dict[str, Any]:
    """Plain values, strict JSON: what is not finite is the string "nan", "inf" or "-inf"."""
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "losskit": __version__,
        "exit_code": report.exit_code,
        "cases": [_case(one) for one in report.cases],
    }
    if path is not None:
        write_whole(Path(path), json.dumps(found, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return found


def plain(value: Any) -> Any:
    """A value as JSON can hold it."""
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(v) for v in value]
    text = str(value)
    return text.encode("utf-8", "replace").decode()  # half of a surrogate pair is in no encoding


def _case(case: Case) -> dict[str, Any]:
    found: dict[str, Any] = {
        "subject": case.subject,
        "phase": case.phase,
        "severity": case.severity,
        "findings": [one.as_dict() for one in case.findings],
        "facts": case.facts,
        "looked_at": case.looked_at,
        "left_out": [{"what": what, "why": why} for what, why in case.left_out],
        "levels": [{"name": one.name, "value": one.value, "kind": one.kind, "code": one.code} for one in case.levels],
        "run": None if case.run is None else _run(case.run),
        "problem": case.problem,
        "faults": [{"where": one.where, "problem": one.problem} for one in case.faults],
    }
    return {name: plain(value) for name, value in found.items()}


def _run(run: Run) -> dict[str, Any]:
    reading = run.reading
    return {
        "name": run.name,
        "format": reading.format,
        "files": reading.files,
        "points": reading.points,
        "skipped": reading.skipped,
        "truncated": reading.truncated,
        "hides_nan": reading.hides_nan,
        "restarts": reading.restarts,
        "facts": run.facts,
        "events": [{"step": step, "text": text} for step, text in run.events],
        "finished": run.finished,
        "series": [_series(one) for one in run.series],
    }


def _series(series: Series) -> dict[str, Any]:
    finite = series.values[torch.isfinite(series.values)]
    some = finite.numel() > 0
    return {
        "name": series.name,
        "kind": series.kind,
        "points": len(series),
        "not_finite": len(series) - finite.numel(),
        "every": series.every,
        "first_step": int(series.steps[0]) if len(series) else None,
        "last_step": int(series.steps[-1]) if len(series) else None,
        "first": float(series.values[0]) if len(series) else None,
        "last": float(series.values[-1]) if len(series) else None,
        "lowest": float(finite.min()) if some else None,
        "highest": float(finite.max()) if some else None,
    }


def write_junit(report: Report, path: str | Path) -> None:
    """A test suite for each case, a test case for each rule that was asked: errors and warnings fail it."""
    root = ElementTree.Element("testsuites", name="losskit doctor")
    for case in report.cases:
        root.append(_suite(case))
    ElementTree.indent(root)
    with whole(Path(path)) as draft:
        ElementTree.ElementTree(root).write(draft, encoding="utf-8", xml_declaration=True)


def _suite(case: Case) -> ElementTree.Element:
    subject = _clean(case.subject)
    asked = {} if case.problem else {code: rule for code, rule in rules().items() if case.phase in rule.phases}
    found = {code: list(_flat(case.findings, code)) for code in asked}
    failed = sum(any(f.severity != "info" for f in hits) for hits in found.values())
    errors = len(case.faults) + bool(case.problem)
    suite = ElementTree.Element(
        "testsuite", name=subject, tests=str(len(found) + errors), failures=str(failed), errors=str(errors)
    )
    for code, hits in found.items():
        test = ElementTree.SubElement(suite, "testcase", classname=subject, name=f"{code} {rules()[code].name}")
        loud = [f for f in hits if f.severity != "info"]
        for one in loud[:1]:
            ElementTree.SubElement(test, "failure", type=one.severity, message=_clean(one.hit.said)).text = _clean(_told(loud))
        if quiet := [f.hit.said for f in hits if f.severity == "info"]:
            ElementTree.SubElement(test, "system-out").text = _clean("\n".join(quiet))
    troubles = [("reading", case.problem)] * bool(case.problem) + [(fault.where, fault.problem) for fault in case.faults]
    for name, text in troubles:
        test = ElementTree.SubElement(suite, "testcase", classname=subject, name=_clean(name))
        ElementTree.SubElement(test, "error", message=_clean(text))
    return suite


def _flat(findings: Sequence[Finding], code: str) -> list[Finding]:
    """Those of a code, folded ones included."""
    return [f for top in findings for f in (top, *top.consequences) if f.code == code]


def _told(findings: Sequence[Finding]) -> str:
    return "\n\n".join(
        f"{one.hit.said}\nwhere: {one.hit.where or 'the run'}\nwhy: {one.cause}\nfix: {one.fix}\nconfirm: {one.confirm}"
        for one in findings
    )


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
