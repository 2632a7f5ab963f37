"""Runs settings on a pool: every task in every order, one action at a time or several at once, in simulated time."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from tierwise.ledger.prices import PriceBook
from tierwise.pools.asking import PoolAsk
from tierwise.pools.choice import Choice, ReplayedTier, Shuffled
from tierwise.pools.driving import Actor, Stage
from tierwise.pools.engines import LoadedEngine, RecordedEngine, SimulatedEngine
from tierwise.pools.memo import Memo
from tierwise.pools.sources import source_key
from tierwise.pools.timeline import Fallback, Spent
from tierwise.run.budget import BudgetTracker
from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import Budget
from tierwise.spec.errors import EngineError, PolicyError, SpecError

if TYPE_CHECKING:
    from types import TracebackType

    from tierwise.ledger.prices import Price
    from tierwise.policies.policy import Policy
    from tierwise.pools.clock import Simulation
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Completion
    from tierwise.verifiers.verifier import Verifier

Timing = Literal["load", "recorded"]
"""The measured speed at each load · the time that each draw took when it was recorded."""


class Replayed(NamedTuple):
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
    why: str
    """The policy's reason, or why there is no answer."""
    asked: str
    """The last tier that a policy asked: how far up a route went. Empty if it asked none."""


_Walks = dict[int | None, tuple[float, Replayed]]
"""Actions on one order of a task's draws, by `_walks_of`, with the time from which on a deadline changes nothing."""


class Replayer:
    """Runs settings on one pool. Keys, verdicts and grades are found once for all of them.

    Args:
        pool: the recorded draws.
        prices: by deployment.
        recomputes: find keys and verdicts anew, also those that were recorded.
    """

    def __init__(self, pool: Pool, prices: Mapping[str, Price], *, recomputes: bool = False) -> None:
        self.pool = pool
        self.prices = PriceBook(prices)
        self.memo = Memo()
        self.stage = Stage(self.memo)
        self.cache_sizes = {task.task.id: task.cache_sizes() for task in pool.tasks}
        self._tasks = {task.task.id: task for task in pool.tasks}
        self._sharing: dict[tuple[str, str, int], bool] = {}
        if not recomputes:
            self._remember_recorded()

    def __enter__(self) -> Self:
        self.memo.__enter__()
        gc.collect()
        gc.freeze()  # the pool stays: no collection needs to look at it
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()
        self.memo.__exit__(kind, error, trace)

    def run(
        self,
        settings: Sequence[Setting],
        *,
        orders: int = 1,
        concurrency: int = 1,
        timing: Timing = "load",
        seed: int = 0,
        ended: Callable[[int], None] = lambda _: None,
    ) -> list[list[Replayed]]:
        """Answer every task with every setting.

        With one action at a time, all settings walk along the draws of a task together, and share what does not depend
        on them. Settings with the same policy share one walk where their deadlines do not end it.

        Args:
            settings: what to try; the policies of each may ask the others, and the tiers of the config file.
            orders: orders of each task's draws; the first is the recorded one, the others are random.
            concurrency: actions at once, in a closed loop.
            timing: where the times come from.
            seed: of the orders.
            ended: called with the number of actions that have ended, now and then.

        Returns:
            The actions of each setting, by order and task.

        Raises:
            SpecError: the pool lacks draws that a setting needs.
            PolicyError: a policy has a bug.
        """
        for setting in settings:
            require_draws(self.pool, setting)
        shared = zip(settings, _walks_of(settings), strict=True)
        sessions = [_Session(self, setting, settings, timing, walk) for setting, walk in shared]
        tasks = range(len(self.pool.tasks))
        if concurrency > 1:
            for number, session in enumerate(sessions, start=1):
                session.run_at_once(
                    ((task, order, self.shuffled(task, order, seed)) for order in range(orders) for task in tasks),
                    concurrency,
                )
                ended(number * orders * len(tasks))
            return [session.done for session in sessions]
        for number, (order, task) in enumerate(((order, task) for order in range(orders) for task in tasks), start=1):
            shuffled, walks = self.shuffled(task, order, seed), _Walks({})
            for session in sessions:
                session.run_alone(task, order, shuffled, walks)
            ended(number * len(sessions))
        return [session.done for session in sessions]

    def answerable(self, settings: Sequence[Setting]) -> tuple[list[Setting], list[str]]:
        """The settings that the pool has all draws for in their recorded order, and why the others are left out.

        Args:
            settings: tiers of the config file, each of which may ask the others.
        """
        kept, why = [], []
        for setting in settings:
            try:
                self.run([setting])
            except SpecError as error:
                why.append(f"{setting.name} is left out: {error}")
            else:
                kept.append(setting)
        return kept, why

    def shuffled(self, task: int, order: int, seed: int) -> Shuffled:
        """A task with one order of its draws."""
        one = self.pool.tasks[task]
        lengths = {} if order == 0 else {key: len(draws) for key, draws in one.draws.items()}
        return Shuffled(self.pool, one, {key: _order(length, seed, task, order) for key, length in lengths.items()})

    def shares_prompt(self, deployment: str, task: str, passes: int) -> bool:
        """As `Pool.shares_prompt`, for the name of a task; found once."""
        key = (deployment, task, passes)
        if (found := self._sharing.get(key)) is None:
            found = self._sharing[key] = self.pool.shares_prompt(deployment, self._tasks[task], passes)
        return found

    def _remember_recorded(self) -> None:
        """Take over the keys and verdicts of the recording."""
        for task in self.pool.tasks:
            choice = task.task.verifier
            name: object = "auto" if choice is None else self.memo.settings(choice.member)
            for draws in task.draws.values():
                for draw in (one for of in draws for one in (of, *(of.recoveries or ())) if one.has_facts):
                    for logprobs in (False, True):
                        part = draw.part(draw.count, logprobs=logprobs)
                        part.votes["auto" if draw.completion.tool_calls else name] = draw.vote
                        if choice is not None and draw.verdict is not None:
                            part.verdicts[self.memo.settings(choice.member)] = draw.verdict


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
    deployment = pool.plan.runs_as[pool.plan.deployment_of(setting.tier)]
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
    """One setting on its engines.

    Attributes:
        done: its actions so far.
    """

    def __init__(
        self, replayer: Replayer, setting: Setting, others: Sequence[Setting], timing: Timing, walk: int | None
    ) -> None:
        self.done: list[Replayed] = []
        self._pool, self._prices = replayer.pool, replayer.prices
        self._memo, self._stage = replayer.memo, replayer.stage
        self._setting, self._timing = setting, timing
        self._replayer, self._cache_sizes = replayer, replayer.cache_sizes
        self._processes = self._pool.plan.runs_as
        self._makers = {name: partial(self._engine, name) for name in set(self._processes.values())}
        self._engines = {name: make(self._stage.simulation) for name, make in self._makers.items()}
        self._tiers = self._all_tiers(others)
        self._tier = self._tiers[setting.name]
        self._actors: set[Actor] = set()
        self._failure: BaseException | None = None
        self._may_share = True
        self._walk = walk

    def _engine(self, deployment: str, simulation: Simulation) -> SimulatedEngine:
        speed = self._pool.speeds.get(deployment)
        if self._timing == "recorded" or speed is None:
            return RecordedEngine(simulation)
        return LoadedEngine(
            simulation,
            speed,
            self._pool.plan.file.deployments[deployment].slots,
            shares=partial(self._shares_prompt, deployment),
            fresh_and_cached=partial(self._sizes, deployment),
        )

    def _sizes(self, deployment: str, prompt: object) -> tuple[int, int] | None:
        return self._cache_sizes[prompt].get(deployment) if isinstance(prompt, str) else None

    def _shares_prompt(self, deployment: str, prompt: object, passes: int) -> bool:
        return isinstance(prompt, str) and self._replayer.shares_prompt(deployment, prompt, passes)

    def _all_tiers(self, settings: Sequence[Setting]) -> dict[str, ReplayedTier]:
        plan = self._pool.plan
        found = {
            name: self._made(name, name, tier.policy.member, tier.policy.verifier, tier.budget)
            for name, tier in plan.tiers.items()
        }
        known, wanted = {one.name: one for one in settings}, [self._setting.name]
        while wanted:
            if (one := known.pop(wanted.pop(), None)) is not None:
                found[one.name] = self._made(one.name, one.tier, one.policy, one.verifier, one.budget)
                wanted += one.policy.tiers()
        _check_replayed(self._setting.name, found)
        return found

    def _made(self, name: str, base: str, policy: Policy, verifier: Verifier | None, budget: Budget) -> ReplayedTier:
        plan = self._pool.plan
        deployment, sampling = self._processes[plan.deployment_of(base)], plan.tiers[base].sampling.fields()
        return ReplayedTier(
            name=name,
            label=base,
            deployment=deployment,
            slots=plan.file.deployments[deployment].slots,
            engine=self._engines[deployment],
            make_engine=self._makers[deployment],
            policy=policy,
            budget=budget,
            sampling=sampling,
            source=source_key(deployment, sampling),
            verifier=verifier,
        )

    def run_alone(self, task: int, order: int, shuffled: Shuffled, walks: _Walks) -> None:
        """Answer a task on idle engines, or as a setting with the same policy has answered it."""
        deadline = self._setting.budget.seconds
        if (walk := walks.get(self._walk)) is not None and (deadline is None or walk[0] < deadline):
            self.done.append(walk[1])
            return
        simulation = self._stage.simulation
        simulation.clear()
        if self._may_share:
            choice = self._begin(task, order, shuffled, may_share=True)
            if isinstance(self._failure, Fallback):
                self._failure, self._may_share = None, False
                simulation.clear()
            else:
                if self._actors or self._failure is not None:
                    self._until_idle()
                if self._walk is not None and (until := choice.walked_until) is not None:
                    walks[self._walk] = until, self.done[-1]
                return
        for engine in self._engines.values():
            engine.reset()
        self._begin(task, order, shuffled, may_share=False)
        self._until_idle()

    def run_at_once(self, jobs: Iterator[tuple[int, int, Shuffled]], concurrency: int) -> None:
        """Answer tasks in a closed loop."""
        simulation = self._stage.simulation
        simulation.clear()
        for engine in self._engines.values():
            engine.reset()

        def following() -> None:
            if (job := next(jobs, None)) is not None:
                self._begin(*job, may_share=False, ended=lambda: simulation.at(simulation.now, following))

        for _ in range(concurrency):
            following()
        self._until_idle()

    def _until_idle(self) -> None:
        step = self._stage.simulation.step
        try:
            while self._failure is None and step():
                pass
            if self._failure is not None:
                raise self._failure
            if self._actors:
                name = type(self._setting.policy).__name__
                raise PolicyError(f"policy {name} of setting {self._setting.name!r} waits for what never comes")
        finally:
            for actor in list(self._actors):
                self._actors.discard(actor)
                actor.close()

    def _begin(
        self,
        task: int,
        order: int,
        shuffled: Shuffled,
        *,
        may_share: bool,
        ended: Callable[[], object] = lambda: None,
    ) -> Choice:
        simulation, tier = self._stage.simulation, self._tier
        choice = Choice(shuffled, self._tiers, simulation, may_share=may_share)
        tracker = BudgetTracker(_UNBOUNDED, simulation.now).of_tier(tier.name, tier.budget)
        ask = PoolAsk(choice, tier, tracker, simulation, self._memo)

        def over(answer: Answer | None, error: BaseException | None) -> None:
            self._actors.discard(actor)
            if error is not None and not isinstance(error, OutOfBudget | EngineError):
                self._failure = error
                return
            self.done.append(self._replayed(task, order, choice, answer, error))
            ended()

        actor = Actor(self._stage, ask.solve(shuffled.task.prompt), over)
        self._actors.add(actor)
        actor.resume()
        return choice

    def _replayed(
        self, task: int, order: int, choice: Choice, answer: Answer | None, error: BaseException | None
    ) -> Replayed:
        passes = choice.simulated
        shared, price = choice.shared, self._prices
        if shared is None:
            spent, dollars = Spent(0, 0, 0, 0, 0.0), 0.0
        else:
            spent, dollars = shared.spent, shared.dollars(price)
        if passes:
            dollars += price.total(passes).dollars
            spent = Spent(
                spent.passes + len(passes),
                spent.prompt + sum(done.usage.prompt for done in passes),
                spent.cached + sum(done.usage.cached for done in passes),
                spent.completion + sum(done.usage.completion for done in passes),
                0.0,
            )
        completion = None if answer is None else answer.completion
        return Replayed(
            task,
            order,
            False if completion is None else self._memo.is_correct(choice.shuffled.task.task, completion),
            spent.passes,
            spent.prompt,
            spent.cached,
            spent.completion,
            self._stage.simulation.now - choice.began,
            dollars,
            completion,
            answer.why if answer is not None else str(error) or "no answer was possible within the budget",
            choice.asked,
        )


_UNBOUNDED = Budget()

NOT_REPLAYED = ("reasoning_tokens", "dollars")
"""Bounds of a budget that a replay refuses, rather than ignores."""


def _check_replayed(name: str, tiers: Mapping[str, ReplayedTier]) -> None:
    """Raise for a budget of a tier that an action may reach, if a pool cannot replay it.

    Raises:
        SpecError: it bounds thinking or dollars.
    """
    reached, wanted = set[str](), [name]
    while wanted:
        one = tiers[wanted.pop()]
        for bound in NOT_REPLAYED:
            if getattr(one.budget, bound) is not None:
                raise SpecError(
                    f"{one.name}: budget.{bound} is not replayed on a pool, which records neither when thinking ends "
                    "nor what a pass costs at each moment; remove it from the setting or its tier, or measure it live, "
                    "with `tierwise bench`"
                )
        reached.add(one.name)
        wanted += [other for other in one.policy.tiers() if other not in reached]


def _walks_of(settings: Sequence[Setting]) -> list[int | None]:
    """A number for each setting, equal for those that differ in their deadlines alone; None where none is shared."""
    found: list[int | None] = []
    numbers: dict[object, int] = {}
    for one in settings:
        number = None
        if one.budget == Budget(seconds=one.budget.seconds) and not one.policy.tiers():
            with suppress(TypeError):  # what has no hash is not shared
                number = numbers.setdefault((one.tier, one.policy, one.verifier), len(numbers))
        found.append(number)
    return found


def _order(draws: int, seed: int, task: int, order: int) -> list[int]:
    rng = random.Random(f"{seed}/{task}/{order}")  # noqa: S311 - an order, not a secret
    return rng.sample(range(draws), draws)
