"""Two runs on the same tasks: how quality, seconds and dollars changed, how certain that is, and for which tasks.

A difference is always the second run's value minus the first's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tierwise.analysis.pairs import begun, grouping, priced, solved, timed, values
from tierwise.spec.errors import SpecError
from tierwise.stats import estimates
from tierwise.stats.multiplicity import SIGNIFICANT
from tierwise.stats.paired_effects import (
    Change,
    Groups,
    Spend,
    crossed,
    p_clustered,
    quality_change,
    quantile_changes,
    share,
    spend,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from tierwise.analysis.pairs import Pairs
    from tierwise.runs.records import Unit
    from tierwise.stats.estimand import Population
    from tierwise.stats.estimates import Estimate

Direction = Literal["better", "worse", "no difference shown", "no check"]

_VERDICTS: dict[Literal["up", "down", ""], Direction] = {"up": "better", "down": "worse", "": "no difference shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The result of comparing two rows."""

    base: str
    other: str
    planned: int
    not_run_base: int
    not_run_other: int
    errors_base: int
    errors_other: int
    both: int
    only_base: int
    only_other: int
    neither: int
    unchecked: int
    """Pairs without a check, as load tools and pools have them: they count for seconds and dollars only."""
    base_quality: Estimate | None
    """None, like the next four, if no task has a check."""
    other_quality: Estimate | None
    quality: Change | None
    """Infrastructure errors are left out."""
    quality_errors_failed: Estimate | None
    """If every infrastructure error were a failure."""
    p_value: float | None
    """Of no difference: exact McNemar, or the cluster t test where tasks come in clusters."""
    seconds: Spend | None
    """Of actions that both answered; None when no times were measured."""
    p50: Estimate | None
    """The difference of the medians of the same actions."""
    p95: Estimate | None
    first_output: Spend | None
    """Seconds until the first output, of those of these actions where both runs know them; None if there are none."""
    without_first_output: int
    """Actions that both answered, with measured seconds, whose first output is not known in one of the two."""
    dollars: Spend | None
    """Of actions whose cost is known in both."""
    unreported: int
    """Pairs with unknown costs."""
    is_grouped: bool
    """Whether observations depend on each other, because of repeats or clusters."""
    clusters: int | None
    changed: dict[str, list[str]]
    """Tasks that differ between the runs, as intended, with the keys that differ."""
    gained: list[str]
    """Tasks that only the other solved."""
    lost: list[str]
    agents: tuple[str, str] | None = None
    """The agents of both runs with their versions, if they differ; "none" for a run whose tasks were single actions."""

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"

    @property
    def verdict(self) -> Direction:
        """On quality."""
        if self.quality is None or self.p_value is None:
            return "no check"
        if self.is_grouped:
            return _VERDICTS[self.quality.direction]
        if self.p_value > SIGNIFICANT:
            return "no difference shown"
        return "better" if self.quality.shown.value > 0 else "worse"


def compare(pairs: Pairs, population: Population | None = None) -> Comparison:
    """Compare two rows.

    Args:
        pairs: the paired rows.
        population: the population to estimate for; if not given, clusters where every task has one.

    Raises:
        SpecError: nothing was graded in both, or clusters were requested and there are none.
    """
    graded = pairs.graded
    if not graded:
        raise SpecError(f"no task was graded in both {pairs.base.name} and {pairs.other.name}: all ended in errors")
    checked = pairs.checked
    groups = grouping(pairs, checked or graded, population)
    base, other = solved(pairs, checked)
    both, only_other, only_base, neither = crossed(base, other)
    answered, known = timed(pairs), priced(pairs)
    streamed = begun(pairs, answered)
    seconds, dollars = values(pairs, answered, "seconds"), values(pairs, known, "dollars")
    first_repeats = values(pairs, [unit for unit in answered if unit.repeat == 0], "seconds")
    p50, p95 = quantile_changes(first_repeats, (0.5, 0.95))
    gained, lost = flips(checked, other - base)
    return Comparison(
        base=pairs.base.name,
        other=pairs.other.name,
        planned=pairs.planned,
        not_run_base=pairs.not_run_base,
        not_run_other=pairs.not_run_other,
        errors_base=sum(not pairs.base.records[unit].is_graded for unit in pairs.units),
        errors_other=sum(not pairs.other.records[unit].is_graded for unit in pairs.units),
        both=both,
        only_base=only_base,
        only_other=only_other,
        neither=neither,
        unchecked=len(graded) - len(checked),
        **_quality(pairs, groups, population),
        seconds=spend(seconds, grouping(pairs, answered, population)),
        p50=p50,
        p95=p95,
        first_output=spend(values(pairs, streamed, "first_output"), grouping(pairs, streamed, population)),
        without_first_output=len(answered) - len(streamed),
        dollars=spend(dollars, grouping(pairs, known, population)),
        unreported=len(graded) - len(known),
        is_grouped=groups.shown is not None,
        clusters=groups.count,
        changed=dict(pairs.changed),
        gained=gained,
        lost=lost,
        agents=pairs.agents,
    )


def _quality(pairs: Pairs, groups: Groups, population: Population | None) -> dict[str, Any]:
    """The fields of a comparison about quality; all None if no task has a check."""
    base, other = solved(pairs, pairs.checked)
    if not len(base):
        names = ("base_quality", "other_quality", "quality", "quality_errors_failed", "p_value")
        return dict.fromkeys(names)
    _, only_other, only_base, _ = crossed(base, other)
    units = [unit for unit in pairs.units if pairs.has_check(unit)]
    is_plain = groups.shown is None
    return {
        "base_quality": share(base, groups),
        "other_quality": share(other, groups),
        "quality": quality_change(base, other, groups),
        "quality_errors_failed": quality_change(*solved(pairs, units), grouping(pairs, units, population)).shown,
        "p_value": estimates.mcnemar(only_other, only_base) if is_plain else p_clustered(other - base, groups.shown),
    }


def flips(units: Sequence[Unit], changes: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    """The names of tasks that were solved more often, and less often."""
    sums: Counter[str] = Counter()
    for unit, change in zip(units, changes.tolist(), strict=True):
        sums[unit.task] += change
    return sorted(task for task in sums if sums[task] > 0), sorted(task for task in sums if sums[task] < 0)
