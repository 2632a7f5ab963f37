"""The result of a gate: as text, as a table, as Markdown for a pull request, and as JUnit XML for a CI system."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from tierwise.report.comparing import agents, changed_tasks, flips, times
from tierwise.report.grid import Grid, escaped
from tierwise.report.numbers import UNKNOWN, dollars, interval, points, seconds, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tierwise.analysis.gate import Gate, GateCheck

_SIGNS = {"PASS": "✅", "FAIL": "❌", "INCONCLUSIVE": "❔"}


def headline(found: Gate) -> str:
    """The verdict, the two rows, and the number of tasks behind it."""
    text = f"{found.verdict}: {found.other} against {found.base}, {found.tasks} of {found.planned} tasks"
    if found.verdict == "INCONCLUSIVE":
        text += "; unknown how many more are needed" if found.needed is None else f", about {found.needed} more needed"
    return text


def checks(found: Gate) -> Grid:
    """One row for each bound."""
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
    return Grid(("check", "verdict", "wanted", "found", "tasks", "more needed", "population"), tuple(rows))


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
    """Why checks are undecided, what was left out, and what the verdict applies to."""
    for check in found.checks:
        if check.why:
            yield f"{check.name}: {check.why}."
        elif check.axis == "quality" and check.verdict == "FAIL":
            yield "quality.margin: the candidate solved fewer tasks than its baseline; the loss may reach the margin."
    if found.errors:
        yield f"{found.errors} pairs had infrastructure errors; they are left out of the figures above."
    if found.not_run:
        yield f"{found.not_run} of {found.planned} tasks were not run in both."
    yield from agents(found.agents)
    yield from changed_tasks(found.changed)
    if found.is_sequential:
        yield (
            "The test is evaluated each time another 1/40 of the planned tasks is complete. Over all looks, each "
            "verdict is wrong in at most 2.5 % of runs, however often the gate is called. It applies to tasks like "
            "these in random order, not to new clusters."
        )
    else:
        yield "Each verdict is wrong in at most 2.5 % of runs, provided that the gate was called only once, at the end."


def as_markdown(found: Gate) -> str:
    """A summary for a pull request."""
    lines = [f"### {_SIGNS[found.verdict]} {escaped(headline(found))}", "", checks(found).as_markdown(), ""]
    lines += [escaped(note) + "  " for note in notes(found)]
    changed = [f"- {escaped(line)}" for line in flips(found.gained, found.lost, None)]
    if changed:
        lines += ["", "<details><summary>Tasks whose outcome changed</summary>", "", *changed, "", "</details>"]
    return "\n".join(lines) + "\n"


def as_junit(found: Gate) -> str:
    """A test suite with one case for each check. An inconclusive check is an error, because it did not pass."""
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
            more = check.why or (f"about {check.needed} more tasks needed" if check.needed is not None else "")
            ET.SubElement(case, "error", type="INCONCLUSIVE", message=_printable(f"{text}; {more}".rstrip("; ")))
        else:
            ET.SubElement(case, "system-out").text = text
    ET.SubElement(suite, "system-out").text = _printable("\n".join(flips(found.gained, found.lost, 100)))
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def _printable(text: str) -> str:
    """The text with control characters replaced, which XML cannot contain."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
