"""Recorded actions at other prices, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.report.grid import Grid
from tierwise.report.numbers import UNKNOWN
from tierwise.report.numbers import dollars as in_dollars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.ledger.totals import Total


def ledger_table(by: str, recorded: Sequence[Total], repriced: Sequence[Total]) -> Grid:
    """Recorded actions at the prices of the time and at others. The figures are of these actions, so they are exact."""
    rows = [_ledger_line(one.key or "(no pass)", one, other) for one, other in zip(recorded, repriced, strict=True)]
    return Grid((by, "actions", "$ recorded", "$ now", "change", "$ per action now"), tuple(rows))


def _ledger_line(name: str, one: Total, other: Total) -> tuple[str, ...]:
    change = UNKNOWN if not one.dollars else f"{other.dollars / one.dollars - 1:+.1%}"
    each = UNKNOWN if not other.actions else in_dollars(other.dollars / other.actions)
    return name, f"{one.actions:,}", in_dollars(one.dollars), in_dollars(other.dollars), change, each
