"""The state of one action on a pool: its task with an order of the draws, and what it has spent so far."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.engines.replay.recording import prompt_digest
from tierwise.pools.reading import essence
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.policies.policy import Policy
    from tierwise.pools.draws import Draw
    from tierwise.pools.engines import SimulatedEngine
    from tierwise.pools.passes import PassInFlight
    from tierwise.pools.reading import Pool, PoolTask
    from tierwise.pools.sources import Source
    from tierwise.run.budget import BudgetTracker
    from tierwise.spec.budget import Budget
    from tierwise.spec.call import Call, Pass
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedTier:
    """A tier whose passes are draws of a pool."""

    name: str
    deployment: str
    slots: int
    engine: SimulatedEngine
    policy: Policy
    budget: Budget
    sampling: Fields
    verifier: Verifier | None


@dataclass(slots=True)
class _Slots:
    """The places of one action on a deployment."""

    free: int
    waiting: deque[PassInFlight] = field(default_factory=deque)


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

    def prompt(self, tier: ReplayedTier, key: tuple[str, bytes]) -> Prompt:
        """The task's prompt with a tier's sampling; always the same object."""
        found = self._prompts.get(key)
        if found is None:
            found = self._prompts[key] = self.task.prompt.by_default(tier.sampling)
        return found

    def source_of(self, deployment: str, prompt: Prompt) -> Source | None:
        """The source whose draws answer a prompt; None if it is another conversation, or was not recorded."""
        task = self.task
        if prompt.messages is not task.prompt.messages and prompt.messages != task.prompt.messages:
            return None
        wanted = essence(prompt.fields)
        for source in self.pool.sources:
            if source.deployment == deployment and essence(task.prompt.by_default(source.sampling).fields) == wanted:
                return source
        return None

    def draw(self, source: Source, number: int) -> Draw:
        """Draw `number` of a source in this order.

        Raises:
            SpecError: there are too few.
        """
        draws = self.task.draws[source.key]
        if number >= len(draws):
            raise SpecError(
                f"task {self.task.task.id!r} has {len(draws)} draws of deployment {source.deployment!r} (recorded "
                f"through tier {source.tier!r}), and draw {number + 1} is needed; record more (--draws), or lower n"
            )
        order = self._order.get(source.key)
        return draws[number if order is None else order[number]]


class Choice:
    """State shared by all tiers while one action runs on a pool."""

    def __init__(self, shuffled: Shuffled, tiers: Mapping[str, ReplayedTier], began: float) -> None:
        self.shuffled = shuffled
        self.tiers = tiers
        self.began = began
        self.verifier: Verifier | None = None
        choice = shuffled.task.task.verifier
        if choice is not None:
            self.verifier = choice.member
        self.draws: Counter[str] = Counter()
        self.passes: list[Pass] = []
        """Ended passes, in the order in which they ended."""
        self.started = 0
        self.refused_by: BudgetTracker | None = None
        self._slots: dict[str, _Slots] = {}

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
