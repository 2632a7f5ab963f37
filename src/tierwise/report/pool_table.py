"""The results of settings on a pool, as a table for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tierwise.report.numbers import UNKNOWN, count, interval, percent, points, seconds, short_dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.pools.results import SettingResult
    from tierwise.stats.estimates import Estimate


def table(found: Sequence[SettingResult], baseline: str) -> Table:
    """One row for each setting, with intervals below the values, and points beside the baseline."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0), caption_justify="left", header_style="bold")
    shown.add_column("setting", vertical="top", max_width=40)
    for title in ("correct", f"points to {baseline}", "passes", "tokens", "seconds", "p95", "$ per action"):
        shown.add_column(title, justify="right", vertical="top")
    for row in found:
        change = None if row.difference is None else row.difference.correct
        shown.add_row(
            Text.assemble(row.name, *_notes(row)),
            _estimate(row.correct, percent, lambda share: f"{100 * share:.1f}"),
            Text("") if row.difference is None else _estimate(change, points, points),
            Text(UNKNOWN if row.passes is None else count(row.passes.value)),
            _estimate(row.tokens, count, count),
            _estimate(row.seconds, seconds, seconds),
            _estimate(row.p95, seconds, seconds),
            _estimate(row.dollars, short_dollars, short_dollars),
        )
    return shown


def _notes(row: SettingResult) -> list[tuple[str, str]]:
    notes = []
    if row.no_answer:
        notes.append((f"\n{row.no_answer} without an answer", "dim"))
    if row.ungraded:
        notes.append((f"\n{row.ungraded} not graded, left out", "dim"))
    return notes


def _estimate(estimate: Estimate | None, write: Callable[[float], str], bound: Callable[[float], str]) -> Text:
    if estimate is None:
        return Text(UNKNOWN)
    return Text.assemble(write(estimate.value), "\n", (interval(estimate, bound), "dim"))
