"""Which deployments of a config file are worth recording in full: what races, on which tasks, and what came of it.

One draw of each task and deployment decides, on tuning tasks only, one of each unit: the calibration and test tasks
stay unseen, and the tasks of a race are independent. Deployments race as the pool has them, with the sampling of the
tiers that use them (`pools.sources`). What the reference needs is never dropped, and neither is a cheaper deployment.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.pools.sources import source_key, sources_of
from tierwise.stats.racing import Race, Result
from tierwise.tuning.space import reference_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from tierwise.plan import Plan
    from tierwise.pools.sources import Source
    from tierwise.runs.records import TrialRecord
    from tierwise.tuning.split import TaskSplit
    from tierwise.workloads.task import Task

DELTA = 0.05
"""The probability with which a deployment that no other dominates may be shown to be dominated."""
FUTILITY = 0.03
"""The chance of being shown better, over all tasks of the race, below which a dearer deployment is dropped."""
BATCH = 5
"""Tasks between two looks."""
LEAST_DEPLOYMENTS = 3
"""With two, the reference is one of them, and the other is the cheap tier that is looked for."""
MOST_TASKS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Racing:
    """A race that may be run."""

    sources: tuple[Source, ...]
    """What races, each by the tier through which it is recorded."""
    tasks: tuple[Task, ...]
    """Of the tuning part, in the order in which they are asked; independent of each other."""

    @property
    def batches(self) -> list[tuple[Task, ...]]:
        return [self.tasks[start : start + BATCH] for start in range(0, len(self.tasks), BATCH)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Raced:
    """What came of a race."""

    race: Race
    """Its names are those of tiers."""
    sources: tuple[Source, ...]
    records: tuple[TrialRecord, ...]
    """All of its draws; each is draw 0 of its task."""
    left_out: int
    """Tasks that some deployment could not be asked."""
    why_stopped: str = ""
    """Why it did not go on to its end; empty if it did."""

    @property
    def tiers(self) -> list[str]:
        """The tiers through which the survivors are recorded, in the order of the config file. If one is left, the one
        that left last is recorded too, so that there is something to compare it with.
        """
        left = set(self.race.racing)
        if len(left) == 1 and self.race.dropped:
            left.add(self.race.dropped[-1].name)
        return [one.tier for one in self.sources if one.tier in left]

    @property
    def kept_records(self) -> list[TrialRecord]:
        """The draws of survivors: they are draws of the pool."""
        tiers = set(self.tiers)
        return [one for one in self.records if one.tier in tiers and one.is_graded]

    @property
    def lost_dollars(self) -> float:
        """What the draws cost that are not kept."""
        return sum(one.spent for one in self.records) - sum(one.spent for one in self.kept_records)

    def share(self, tasks: int, draws: int) -> float:
        """The share of the draws of the full grid that race and pool take together.

        Args:
            tasks: of the workload.
            draws: of each.
        """
        lost = len(self.records) - len(self.kept_records)
        return (len(self.tiers) * tasks * draws + lost) / (len(self.sources) * tasks * draws)

    def label(self, tier: str) -> str:
        """A deployment's name, with the tier that shows its sampling where it races with several."""
        source = next(one for one in self.sources if one.tier == tier)
        several = sum(one.deployment == source.deployment for one in self.sources) > 1
        return f"{source.deployment} as in {tier}" if several else source.deployment


def racing_of(plan: Plan, tasks: Sequence[Task], split: TaskSplit, *, seed: int = 0) -> tuple[Racing | None, str]:
    """The race of a config file's deployments, or why there is none.

    Args:
        plan: the config file.
        tasks: of the workload.
        split: of them. Only the tuning part is raced on.
        seed: of the order of the tasks.
    """
    sources = sources_of(plan)
    if len(sources) < LEAST_DEPLOYMENTS:
        return None, f"{len(sources)} deployments are too few for a race"
    if len({task.weight for task in tasks}) > 1:
        return None, "a race counts tasks equally, and these have weights, so everything is recorded"
    first: dict[int, int] = {}
    order = split.tuning.tolist()
    random.Random(f"race/{seed}").shuffle(order)  # noqa: S311 - an order, not a secret
    for index in order:
        first.setdefault(int(split.units[index]), index)
    chosen = tuple(tasks[index] for index in list(first.values())[:MOST_TASKS])
    return Racing(sources=tuple(sources), tasks=chosen), ""


def started(racing: Racing, kept: Collection[str]) -> Race:
    """The race before its first batch.

    Args:
        racing: what races.
        kept: tiers that are never dropped.
    """
    return Race.started(
        [one.tier for one in racing.sources],
        delta=DELTA,
        most_tasks=len(racing.tasks),
        futility=FUTILITY,
        kept=kept,
    )


def needed_by_reference(plan: Plan, racing: Racing, wanted: str, records: Sequence[TrialRecord]) -> set[str]:
    """The tiers whose draws the reference consists of.

    Args:
        plan: the config file.
        racing: what races.
        wanted: the reference, as the user names it; empty to choose.
        records: of the first batch: where neither the user nor a route names the reference, it is the dearest tier.
    """
    spent: dict[str, list[float]] = {one.tier: [] for one in racing.sources}
    for record in records:
        spent[record.tier].append(record.dollars or 0.0)
    drawn = {one.key: one.tier for one in racing.sources}
    costs = {}
    for name in plan.file.tiers:
        policy = plan.tiers[name].policy.member
        if policy.tiers():
            continue
        several = spent[drawn[_key(plan, name)]]
        passes = getattr(policy, "n", 1)
        costs[name] = sum(several) / max(1, len(several)) * (passes if isinstance(passes, int) else 1)
    reference = reference_of(plan, wanted, costs)
    reached = {plan.runs_as.get(one, one) for one in plan.reached_deployments(reference)}
    own = _key(plan, reference)
    return {
        one.tier for one in racing.sources if one.deployment in reached and (one.key == own or one.deployment != own[0])
    }


def _key(plan: Plan, tier: str) -> tuple[str, bytes]:
    return source_key(plan.runs_as[plan.deployment_of(tier)], plan.tiers[tier].sampling.fields())


def results_of(
    race: Race, tasks: Sequence[Task], records: Sequence[TrialRecord]
) -> tuple[Mapping[str, Sequence[Result]], int]:
    """The results of a batch by tier, of the tasks that all were asked, and the number of the other tasks.

    Args:
        race: before the batch.
        tasks: of the batch.
        records: of it.
    """
    of = {(one.tier, one.task): one for one in records if one.is_graded}
    whole = [task.id for task in tasks if all((name, task.id) in of for name in race.racing)]
    return {name: [_result(of[name, task]) for task in whole] for name in race.racing}, len(tasks) - len(whole)


def _result(record: TrialRecord) -> Result:
    return Result(float(record.is_solved), record.dollars or 0.0, record.seconds or 0.0)
