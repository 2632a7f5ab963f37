"""Which recorded draws agree with the reference's answer: what signals are measured by where there are no labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.policies import Single

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.tuning.outcomes import Runner


def agreeing_draws(run: Runner, reference: str) -> Mapping[tuple[str, tuple[str, bytes]], tuple[bool, ...]]:
    """Of each draw, whether it is the reference's answer in the recorded order, by task id and `Source.key`.

    The draws of a reference that asks once are left out: its answer is one of them.

    Args:
        run: with the actions of the reference.
        reference: the tier.
    """
    plan, pool = run.plan, run.pool
    own = None
    if isinstance(plan.tiers[reference].policy.member, Single):
        own = pool.source(plan.runs_as[plan.deployment_of(reference)], plan.tiers[reference].sampling.fields())
    first = {one.task: one.answer for one in run.baseline if one.order == 0}
    return {
        (task.task.id, key): tuple(not run.differ(index, draw.completion, first[index]) for draw in draws)
        for index, task in enumerate(pool.tasks)
        for key, draws in task.draws.items()
        if own is None or key != own.key
    }
