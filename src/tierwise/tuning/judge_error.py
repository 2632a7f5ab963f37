"""How often a judge errs on recorded answers, by the checks that some tasks have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.analysis.summary import design_of
from tierwise.stats.estimates import rate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.stats.design import Sample
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.outcomes import Runner
    from tierwise.workloads.checks import CheckChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeError:
    """How often the judge errs on the answers to tasks that have a check."""

    tasks: int
    false_accepts: Estimate | None
    """Share of the wrong answers that it accepts; None if there are too few. The same holds for the next."""
    false_rejects: Estimate | None
    """Share of the right answers that it rejects."""
    wrong: int
    """Of these tasks, those with a wrong answer."""

    @property
    def is_chance(self) -> bool:
        """Whether it accepts wrong answers as often as right ones, and so tells nothing."""
        accepts, rejects = self.false_accepts, self.false_rejects
        return accepts is not None and rejects is not None and accepts.value >= 1 - rejects.value


def judge_error(run: Runner, checks: Mapping[str, CheckChoice]) -> JudgeError:
    """How often the judge errs on all draws of the tasks that have a check, clustered by task.

    Args:
        run: of the pool, whose draws have the judge's grades.
        checks: by task id.
    """
    pool = run.pool
    names: list[str] = []
    counts: list[tuple[float, float, float, float]] = []
    for index, task in enumerate(pool.tasks):
        if task.task.id not in checks:
            continue
        draws = [one.served for several in task.draws.values() for one in several if not one.failure]
        graded = [(bool(one.correct), bool(run.is_right(index, one.completion))) for one in draws]
        names.append(task.task.id)
        counts.append(
            (
                float(sum(said and not right for said, right in graded)),
                float(sum(not right for _, right in graded)),
                float(sum(right and not said for said, right in graded)),
                float(sum(right for _, right in graded)),
            )
        )
    sample = design_of(names, [one.task for one in pool.tasks], ()).sample(names)
    accepted, wrong, rejected, right = (list(column) for column in zip(*counts, strict=True)) if counts else ([],) * 4
    return JudgeError(
        tasks=len(names),
        false_accepts=share_of_draws(sample, accepted, wrong),
        false_rejects=share_of_draws(sample, rejected, right),
        wrong=sum(one > 0 for one in wrong),
    )


def share_of_draws(sample: Sample, some: Sequence[float], of: Sequence[float]) -> Estimate | None:
    """A share of draws. Where it is none or all of them, their spread is not known, and the interval is that of a share
    of as many tasks.
    """
    found = sample.ratio(some, of) if sum(of) else None
    if found is None or found.interval is not None:
        return found
    tasks = sum(one > 0 for one in of)
    return rate(round(found.value * tasks), tasks)
