"""The effect of the number of active experts on quality, speed and perplexity, one row for each number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.report.comparing import times
from tierwise.report.grid import Grid
from tierwise.report.numbers import UNKNOWN, interval, percent, points

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.analysis.lever_effects import LeverEffect
    from tierwise.moe.perplexity import Perplexity
    from tierwise.stats.estimates import Estimate

TITLES = ("tier", "solved", "change, points", "tokens/s", "ratio", "perplexity", "its ratio")


def table(found: Sequence[LeverEffect], perplexities: Sequence[Perplexity]) -> Grid:
    """Changes and ratios are relative to the first row's tier, each with its 95 % interval.

    Args:
        found: the effects of each number, the base tier first.
        perplexities: of the same tiers; empty where the engine does not report log-probabilities.
    """
    read = {one.tier: one for one in perplexities}
    return Grid(TITLES, tuple(_line(one, read.get(one.tier)) for one in found))


def _line(one: LeverEffect, read: Perplexity | None) -> tuple[str, ...]:
    change = None if one.against is None else one.against.tasks.quality
    quality = None if change is None else change.shown
    return (
        one.tier,
        percent(one.solved),
        UNKNOWN if quality is None else f"{points(quality.value)} {interval(quality, points)}",
        UNKNOWN if one.tokens_per_second is None else f"{one.tokens_per_second:.1f}",
        _of(None if one.against is None else one.against.speed, times),
        _of(None if read is None else read.value, _three),
        _of(None if read is None else read.ratio, times),
    )


def _of(estimate: Estimate | None, shown: Callable[[float], str]) -> str:
    return UNKNOWN if estimate is None else f"{shown(estimate.value)} {interval(estimate, shown)}"


def _three(value: float) -> str:
    return f"{value:.3g}"
