"""How often a reference harms itself: what two independent answers of it would lose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tierwise.certificate import by_agreement
from tierwise.policies import Single

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tierwise.pools.sources import Source
    from tierwise.spec.call import Completion
    from tierwise.tuning.outcomes import Outcomes, Runner


def own_harm(run: Runner, reference: str, of: Outcomes) -> tuple[float, bool]:
    """How often two independent answers of the reference are wrong and right, and whether it is at least that often.
    By agreement: how often two of them differ.

    Of a single pass it is estimated without bias from all draws: of k right ones of m, k (m - k) / (m (m - 1)); of
    groups of k equal ones, 1 - Σ k (k - 1) / (m (m - 1)). Other policies are compared between orders, which have draws
    in common.

    Args:
        run: with the actions of the reference.
        reference: the tier.
        of: what it does.
    """
    plan = run.plan
    source = run.pool.source(plan.runs_as[plan.deployment_of(reference)], plan.tiers[reference].sampling.fields())
    drawn = source if isinstance(plan.tiers[reference].policy.member, Single) else None
    shares = list(_differing(run, drawn) if by_agreement(run.labels) else _harmed(run, drawn, of))
    weights = [run.pool.tasks[task].task.weight for task, _ in shares]
    mean = float(np.average([share for _, share in shares], weights=weights)) if shares else 0.0
    return mean, drawn is None


def _harmed(run: Runner, drawn: Source | None, of: Outcomes) -> Iterator[tuple[int, float]]:
    """By task with two answers or more, the share of pairs of which the first is wrong and the second right."""
    for index, task in enumerate(run.pool.tasks):
        right = (
            of.correct[index].tolist() if drawn is None else [bool(one.served.correct) for one in task.draws[drawn.key]]
        )
        k, m = int(sum(right)), len(right)
        if m > 1:
            yield index, k * (m - k) / (m * (m - 1))


def _differing(run: Runner, drawn: Source | None) -> Iterator[tuple[int, float]]:
    """By task with two answers or more, the share of pairs that differ."""
    answers: list[list[Completion | None]] = [[] for _ in run.pool.tasks]
    if drawn is None:
        for one in run.baseline:
            answers[one.task].append(one.answer)
    else:
        for index, task in enumerate(run.pool.tasks):
            answers[index] += [None if draw.failure else draw.served.completion for draw in task.draws[drawn.key]]
    for index, several in enumerate(answers):
        m = len(several)
        if m > 1:
            yield index, 1 - sum(k * (k - 1) for k in _groups(run, index, several)) / (m * (m - 1))


def _groups(run: Runner, task: int, answers: Sequence[Completion | None]) -> list[int]:
    """The sizes of groups of equal answers to a task."""
    found: list[tuple[Completion | None, int]] = []
    for one in answers:
        at = next((at for at, (first, _) in enumerate(found) if not run.differ(task, one, first)), None)
        if at is None:
            found.append((one, 1))
        else:
            found[at] = (found[at][0], found[at][1] + 1)
    return [size for _, size in found]
