"""Several runs of one suite: how precise their scores are, and which differences are significant (Miller 2024).

A score's naive error assumes independent tasks. The clustered error counts the tasks of a cluster, such as a
repository, as one observation, and so is valid for new clusters too.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from tierwise.stats import clusters, estimates, paired_effects
from tierwise.stats.estimates import Interval
from tierwise.stats.multiplicity import SIGNIFICANT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tierwise.runs.importers.imported import Imported


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """One run."""

    name: str
    n: int
    """Tasks that were graded."""
    errors: int
    solved: int
    score: float
    naive: float
    """Its standard error if tasks were independent."""
    clustered: float | None
    clusters: int
    interval: Interval | None
    """For new clusters, with t at G - 1 df."""
    absent: int
    """Tasks of the suite that the run lacks; None where the suite is not known."""
    beyond: int
    """Tasks of the run that are not in the suite."""
    score_of_suite: float | None
    """If absent tasks and errors counted as failures; None when nothing is absent and there are no errors."""

    @property
    def ratio(self) -> float | None:
        return self.clustered / self.naive if self.clustered is not None and self.naive else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """Two runs on the tasks that both completed."""

    first: str
    second: str
    n: int
    only_one: int
    """Tasks that only one of them has; they are left out."""
    difference: float
    """First minus second."""
    unpaired: float
    """Its standard error if the runs had different tasks."""
    paired: float
    clustered: float | None
    disagreeing: int
    p_unpaired: float
    p_mcnemar: float
    p_clustered: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """All runs, and all pairs of them."""

    suite: str
    size: int | None
    scores: list[RunScore]
    paired_tests: list[PairedTest]

    @property
    def significant(self) -> dict[str, int]:
        """How many pairs differ at 5 %, by each test."""
        return {
            "unpaired": sum(test.p_unpaired < SIGNIFICANT for test in self.paired_tests),
            "mcnemar": sum(test.p_mcnemar < SIGNIFICANT for test in self.paired_tests),
            "clustered": sum((test.p_clustered or 1) < SIGNIFICANT for test in self.paired_tests),
        }


def leaderboard(runs: Sequence[Imported]) -> Leaderboard:
    """Scores and differences of runs of one suite."""
    return Leaderboard(
        suite=runs[0].suite,
        size=runs[0].size,
        scores=[_score(run) for run in runs],
        paired_tests=[_paired_test(first, second) for first, second in itertools.combinations(runs, 2)],
    )


def _outcomes(run: Imported) -> dict[str, bool]:
    """Graded tasks, and whether each was solved."""
    return {result.task: result.is_solved for result in run.results if result.is_graded}


def _groups(run: Imported, tasks: Sequence[str]) -> NDArray[np.int64] | None:
    of = run.clusters
    names = [of[task] for task in tasks]
    if "" in names or len(set(names)) < 2:
        return None
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def _clustered(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    return clusters.robust_error(*clusters.gather(values.tolist(), groups.tolist()))


def _score(run: Imported) -> RunScore:
    outcomes = _outcomes(run)
    tasks = list(outcomes)
    values = np.array([outcomes[task] for task in tasks], dtype=float)
    groups = _groups(run, tasks)
    n, solved = len(tasks), int(values.sum())
    share = solved / n if n else 0.0
    count = 0 if groups is None else int(groups.max()) + 1
    clustered = None if groups is None else _clustered(values, groups)
    half = None if clustered is None else estimates.t_quantile(count - 1) * clustered
    size = run.size
    missing = 0 if size is None else max(0, size - n)
    return RunScore(
        name=run.name,
        n=n,
        errors=len(run.results) - n,
        solved=solved,
        score=share,
        naive=math.sqrt(share * (1 - share) / n) if n else 0.0,
        clustered=clustered,
        clusters=count,
        interval=None if half is None else Interval(max(0.0, share - half), min(1.0, share + half)),
        absent=missing,
        beyond=0 if size is None else max(0, len(run.results) - size),
        score_of_suite=_with_failures(solved, size, len(run.results), has_gaps=missing > 0 or n < len(run.results)),
    )


def _with_failures(solved: int, size: int | None, results: int, *, has_gaps: bool) -> float | None:
    """The score if absent tasks and errors were failures."""
    return solved / max(size or 0, results) if has_gaps and results else None


def _paired_test(first: Imported, second: Imported) -> PairedTest:
    one, two = _outcomes(first), _outcomes(second)
    tasks = sorted(one.keys() & two.keys())
    n = len(tasks)
    x, y = (np.array([outcomes[task] for task in tasks], dtype=np.int64) for outcomes in (one, two))
    change = x - y
    groups = _groups(first, tasks)
    unpaired = math.sqrt((x.var() + y.var()) / n) if n else 0.0
    values = change.astype(float)
    difference = float(values.mean()) if n else 0.0
    return PairedTest(
        first=first.name,
        second=second.name,
        n=n,
        only_one=len(one.keys() ^ two.keys()),
        difference=difference,
        unpaired=unpaired,
        paired=float(values.std() / math.sqrt(n)) if n else 0.0,
        clustered=None if groups is None else _clustered(values, groups),
        disagreeing=int((change != 0).sum()),
        p_unpaired=2 * float(special.ndtr(-abs(difference) / unpaired)) if unpaired else 1.0,
        p_mcnemar=estimates.mcnemar(int((change > 0).sum()), int((change < 0).sum())),
        p_clustered=None if groups is None else paired_effects.p_clustered(change, groups),
    )
