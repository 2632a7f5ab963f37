"""Runs settings on a pool: every task in every order, one action at a time or several at once, in simulated time."""

from __future__ import annotations

import random
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

from tierwise.ledger.prices import PriceBook
from tierwise.pools.asking import PoolAsk
from tierwise.pools.choice import Choice, ReplayedTier, Shuffled
from tierwise.pools.driving import Actor, Stage
from tierwise.pools.engines import LoadedEngine, RecordedEngine, SimulatedEngine
from tierwise.pools.memo import Memo
from tierwise.pools.sources import processes
from tierwise.run.budget import BudgetTracker
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.errors import EngineError, PolicyError, SpecError

if TYPE_CHECKING:
    from types import TracebackType

    from tierwise.ledger.prices import Price
    from tierwise.pools.draws import Draw
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool, PoolTask
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Completion

Timing = Literal["load", "recorded"]
"""The measured speed at each load · the time that each draw took when it was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One action of a setting."""

    task: int
    """Index of the task."""
    order: int
    correct: bool | None
    """None if the answer could not be graded."""
    passes: int
    prompt: int
    """Prompt tokens of all passes; the same for the next two."""
    cached: int
    completion: int
    seconds: float
    dollars: float
    answer: Completion | None
    """None without an answer."""
    why: str = ""
    """The policy's reason, or why there is no answer."""


class Replayer:
    """Runs settings on one pool. Keys, verdicts and grades are found once for all of them.

    Args:
        pool: the recorded draws.
        prices: by deployment.
        recomputes: find keys and verdicts anew, also those that were recorded.
    """

    def __init__(self, pool: Pool, prices: Mapping[str, Price], *, recomputes: bool = False) -> None:
        self._pool = pool
        self._prices = PriceBook(prices)
        self._memo = Memo()
        self._stage = Stage(self._memo)
        self._shuffled: dict[tuple[int, int], Shuffled] = {}
        self._cache_sizes = {task.task.id: _cache_sizes(task) for task in pool.tasks}
        if not recomputes:
            self._remember_recorded()

    def __enter__(self) -> Self:
        self._memo.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._memo.__exit__(kind, error, trace)

    def run(
        self,
        setting: Setting,
        others: Sequence[Setting] = (),
        *,
        orders: int = 1,
        concurrency: int = 1,
        timing: Timing = "load",
        seed: int = 0,
    ) -> list[Replayed]:
        """Answer every task with a setting.

        Args:
            setting: what to try.
            others: settings that its policy may ask, besides the tiers of the config file.
            orders: orders of each task's draws; the first is the recorded one, the others are random.
            concurrency: actions at once, in a closed loop.
            timing: where the times come from.
            seed: of the orders.

        Raises:
            SpecError: the pool lacks draws that the setting needs.
            PolicyError: a policy has a bug.
        """
        require_draws(self._pool, setting)
        session = _Session(self, setting, others, timing)
        return session.run(_jobs(len(self._pool.tasks), orders), concurrency, seed)

    def shuffled(self, task: int, order: int, seed: int) -> Shuffled:
        """A task with one order of its draws; the same object for all settings."""
        found = self._shuffled.get((task, order))
        if found is None:
            one = self._pool.tasks[task]
            drawn = (
                {} if order == 0 else {key: _order(len(draws), seed, task, order) for key, draws in one.draws.items()}
            )
            found = Shuffled(self._pool, one, drawn)
            if order == 0:
                self._shuffled[task, order] = found
        return found

    def _remember_recorded(self) -> None:
        """Take over the keys and verdicts of the recording."""
        for task in self._pool.tasks:
            choice = task.task.verifier
            name: object = "auto" if choice is None else self._memo.settings(choice.member)
            for draws in task.draws.values():
                for draw in (one for one in draws if one.has_facts):
                    for logprobs in (False, True):
                        part = draw.part(draw.count, logprobs=logprobs)
                        part.votes["auto" if draw.completion.tool_calls else name] = draw.vote
                        if choice is not None and draw.verdict is not None:
                            part.verdicts[self._memo.settings(choice.member)] = draw.verdict


def require_draws(pool: Pool, setting: Setting) -> None:
    """Refuse a setting that draws more than the pool has, before anything runs.

    Raises:
        SpecError: names both numbers.
    """
    n = getattr(setting.policy, "n", None)
    if not isinstance(n, int) or setting.policy.tiers():
        return
    needed = n if setting.budget.passes is None else min(n, setting.budget.passes)
    tier = pool.plan.tiers[setting.tier]
    deployment = processes(pool.plan)[pool.plan.deployment_of(setting.tier)]
    source = pool.source(deployment, tier.sampling.fields())
    if source is None:
        raise SpecError(
            f"setting {setting.name!r} draws from deployment {deployment!r} with the sampling of tier "
            f"{setting.tier!r}, which was not recorded; record a pool that includes it (--deployments)"
        )
    fewest = min(len(task.draws[source.key]) for task in pool.tasks)
    if fewest < needed:
        raise SpecError(
            f"setting {setting.name!r} draws {needed} passes of deployment {deployment!r}, and the pool has {fewest} "
            f"draws of a task; record {needed} (--draws {needed}), or lower n to {fewest}"
        )


class _Session:
    """One setting on its engines."""

    def __init__(self, replayer: Replayer, setting: Setting, others: Sequence[Setting], timing: Timing) -> None:
        self._replayer = replayer
        self._setting = setting
        self._stage = replayer._stage  # noqa: SLF001 - one module
        self._memo = replayer._memo  # noqa: SLF001
        self._engines = {name: self._engine(name, timing) for name in set(self._processes.values())}
        self._tiers = self._all_tiers(setting, others)
        self._done: list[Replayed] = []
        self._actors: set[Actor] = set()
        self._failure: BaseException | None = None

    @property
    def _pool(self) -> Pool:
        return self._replayer._pool  # noqa: SLF001

    @property
    def _processes(self) -> dict[str, str]:
        return processes(self._pool.plan)

    def _engine(self, deployment: str, timing: Timing) -> SimulatedEngine:
        simulation = self._stage.simulation
        speed = self._pool.speeds.get(deployment)
        if timing == "recorded" or speed is None:
            return RecordedEngine(simulation)
        return LoadedEngine(
            simulation,
            speed,
            self._pool.plan.file.deployments[deployment].slots,
            by_slot=deployment in self._pool.caches,
            fresh_and_cached=partial(self._cache_sizes, deployment),
        )

    def _cache_sizes(self, deployment: str, prompt: object) -> tuple[int, int]:
        sizes = self._replayer._cache_sizes.get(prompt if isinstance(prompt, str) else "", {})  # noqa: SLF001
        return sizes.get(deployment, (0, 0))

    def _all_tiers(self, setting: Setting, others: Sequence[Setting]) -> dict[str, ReplayedTier]:
        plan = self._pool.plan
        found = {
            name: self._tier(name, name, tier.policy.member, tier.policy.verifier, tier.budget)
            for name, tier in plan.tiers.items()
        }
        for one in (*others, setting):
            found[one.name] = self._tier(one.name, one.tier, one.policy, one.verifier, one.budget)
        return found

    def _tier(self, name: str, base: str, policy: Any, verifier: Any, budget: Budget) -> ReplayedTier:
        plan = self._pool.plan
        deployment = self._processes[plan.deployment_of(base)]
        return ReplayedTier(
            name=name,
            deployment=deployment,
            slots=plan.file.deployments[deployment].slots,
            engine=self._engines[deployment],
            policy=policy,
            budget=budget,
            sampling=plan.tiers[base].sampling.fields(),
            verifier=verifier,
        )

    def run(self, jobs: Iterator[tuple[int, int]], concurrency: int, seed: int) -> list[Replayed]:
        simulation = self._stage.simulation
        simulation.clear()
        if concurrency == 1:
            for order, task in jobs:
                simulation.clear()
                for engine in self._engines.values():
                    engine.reset()
                self._begin(task, order, seed, iter(()))
                self._until_idle()
        else:
            for _ in range(concurrency):
                self._next(jobs, seed)
            self._until_idle()
        return self._done

    def _until_idle(self) -> None:
        step = self._stage.simulation.step
        try:
            while self._actors and step():
                if self._failure is not None:
                    raise self._failure
            if self._failure is not None:
                raise self._failure
            if self._actors:
                name = type(self._setting.policy).__name__
                raise PolicyError(
                    f"policy {name} of setting {self._setting.name!r} waits for something that never comes"
                )
        finally:
            for actor in list(self._actors):
                self._actors.discard(actor)
                actor.close()

    def _next(self, jobs: Iterator[tuple[int, int]], seed: int) -> None:
        job = next(jobs, None)
        if job is not None:
            self._begin(job[1], job[0], seed, jobs)

    def _begin(self, task: int, order: int, seed: int, jobs: Iterator[tuple[int, int]]) -> None:
        simulation = self._stage.simulation
        shuffled = self._replayer.shuffled(task, order, seed)
        choice = Choice(shuffled, self._tiers, simulation.now)
        tier = self._tiers[self._setting.name]
        tracker = BudgetTracker(Budget(), simulation.now).of_tier(tier.name, tier.budget)
        ask = PoolAsk(choice, tier, tracker, simulation, self._memo)
        work: Coroutine[Any, Any, Answer] = ask.solve(shuffled.task.prompt)

        def ended(answer: Answer | None, error: BaseException | None) -> None:
            self._actors.discard(actor)
            if error is not None and not isinstance(error, OutOfBudget | EngineError):
                self._failure = error
                return
            self._done.append(self._replayed(task, order, choice, answer, error))
            if self._actors or jobs is not None:
                simulation.at(simulation.now, lambda: self._next(jobs, seed))

        actor = Actor(self._stage, work, ended)
        self._actors.add(actor)
        actor.resume()

    def _replayed(
        self, task: int, order: int, choice: Choice, answer: Answer | None, error: BaseException | None
    ) -> Replayed:
        passes = choice.passes
        why = answer.why if answer is not None else str(error) or "no answer was possible within the budget"
        completion = None if answer is None else answer.completion
        correct = False if completion is None else self._memo.is_correct(choice.shuffled.task.task, completion)
        prices = self._replayer._prices  # noqa: SLF001
        return Replayed(
            task=task,
            order=order,
            correct=correct,
            passes=len(passes),
            prompt=sum(done.usage.prompt for done in passes),
            cached=sum(done.usage.cached for done in passes),
            completion=sum(done.usage.completion for done in passes),
            seconds=self._stage.simulation.now - choice.began,
            dollars=prices.total(passes).dollars,
            answer=completion,
            why=why,
        )


def _jobs(tasks: int, orders: int) -> Iterator[tuple[int, int]]:
    return ((order, task) for order in range(orders) for task in range(tasks))


def _order(draws: int, seed: int, task: int, order: int) -> list[int]:
    rng = random.Random(f"{seed}/{task}/{order}")  # noqa: S311 - an order, not a secret
    return rng.sample(range(draws), draws)


def _cache_sizes(task: PoolTask) -> dict[str, tuple[int, int]]:
    """For each deployment, the fewest and the most cached prompt tokens of a task's draws."""
    of: dict[str, list[Draw]] = {}
    for (deployment, _), draws in task.draws.items():
        of.setdefault(deployment, []).extend(draws)
    return {
        name: (min(one.usage.cached for one in draws), max(one.usage.cached for one in draws))
        for name, draws in of.items()
        if draws
    }
