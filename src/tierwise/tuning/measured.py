"""Figures of settings on the test tasks, on which nothing was chosen: points, dollars, seconds and savings."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from tierwise.analysis.summary import design_of
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.design import Sample
    from tierwise.tuning.evaluated import Evaluated, Numbers
    from tierwise.workloads.task import Task

_P95 = Fraction(95, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a setting reaches; None where there are too few tasks."""

    points: Estimate | None
    """Share of the tasks that it solves."""
    dollars: Estimate | None
    """Of an action."""
    p95_seconds: Estimate | None
    """In the recorded order of the draws."""
    p95_seen: float
    """The 95th percentile of the sample, also where it has no interval."""
    kept: float
    """Share of actions that were not passed on to the last tier."""


def sample_of(tasks: Sequence[Task], part: Numbers) -> Sample:
    """Some tasks of a workload, with their clusters and weights.

    Args:
        tasks: of the workload.
        part: indexes of some.
    """
    names = [tasks[index].id for index in part.tolist()]
    return design_of(names, tasks, ()).sample(names)


class Measures:
    """Measures settings on some tasks.

    Args:
        evaluated: the settings.
        tasks: of the workload.
        part: indexes of those that are measured.
    """

    def __init__(self, evaluated: Evaluated, tasks: Sequence[Task], part: Numbers) -> None:
        self._evaluated, self._part = evaluated, part
        self._sample = sample_of(tasks, part)
        self._is_graded = evaluated.seconds.shape[2] > 1

    def of(self, setting: int) -> Measured:
        """The figures of a setting."""
        of, part = self._evaluated, self._part
        seconds = of.seconds[setting][part][:, 0].tolist()
        return Measured(
            points=self._sample.share(of.correct[setting][part].tolist(), is_graded=self._is_graded),
            dollars=self._sample.mean(of.dollars[setting][part].tolist(), least=0.0),
            p95_seconds=self._sample.quantile(seconds, _P95),
            p95_seen=sorted(seconds)[min(len(seconds) - 1, int(0.95 * len(seconds)))] if seconds else 0.0,
            kept=float(of.kept[setting][part].mean()) if len(part) else 0.0,
        )

    def saving(self, setting: int, other: int) -> Estimate | None:
        """The share of another setting's dollars that one saves, on the same tasks."""
        of, part = self._evaluated, self._part
        ratio = self._sample.ratio(of.dollars[setting][part].tolist(), of.dollars[other][part].tolist())
        if ratio is None:
            return None
        ends = ratio.interval
        interval = (
            None if ends is None else Interval(-float("inf") if ends.high is None else 1 - ends.high, 1 - ends.low)
        )
        return Estimate(value=1 - ratio.value, interval=interval, n=ratio.n, population=ratio.population)

    def points_against(self, setting: int, other: int) -> Estimate | None:
        """The share of tasks that a setting solves minus another's, on the same tasks."""
        of, part = self._evaluated, self._part
        return self._sample.difference(of.correct[setting][part].tolist(), of.correct[other][part].tolist())

    def disagreement(self, setting: int) -> Estimate | None:
        """The share of tasks on which a setting answers differently from the reference."""
        return self._sample.share(self._evaluated.disagreement[setting][self._part].tolist(), is_graded=self._is_graded)
