"""Labels by a judge, whose error is measured on tasks that have a check too.

A judge grades every recorded answer. By its grades a route is harmed on J of the tasks; what it misses is M, the tasks
on which the route is wrong and the reference right by the checks and not by the judge. Harm is at most J + M, whatever
the judge is like. J is tested on all calibration tasks, against a limit of α - μ; M on those of them that have a check,
against μ. Where harm is above α, one of the two is above its limit, so that a route which passes both tests at level δ
breaks its promise with probability δ at most (intersection–union). μ is chosen before the calibration tasks are looked
at. M is about all tasks only if those with a check are a random sample of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.tuning.certify import expected_p_value, risks
from tierwise.tuning.decide import cheaper
from tierwise.tuning.labels import judge_of
from tierwise.tuning.space import wanted_reference
from tierwise.verifiers.model_judge import Judge
from tierwise.workloads.checks import CheckChoice
from tierwise.workloads.files import encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tierwise.certificate import Labels
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.judge_error import JudgeError
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.files import Workload
    from tierwise.workloads.task import Task

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Of the promised limit: what μ may be."""


def checks_of(tasks: Sequence[Task]) -> dict[str, CheckChoice]:
    """By task id, the checks that are no judge: what the judge is measured by."""
    return {task.id: task.check for task in tasks if task.check is not None and task.check.judge is None}


def judge_alone(plan: Plan, labels: Labels, reference: str) -> str:
    """The tier that judges, if it is none that a route may ask: draws of it are then neither recorded nor searched.

    Args:
        plan: the config file.
        labels: of the promise.
        reference: as the user names it. Where neither it nor a route says which tier is compared with, that may be the
            judge, and nothing is left out.

    Returns:
        Its name; empty where nobody judges, or the judge may answer too.

    Raises:
        ConfigErrors: the config file has no tier of that name.
    """
    tier = judge_of(labels)
    if not tier:
        return ""
    reading = Reading()
    reading.known(tier, plan.file.tiers, "--labels", "tier")
    reading.done()
    compared = wanted_reference(plan, reference)
    asked = {one for name in plan.file.tiers for one in plan.tiers[name].policy.member.tiers()}
    asked |= {one for name in plan.file.routes for one in plan.tiers[name].policy.member.tiers()}
    return "" if not compared or tier in asked | {compared} else tier


def judged_tasks(workload: Workload, tier: str) -> list[Task]:
    """The tasks with the judge in place of their checks.

    The tasks that have a judge of this tier may say by which rubric it grades; it then grades all tasks by it, because
    its error is that of the rubric.

    Raises:
        SpecError: no task has a check that is no judge, or there are several rubrics or judges.
    """
    if not checks_of(workload.tasks):
        raise SpecError(
            f"no task of {workload.path} has a check that is no judge, so nothing says how often {tier!r} errs. Give a "
            "random sample of the tasks a check, or use --labels agreement",
            field="--labels",
        )
    found = [task.check.judge for task in workload.tasks if task.check is not None and task.check.judge is not None]
    judges = list({msgspec.json.encode(one): one for one in found}.values()) or [Judge(tier=tier)]
    if len(judges) > 1 or judges[0].tier != tier:
        raise SpecError(
            f"the tasks of {workload.path} have {len(judges)} judges or rubrics "
            f"({', '.join(one.tier for one in judges)}), and the error of one is measured: "
            f"give all the same, of tier {tier!r}, or no judge in the workload",
            field="--labels",
        )
    return [msgspec.structs.replace(task, check=CheckChoice(judge=judges[0])) for task in workload.tasks]


def write_judged(workload: Workload, tier: str, path: Path) -> Path:
    """Write the workload that the judge grades, unless it is there. Returns its path."""
    written = encoded(judged_tasks(workload, tier))
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != written:
        path.write_bytes(written)
    return path


def with_share(promises: Promises, searched: Searched, split: TaskSplit) -> Promises:
    """The promises with μ, the part of the limit that is for harm which the judge misses.

    Of several parts, the one with which the cheapest setting is expected to pass, from the tuning tasks and the sizes
    of the others; of equal ones, that with the smallest p-value.
    """
    evaluated, size = searched.evaluated, len(np.unique(searched.evaluated.units[split.calibration]))
    costs = evaluated.mean(evaluated.dollars, split.tuning)
    settings = cheaper(searched, split)
    dearest = float(costs.max())
    found: list[tuple[float, float, Promises]] = []
    for share in SHARES:
        tried = replace(promises, missed=share * promises.limit)
        seen = risks(evaluated, split.tuning, tried)
        sure = {
            one: expected_p_value(evaluated, one, split.tuning, tried, size)
            for one in settings
            if seen[one] <= promises.limit
        }
        passing = [one for one, p_value in sure.items() if p_value <= promises.delta]
        found.append(
            (min((float(costs[one]) for one in passing), default=dearest), min(sure.values(), default=1.0), tried)
        )
    return min(found, key=lambda one: one[:2])[2]


def chance_note(error: JudgeError | None, labels: Labels) -> Iterator[str]:
    """What to do about a judge that tells nothing."""
    if error is not None and error.is_chance:
        yield (
            f"{judge_of(labels)} accepts wrong answers as often as right ones, on the tasks that have a check. A "
            "promise then rests on these tasks alone, and the judge saves no labels: let another tier judge, give it a "
            "rubric that says what a wrong answer looks like, or check more tasks and use --labels check"
        )


def of_pool(pool: Pool, workload: Workload) -> dict[str, CheckChoice]:
    """The checks of those tasks of the workload that the pool has."""
    ids = {one.task.id for one in pool.tasks}
    return {name: check for name, check in checks_of(workload.tasks).items() if name in ids}
