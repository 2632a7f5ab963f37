"""The state of one action on a pool: its task with an order of the draws, and what it has spent so far."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tierwise.engines.replay.recording import prompt_digest
from tierwise.pools.clock import Simulation
from tierwise.pools.reading import essence
from tierwise.pools.timeline import Fallback, Timeline
from tierwise.run.recovery import LOST
from tierwise.spec.call import Usage
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tierwise.ledger.prices import PriceBook
    from tierwise.policies.policy import Policy
    from tierwise.pools.draws import Draw
    from tierwise.pools.engines import SimulatedEngine
    from tierwise.pools.memo import Memo
    from tierwise.pools.reading import Pool, PoolTask
    from tierwise.pools.sources import Source
    from tierwise.pools.timeline import Spent
    from tierwise.run.budget import BudgetTracker
    from tierwise.spec.budget import Budget
    from tierwise.spec.call import Call, Pass
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier


class TooFewDraws(SpecError):
    """A policy needs another draw of a task than the pool has, or a pass that answers in place of a lost one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTier:
    """A tier whose passes are draws of a pool."""

    name: str
    label: str
    """What its passes are called: the tier of the config file that it is a variant of."""
    deployment: str
    slots: int
    engine: SimulatedEngine
    make_engine: Callable[[Simulation], SimulatedEngine]
    """Another engine of the same kind, on a clock of its own."""
    policy: Policy
    budget: Budget
    sampling: Fields
    source: tuple[str, bytes]
    """What identifies its deployment and sampling (`sources.source_key`)."""
    verifier: Verifier | None


class Queued(Protocol):
    """A pass that waits for a slot."""

    def start(self) -> None:
        """Start with a slot that is its own."""


@dataclass(slots=True)
class _Slots:
    """The places of one action on a deployment."""

    free: int
    waiting: deque[Queued] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class SharedPasses:
    """The passes of a shared panel that a policy has left."""

    timeline: Timeline
    tier: ReplayedTier
    call: Call
    last: int
    """The end of the timeline at which it was left; -1 before the first."""
    memo: Memo

    @property
    def spent(self) -> Spent:
        return self.timeline.first if self.last < 0 else self.timeline.spent[self.last]

    def dollars(self, prices: PriceBook) -> float:
        """Their cost; the same for every policy that left at this end."""
        costs = self.timeline.costs
        found = costs.get(self.last)
        if found is None:
            spent = self.spent
            usage = Usage(prompt=spent.prompt, cached=spent.cached, completion=spent.completion)
            found = costs[self.last] = prices.price(self.tier.deployment, usage, spent.busy).dollars
        return found

    @property
    def prompts(self) -> int:
        """Passes that had computed their prompt."""
        return 0 if self.last < 0 else sum(count is not None for count in self.timeline.tokens[self.last])

    def passes(self) -> list[Pass]:
        return self.timeline.all_passes(self.call, self.tier.label, self.tier.deployment, self.memo, self.last)


class Shuffled:
    """A task of the pool with one order of its draws.

    Args:
        pool: where it belongs.
        task: the task.
        order: for each source, the index of the draw that comes first, second …; empty for the recorded order.
    """

    def __init__(self, pool: Pool, task: PoolTask, order: Mapping[tuple[str, bytes], Sequence[int]]) -> None:
        self.pool = pool
        self.task = task
        self._order = order
        self._prompts: dict[tuple[str, bytes], Prompt] = {}
        self._own: set[int] = set()
        """Identities of these prompts."""
        self._found: dict[int, Source | None] = {}
        self.timelines: dict[tuple[tuple[str, bytes], int, int | None], Timeline | None] = {}
        """By source, number of passes and limit of tokens; None where passes must be simulated one by one."""

    def prompt(self, tier: ReplayedTier) -> Prompt:
        """The task's prompt with a tier's sampling; always the same object."""
        found = self._prompts.get(tier.source)
        if found is None:
            found = self._prompts[tier.source] = self.task.prompt.by_default(tier.sampling)
            self._own.add(id(found))
        return found

    def source_of(self, deployment: str, prompt: Prompt) -> Source | None:
        """The source whose draws answer a prompt; None if it is another conversation, or was not recorded. Of several
        that differ in their limit of tokens, the one with that of the prompt.
        """
        task, found = self.task, None
        if prompt.messages is not task.prompt.messages and prompt.messages != task.prompt.messages:
            return None
        wanted = essence(prompt.fields)
        for source in self.pool.sources:
            if source.deployment != deployment:
                continue
            own = task.prompt.by_default(source.sampling)
            if essence(own.fields) == wanted:
                if own.bound == prompt.bound:
                    return source
                found = found or source
        return found

    def timeline(self, tier: ReplayedTier, call: Call, count: int) -> Timeline | None:
        """The timeline of a panel of this many equal calls on an idle engine that has seen nothing; None where one of
        its draws is missing, failed or was cut too early.
        """
        if call.after or count == 0:
            return None
        source, bound = self._source(tier.deployment, call.prompt), call.prompt.bound
        if source is None:
            return None
        key = (source.key, count, bound)
        if key not in self.timelines:
            self.timelines[key] = self._unfolded(tier, source, count, bound)
        return self.timelines[key]

    def _unfolded(self, tier: ReplayedTier, source: Source, count: int, bound: int | None) -> Timeline | None:
        if count > len(self.task.draws[source.key]):
            return None
        draws = [self.draw(source, number) for number in range(count)]
        if any(draw.failure or not draw.answers(bound) for draw in draws):
            return None
        simulation = Simulation()
        return Timeline(tier.make_engine(simulation), simulation, draws, bound, tier.slots, self.task.task.id)

    def _source(self, deployment: str, prompt: Prompt) -> Source | None:
        """As `source_of`, and looked up where the prompt is a tier's own."""
        key = id(prompt)
        if key not in self._own:
            return self.source_of(deployment, prompt)
        if (found := self._found.get(key)) is None:
            found = self._found[key] = self.source_of(deployment, prompt)
        return found

    def draw(self, source: Source, number: int) -> Draw:
        """Draw `number` of a source in this order.

        Raises:
            TooFewDraws: there are too few.
        """
        draws = self.task.draws[source.key]
        if number >= len(draws):
            raise TooFewDraws(
                f"task {self.task.task.id!r} has {len(draws)} draws of deployment {source.deployment!r} (recorded "
                f"through tier {source.tier!r}), and draw {number + 1} is needed; record more (--draws), or lower n"
            )
        order = self._order.get(source.key)
        return draws[number if order is None else order[number]]


class Choice:
    """State shared by all tiers while one action runs on a pool."""

    def __init__(
        self, shuffled: Shuffled, tiers: Mapping[str, ReplayedTier], simulation: Simulation, *, may_share: bool
    ) -> None:
        self.shuffled = shuffled
        self.tiers = tiers
        self.began = simulation.now
        self._simulation = simulation
        self.verifier: Verifier | None = None
        choice = shuffled.task.task.verifier
        if choice is not None:
            self.verifier = choice.member
        self.draws: dict[str, int] = {}
        self.simulated: list[Pass] = []
        """Passes that were simulated one by one, in the order in which they ended."""
        self.lost: dict[int, tuple[str, Pass]] = {}
        """Those of them that were lost to thinking, with the name of their tier, by their number."""
        self.recovered: set[str] = set()
        """Names of the tiers whose answer was lost, and which are not recovered again."""
        self.asked = ""
        """The last tier that a policy asked to solve the task; empty if none was."""
        self.started = 0
        self.may_share = may_share
        """Whether the first panel may be one that other settings have walked along, too."""
        self.shared: SharedPasses | None = None
        """The passes of that panel, once it is closed."""
        self.refused_by: BudgetTracker | None = None
        self.has_looked_at_budget = False
        """Whether a policy has asked what is left, so that its answer may depend on it."""
        self._slots: dict[str, _Slots] = {}

    @property
    def passes(self) -> list[Pass]:
        """Ended passes, in the order in which they ended."""
        return self.simulated if self.shared is None else [*self.shared.passes(), *self.simulated]

    def lost_pass(self, number: int | None) -> tuple[str, Pass] | None:
        """A pass that was lost to thinking, with the name of its tier; None if that number is of no such pass."""
        if number is not None and (shared := self.shared) is not None and number < shared.spent.passes:
            done = next(one for one in shared.passes() if one.number == number)
            return (shared.tier.name, done) if done.outcome == LOST else None
        return None if number is None else self.lost.get(number)

    @property
    def walked_until(self) -> float | None:
        """The time after which a deadline changes nothing, if all passes are those of one shared panel and the policy
        did not ask what is left: then the action is the same with any budget of more seconds. Else None.
        """
        if self.shared is None or not self.may_share or self.has_looked_at_budget:
            return None
        return self.began + self.shared.timeline.at[-1]

    @property
    def is_sharing(self) -> bool:
        """Whether such a panel is open."""
        return self._simulation.is_shared

    @is_sharing.setter
    def is_sharing(self, value: bool) -> None:
        self._simulation.is_shared = value

    def now(self, at: float) -> None:
        """Advance the clock along a shared panel, beside which nothing may be planned.

        Raises:
            Fallback: the policy has set a timer.
        """
        if self._simulation.timers:
            raise Fallback
        self._simulation.now = self.began + at

    def simulate(self) -> None:
        """From now on, passes are simulated one by one.

        Raises:
            Fallback: a shared panel is open, so that the action must be simulated from its beginning.
        """
        if self.is_sharing:
            raise Fallback
        if self.may_share:
            self.may_share = False
            for engine in {tier.engine for tier in self.tiers.values()}:
                engine.reset()
            if (shared := self.shared) is not None:
                shared.tier.engine.warm(self.shuffled.task.task.id, shared.prompts, len(shared.timeline.running))

    def slots(self, tier: ReplayedTier) -> _Slots:
        found = self._slots.get(tier.deployment)
        if found is None:
            found = self._slots[tier.deployment] = _Slots(tier.slots)
        return found

    def find(self, tier: ReplayedTier, call: Call) -> Draw:
        """The recorded pass that answers a call.

        Raises:
            SpecError: the pool has none; the message names the policy.
        """
        shuffled = self.shuffled
        source = None if call.after else shuffled.source_of(tier.deployment, call.prompt)
        if source is not None:
            return shuffled.draw(source, call.draw)
        policy = type(tier.policy).__name__
        task = shuffled.task.task.id
        found = shuffled.task.continuations.get((tier.deployment, prompt_digest(call)))
        if found is not None:
            return found
        if call.after or call.prompt.messages != shuffled.task.prompt.messages:
            raise SpecError(
                f"policy {policy} of tier {tier.name!r} asks for a pass with the role {call.role!r} that continues "
                f"other passes, and the pool has no such pass of task {task!r}; measure it live, with `tierwise bench`"
            )
        raise SpecError(
            f"policy {policy} of tier {tier.name!r} samples from deployment {tier.deployment!r} with settings of which "
            f"the pool has no draws: {essence(call.prompt.fields)}; record a pool with a tier that has this sampling"
        )
