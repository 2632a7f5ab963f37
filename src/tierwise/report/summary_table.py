"""The result as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rich.table import Table
from rich.text import Text

from tierwise.report import sentences
from tierwise.report.numbers import NO_CHECK, UNKNOWN, count, interval, percent, seconds, short_dollars, value

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.analysis.rows import ResultRow
    from tierwise.analysis.summary import RunSummary
    from tierwise.stats.estimates import Estimate


_COLUMNS = {
    "tier": 12, "solved": 8, "p50 action": 9, "p95 action": 9, "passes": 6, "tokens": 7, "$ per action": 12,
    "$ per solved": 10,
}  # fmt: skip
"""Titles and maximum widths; together they fit a terminal of 80 columns."""


def table(summary: RunSummary) -> Table:
    """One row for each tier and mode, with intervals below the values."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0), caption_justify="left", header_style="bold")
    for named, most in _COLUMNS.items():
        title = named.replace("action", summary.unit)
        justify: Literal["left", "right"] = "left" if title == "tier" else "right"
        shown.add_column(title, justify=justify, vertical="top", max_width=most)
    for row in summary.rows:
        shown.add_row(
            _with(row.tier, sentences.mode(row)),
            _quality(row),
            _estimate(row.action.p50, seconds),
            _estimate(row.action.p95, seconds),
            Text(count(row.passes)),
            Text(_tokens(row)),
            _estimate(row.dollars, short_dollars),
            Text(value(row.dollars_per_solved, short_dollars)),
        )
    return shown


def _quality(row: ResultRow) -> Text:
    if row.quality is None:
        return Text(NO_CHECK if row.has_no_check else UNKNOWN)
    note = interval(row.quality, lambda share: f"{100 * share:.0f}")
    counts = row.counts
    if counts.errors:  # they stay in the count that is shown, and are left out of the percentage
        errors = f"{counts.errors} error{'s' if counts.errors > 1 else ''} left out"
        return _with(f"{counts.correct} of {counts.measured}, {errors}: {percent(row.quality.value)}", note)
    return _with(f"{counts.correct} of {counts.graded}  {percent(row.quality.value)}", note)


def _tokens(row: ResultRow) -> str:
    if row.prompt_tokens is None or row.completion_tokens is None:
        return UNKNOWN
    return count(row.prompt_tokens + row.completion_tokens)


def _estimate(estimate: Estimate | None, write: Callable[[float], str]) -> Text:
    return Text(UNKNOWN) if estimate is None else _with(write(estimate.value), interval(estimate, write))


def _with(main: str, note: str) -> Text:
    return Text.assemble(main, "\n", (note, "dim"))
