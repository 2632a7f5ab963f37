"""What a result says, in sentences that the terminal and the page share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tierwise.bench.schedule import Variant
from tierwise.report.numbers import dollars, interval, percent, points, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tierwise.bench.records import Outcome
    from tierwise.bench.schedule import Mode
    from tierwise.bench.statistics import Estimate
    from tierwise.bench.summary import Gain, Row, Summary

OUTCOMES: dict[Outcome, str] = {"pass": "solved", "fail": "wrong", "no_answer": "no answer", "error": "error"}


def population(summary: Summary) -> str:
    """Which tasks the intervals speak for."""
    return (
        f"Intervals hold with 95 % confidence for tasks like these {summary.tasks}, drawn independently of each other, "
        "on a machine and at a concurrency like this run's. They do not speak for other kinds of tasks."
    )


def gain(found: Gain) -> str:
    """Whether the extra passes of a tier paid, in one paragraph."""
    pairs = found.quality.n
    heads = {"better": "the extra passes help", "worse": "the extra passes do harm"}
    head = heads.get(found.verdict, "the extra passes are not shown to help")
    text = (
        f"{found.tier}: {head}. Of {pairs} tasks, max mode alone solved {found.only_max} and average mode alone "
        f"{found.only_average}: {points(found.quality.value)} points {interval(found.quality, points)}, "
        f"exact McNemar p = {found.p_value:.2g}."
    )
    if found.dollars is not None:
        text += f" Max costs {_change(found.dollars, dollars)} per action"
        text += "." if found.seconds is None else f" and takes {_change(found.seconds, seconds)}, on average."
    return text


def _change(difference: Estimate, write: Callable[[float], str]) -> str:
    """`$0.01 more [$0.00, $0.02]`."""
    size = f"{write(abs(difference.value))} {'more' if difference.value >= 0 else 'less'}"
    return size if difference.interval is None else f"{size} {interval(difference, write)}"


def warnings(summary: Summary) -> Iterable[str]:
    """What a reader must know before he trusts the numbers."""
    if summary.is_partial:
        missing = sum(row.counts.not_run for row in summary.rows)
        planned = summary.tasks * len(summary.rows)
        yield f"Partial: {missing} of {planned} actions were not run. Rows may stand on different tasks."
    if summary.errors:
        errors = sum(summary.errors.values())
        verdict = "too many to trust the result" if summary.has_too_many_errors else "left out of the quality"
        yield (
            f"{errors} infrastructure error{'s' if errors > 1 else ''}, {percent(summary.error_share)} of the actions: "
            f"{verdict}. The commonest: {next(iter(summary.errors))}"
        )
    if cut := [f"{name(row)} {row.cut}" for row in summary.rows if row.cut]:
        yield f"Answers cut at a bound on tokens: {', '.join(cut)}."
    if untold := [f"{name(row)} {row.untold}" for row in summary.rows if row.untold]:
        yield f"Actions whose cost the endpoint did not tell, which no cost here holds: {', '.join(untold)}."
    if all(row.dollars is None or row.dollars.value == 0 for row in summary.rows):
        yield "No deployment has a price in the config file, so every action costs nothing here."


class Named(Protocol):
    """Whatever belongs to one tier in one mode."""

    @property
    def tier(self) -> str: ...
    @property
    def mode(self) -> Mode: ...


def name(one: Named) -> str:
    """How a row is called: `fast`, `max · average`."""
    return Variant(tier=one.tier, mode=one.mode).name


def mode(row: Row) -> str:
    """What a row's mode means for it."""
    match row.mode:
        case "average":
            return "average: 1 pass"
        case "max":
            return f"max: ≤ {row.most_passes} passes"
        case "both":
            return "always 1 pass"
