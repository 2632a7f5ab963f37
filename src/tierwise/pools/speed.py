"""The measured speed of a deployment under load: how long a prompt takes, and a token beside how many other passes.

Passes share the engine. Prompts are computed one after the other, and passes that decode wait for them, as in an engine
that has one batch. Then every pass gets a token in each step, and a step takes longer the more passes are in it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, combinations
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LEAST_AT_LEVEL = 3
"""Passes that must have run at a load for it to count."""
_ALONE = 1.2
"""Average number of running passes up to which a pass counts as alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """When one recorded pass ran. Times are in seconds on one clock."""

    began: float
    first_token: float
    """Seconds after it began."""
    seconds: float
    fresh: int
    """Prompt tokens that the engine computed."""
    tokens: int
    """Completion tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast a deployment is."""

    start: float
    """Seconds of a pass before its prompt is computed."""
    per_prompt_token: float
    """Seconds of each prompt token that is not cached."""
    loads: tuple[int, ...]
    """Numbers of passes that decode at once, for which `steps` were measured; increasing."""
    steps: tuple[float, ...]
    """Seconds per token of each pass at these loads; they never fall."""
    passes: int
    """Recorded passes that it was measured on."""

    def prefill(self, fresh: int) -> float:
        """Seconds until the first token of a pass that is alone."""
        return self.start + fresh * self.per_prompt_token

    def step(self, load: int) -> float:
        """Seconds per token of each of `load` passes: linear between the measured loads. Beyond them, they grow as over
        the last two or over all of them, whichever is faster: two neighbours may be equal by chance.
        """
        loads, steps = self.loads, self.steps
        if load <= loads[0] or len(loads) == 1:
            return steps[0]
        if load >= loads[-1]:
            slopes = ((steps[-1] - steps[one]) / (loads[-1] - loads[one]) for one in (0, -2))
            return steps[-1] + (load - loads[-1]) * max(slopes)
        at = bisect_right(loads, load)
        share = (load - loads[at - 1]) / (loads[at] - loads[at - 1])
        return steps[at - 1] + share * (steps[at] - steps[at - 1])


def measured(observed: Sequence[Observed]) -> Speed | None:
    """The speed that recorded passes show; None if no pass has two tokens."""
    usable = [one for one in observed if one.tokens >= 2 and one.seconds > one.first_token >= 0]
    if not usable:
        return None
    loads = loads_of(usable, observed)
    alone = [one for one, load in zip(usable, loads, strict=True) if load <= _ALONE] or usable
    start, per_token = _prefill(alone)
    by_load: dict[int, list[float]] = {}
    prompts = Prompts(observed, start, per_token)
    for one, load in zip(usable, loads, strict=True):
        waited = prompts.during(one)
        decoding = max(one.seconds - one.first_token - waited, 0.1 * (one.seconds - one.first_token))
        by_load.setdefault(max(1, round(load)), []).append(decoding / (one.tokens - 1))
    kept = {load: found for load, found in by_load.items() if len(found) >= _LEAST_AT_LEVEL} or by_load
    levels = sorted(kept)
    steps = _rising([median(kept[load]) for load in levels], [len(kept[load]) for load in levels])
    return Speed(start=start, per_prompt_token=per_token, loads=tuple(levels), steps=tuple(steps), passes=len(usable))


def loads_of(wanted: Iterable[Observed], every: Iterable[Observed]) -> list[float]:
    """The average number of passes that decoded while each of these did, itself included."""
    changes = sorted(
        change
        for one in every
        for change in ((one.began + one.first_token, 1), (one.began + max(one.first_token, one.seconds), -1))
    )
    moments: list[float] = []
    totals: list[float] = []
    running, total = 0, 0.0  # of the time that all passes together have decoded
    for moment, change in changes:
        if moments:
            total += running * (moment - moments[-1])
        running += change
        moments.append(moment)
        totals.append(total)

    def total_at(moment: float) -> float:
        at = bisect_right(moments, moment) - 1
        if at + 1 == len(moments) or moments[at] == moment:
            return totals[at]
        share = (moment - moments[at]) / (moments[at + 1] - moments[at])
        return totals[at] + share * (totals[at + 1] - totals[at])

    return [
        (total_at(one.began + one.seconds) - total_at(one.began + one.first_token)) / (one.seconds - one.first_token)
        for one in wanted
    ]


class Prompts:
    """When the prompts of passes were computed, and for how long."""

    def __init__(self, every: Iterable[Observed], start: float, per_token: float) -> None:
        computed = sorted((one.began + one.first_token, start + one.fresh * per_token) for one in every)
        self._moments = [moment for moment, _ in computed]
        self._totals = [0.0, *accumulate(seconds for _, seconds in computed)]

    def during(self, one: Observed) -> float:
        """Seconds of a pass's decoding in which the prompts of others were computed."""
        begins, ends = one.began + one.first_token, one.began + one.seconds
        return self._totals[bisect_right(self._moments, ends)] - self._totals[bisect_right(self._moments, begins)]


def _prefill(alone: Sequence[Observed]) -> tuple[float, float]:
    """Seconds of a start and of a prompt token: the median slope between prompts of different lengths, weighted by how
    much their lengths differ (Theil 1950, Jaeckel 1972). A few long prompts say more than many cached ones.
    """
    by_length: dict[int, list[float]] = {}
    for one in alone:
        by_length.setdefault(one.fresh, []).append(one.first_token)
    points = [(fresh, median(first), len(first)) for fresh, first in by_length.items()]
    slopes = sorted(
        ((late - early) / (longer - shorter), few * many * (longer - shorter))
        for (shorter, early, few), (longer, late, many) in combinations(sorted(points), 2)
    )
    if not slopes:
        return median(one.first_token for one in alone), 0.0
    half = sum(weight for _, weight in slopes) / 2
    reached = accumulate(weight for _, weight in slopes)
    per_token = next(slope for (slope, _), total in zip(slopes, reached, strict=True) if total >= half)
    per_token = max(0.0, per_token)
    return max(0.0, median(one.first_token - one.fresh * per_token for one in alone)), per_token


def _rising(values: Sequence[float], weights: Sequence[int]) -> list[float]:
    """The closest values that never fall (pool adjacent violators, Ayer et al. 1955)."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, values
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, count = blocks.pop()
            before, light, more = blocks.pop()
            blocks.append(((mean * heavy + before * light) / (heavy + light), heavy + light, count + more))
    return [mean for mean, _, count in blocks for _ in range(count)]
