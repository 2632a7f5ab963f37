"""How often a judge errs on recorded answers, by the checks that some tasks have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.analysis.summary import design_of

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        false_accepts=sample.ratio(accepted, wrong) if sum(wrong) else None,
        false_rejects=sample.ratio(rejected, right) if sum(right) else None,
    )
