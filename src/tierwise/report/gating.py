"""What a gate found: in words, as a table, as Markdown for a pull request, as JUnit XML for a CI system."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tierwise.report.comparing import flips, times
from tierwise.report.grid import Grid, escaped
from tierwise.report.numbers import UNKNOWN, dollars, interval, points, seconds, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tierwise.analysis.gate import Gate, GateCheck

_SIGNS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔"}


def headline(found: Gate) -> str:
    """The verdict, and what it rests on."""
    text = f"{found.verdict}: {found.other} against {found.base}, {found.tasks} of {found.planned} tasks"
    if found.verdict == "INCONCLUSIVE":
        text += f", about {found.needed} more needed" if found.needed is not None else ", how many more cannot be said"
    return text


def checks(found: Gate) -> Grid:
    """One line for each bound."""
    rows = [
        (
            f"{_SIGNS[check.verdict]} {check.name}",
            check.verdict,
            _bound(check),
            _seen(check),
            f"{check.tasks}",
            UNKNOWN if check.needed is None else f"{check.needed}",
            f"new {check.population}",
        )
        for check in found.checks
    ]
    return Grid(("check", "verdict", "wanted", "found", "tasks", "more needed", "speaks for"), tuple(rows))


def _writer(check: GateCheck) -> Callable[[float], str]:
    if check.axis == "quality":
        return points
    if check.name.endswith("ratio"):
        return times
    return seconds if check.axis == "latency" else dollars


def _bound(check: GateCheck) -> str:
    write = _writer(check)
    return f"> {write(-check.bound)} points" if check.axis == "quality" else f"≤ {write(check.bound)}"


def _seen(check: GateCheck) -> str:
    write = _writer(check)
    if check.estimate is None:
        return UNKNOWN
    text = value(check.estimate, write)
    return text if check.estimate.interval is None else f"{text} {interval(check.estimate, write)}"


def notes(found: Gate) -> Iterable[str]:
    """What stands in the way, what was left out, and how far the verdict reaches."""
    for check in found.checks:
        if check.why:
            yield f"{check.name}: {check.why}."
        elif check.axis == "quality" and check.verdict == "FAIL":
            yield "quality.margin: less was solved than by the baseline, and the loss may reach the margin."
    if found.errors:
        yield f"{found.errors} pairs ended in infrastructure errors and are left out of the figures above."
    if found.not_run:
        yield f"{found.not_run} of {found.planned} tasks were not run in both."
    if found.is_sequential:
        yield (
            "Looked at whenever a fortieth of the planned tasks was in: each verdict is wrong in at most 2.5 % of runs "
            "over all looks, however often one asks. It speaks for tasks like these in a random order, not for new "
            "clusters."
        )
    else:
        yield "Each verdict is wrong in at most 2.5 % of runs, if nobody looked at the run before its end."


def as_markdown(found: Gate) -> str:
    """A summary for a pull request."""
    lines = [f"### {_SIGNS[found.verdict]} {escaped(headline(found))}", "", checks(found).as_markdown(), ""]
    lines += [escaped(note) + "  " for note in notes(found)]
    changed = [f"- {escaped(line)}" for line in flips(found.gained, found.lost, None)]
    if changed:
        lines += ["", "<details><summary>Tasks that changed sides</summary>", "", *changed, "", "</details>"]
    return "\n".join(lines) + "\n"


def as_junit(found: Gate) -> str:
    """A test suite with one case for each check; what is inconclusive is an error: it did not pass."""
    verdicts = [check.verdict for check in found.checks]
    suite = ET.Element(
        "testsuite",
        name="tierwise gate",
        tests=str(len(verdicts)),
        failures=str(verdicts.count("FAIL")),
        errors=str(verdicts.count("INCONCLUSIVE")),
        skipped="0",
    )
    properties = ET.SubElement(suite, "properties")
    for name, text in (("verdict", found.verdict), ("base", found.base), ("run", found.other)):
        ET.SubElement(properties, "property", name=name, value=_printable(text))
    for check in found.checks:
        case = ET.SubElement(suite, "testcase", classname="tierwise.gate", name=check.name)
        text = f"wanted {_bound(check)}, found {_seen(check)} on {check.tasks} tasks"
        if check.verdict == "FAIL":
            ET.SubElement(case, "failure", type="FAIL", message=text)
        elif check.verdict == "INCONCLUSIVE":
            more = check.why or (f"about {check.needed} tasks more needed" if check.needed is not None else "")
            ET.SubElement(case, "error", type="INCONCLUSIVE", message=_printable(f"{text}; {more}".rstrip("; ")))
        else:
            ET.SubElement(case, "system-out").text = text
    ET.SubElement(suite, "system-out").text = _printable("\n".join(flips(found.gained, found.lost, 100)))
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _printable(text: str) -> str:
    """Without the control characters that XML cannot hold."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
