"""The effects of a lever, one row for each tier of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.report.comparing import times
from tierwise.report.grid import Grid
from tierwise.report.numbers import UNKNOWN, interval, percent, points, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.analysis.lever_effects import LeverEffect
    from tierwise.stats.estimates import Estimate

TITLES = ("tier", "solved", "change, points", "tokens/s", "ratio", "$ ratio", "resident", "peak", "start")


def table(found: Sequence[LeverEffect]) -> Grid:
    """Changes and ratios are relative to the first row's tier, with 95 % intervals over tasks. Sizes are in MB."""
    return Grid(TITLES, tuple(_line(one) for one in found))


def _line(one: LeverEffect) -> tuple[str, ...]:
    change, speed, dollars = UNKNOWN, UNKNOWN, UNKNOWN
    if one.against is not None:
        quality = one.against.tasks.quality
        if quality is not None:
            change = f"{points(quality.shown.value)} {interval(quality.shown, points)}"
        speed = _ratio(one.against.speed)
        dollars = _ratio(one.against.tasks.dollars.ratio if one.against.tasks.dollars is not None else None)
    ran = one.deployment
    return (
        one.tier,
        percent(one.solved),
        change,
        UNKNOWN if one.tokens_per_second is None else f"{one.tokens_per_second:.1f}",
        speed,
        dollars,
        _megabytes(ran.resident_bytes if ran is not None else None),
        _megabytes(ran.peak_bytes if ran is not None else None),
        UNKNOWN if ran is None or ran.start_seconds is None else seconds(ran.start_seconds),
    )


def _ratio(estimate: Estimate | None) -> str:
    return UNKNOWN if estimate is None else f"{times(estimate.value)} {interval(estimate, times)}"


def _megabytes(value: int | None) -> str:
    return UNKNOWN if value is None else f"{value / 1e6:,.0f} MB"
