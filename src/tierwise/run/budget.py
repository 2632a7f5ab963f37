"""Tracks what an action may still spend: one tracker per budget, nested like the budgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import floor
from typing import Protocol, Self, TypeVar

from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import Budget, Left, least
from tierwise.spec.prompt import Prompt

Amount = TypeVar("Amount", int, float)


class Running(Protocol):
    """A pass that spends."""

    @property
    def dollars_per_second(self) -> float:
        """The price of its deployment's time."""

    def dollars(self, now: float) -> float:
        """What it has cost so far."""

    def cut(self) -> None:
        """End it at once."""

    def look(self) -> bool:
        """Plan anew when the dollars may be used up, because some were spent. Returns whether it looks at them."""


class Allowance:
    """The completion tokens of one running pass. It holds a reservation for its next chunk, as large as its largest so
    far, so that passes that run side by side keep a budget to the token.

    Args:
        tracker: the budget.
        cap: the limit that the engine is sent; None if there is none.
        is_whole: whether the answer comes as one chunk, so that the whole limit is reserved.
    """

    def __init__(self, tracker: BudgetTracker, cap: int | None, *, is_whole: bool = False) -> None:
        self._tracker, self._cap = tracker, cap
        self._produced = 0
        self._largest = cap if is_whole and cap is not None else 1
        self._held = 0
        self.lacking = 0
        """Tokens that could not be reserved for the next chunk."""

    def begin(self) -> None:
        """Reserve the first chunk.

        Raises:
            OutOfBudget: there are not as many tokens left.
        """
        if not self._hold():
            raise OutOfBudget

    def end(self) -> None:
        """Give back what is reserved."""
        self._tracker.release(self._held)
        self._held = 0

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def pay(self, tokens: int, reasoning: int = 0) -> bool:
        """Count a chunk. Returns whether the pass may go on."""
        if self._held:
            self.end()
        self._tracker.pay(tokens, reasoning)
        self._produced += tokens
        if self._cap is None:
            return True
        self._largest = max(self._largest, tokens)
        return self._hold()

    def _hold(self) -> bool:
        """Reserve the next chunk. At its limit, a pass needs none: its engine ends it."""
        if self._cap is None:
            return True
        needed = min(self._largest, self._cap - self._produced)
        if needed < 0 or not self._tracker.reserve(needed):
            self.lacking = max(needed, 0)
            return False
        self._held = needed
        return True


class BudgetTracker:
    """Counts spending against a budget and all enclosing budgets.

    Args:
        budget: the bounds.
        began: the start time for `seconds`.
        inside: the enclosing tracker, which counts the same spending.
        leaving: an enclosing tracker, and the budget that must remain in it.
        is_declared: whether the bounds are those of a tier or a request, and not a policy's own division of them.
    """

    __slots__ = (
        "_around",
        "_began",
        "_bounds_dollars",
        "_bounds_reasoning",
        "_bounds_starts",
        "_bounds_tokens",
        "_budget",
        "_completion_tokens",
        "_dollars",
        "_inside",
        "_is_declared",
        "_leaving",
        "_of_tiers",
        "_passes",
        "_reasoning_tokens",
        "_reserved",
        "_running",
        "deadline",
        "has_dollars",
    )

    def __init__(
        self,
        budget: Budget,
        began: float,
        *,
        inside: BudgetTracker | None = None,
        leaving: tuple[BudgetTracker, Budget] | None = None,
        is_declared: bool = True,
    ) -> None:
        self._budget = budget
        self._began = began
        self._inside = inside
        self._leaving = leaving
        self._is_declared = is_declared
        self._passes = 0
        self._completion_tokens = 0
        self._reasoning_tokens = 0
        self._reserved = 0
        """Completion tokens of the next chunks of running passes."""
        self._dollars = 0.0
        self._running: dict[Running, None] = {}
        """The passes that run within this budget, in the order in which they started."""
        self._of_tiers: dict[str, BudgetTracker] = {}
        self._around: tuple[BudgetTracker, ...] = () if inside is None else (inside, *inside._around)  # noqa: SLF001
        """The enclosing trackers, which count all that it counts."""
        self._bounds_tokens: bool = budget.completion_tokens is not None or leaving is not None
        self._bounds_tokens |= inside is not None and inside._bounds_tokens  # noqa: SLF001 - the same class
        """Whether completion tokens may be bounded."""
        self._bounds_reasoning: bool = budget.reasoning_tokens is not None or leaving is not None
        self._bounds_reasoning |= inside is not None and inside._bounds_reasoning  # noqa: SLF001 - the same class
        self.deadline: float | None = None if inside is None else inside.deadline
        if budget.seconds is not None or leaving is not None:
            own = None if budget.seconds is None else began + budget.seconds
            kept = None if leaving is None else _less(leaving[0].deadline, leaving[1].seconds)
            self.deadline = least(own, self.deadline, kept)
        self._bounds_dollars = budget.dollars is not None or leaving is not None
        self.has_dollars: bool = budget.dollars is not None or (inside is not None and inside.has_dollars)
        """Whether dollars are bounded."""
        self._bounds_starts: bool = budget != _UNBOUNDED or leaving is not None
        self._bounds_starts |= inside is not None and inside._bounds_starts  # noqa: SLF001 - the same class
        """Whether anything may keep a pass from starting."""

    @property
    def _all(self) -> tuple[BudgetTracker, ...]:
        """Itself and the enclosing trackers. It is made anew: a tracker that keeps itself waits for a collection."""
        return (self, *self._around)

    @property
    def looks_at_chunks(self) -> bool:
        """Whether what a pass produces may end it."""
        return self._bounds_tokens or self._bounds_reasoning or self.has_dollars

    def of_tier(self, name: str, budget: Budget) -> BudgetTracker:
        """The nested tracker of a tier: one per action, because a tier's budget is per action."""
        if name not in self._of_tiers:
            self._of_tiers[name] = BudgetTracker(budget, self._began, inside=self)
        return self._of_tiers[name]

    def within(self, budget: Budget, now: float) -> BudgetTracker:
        """A nested tracker whose seconds count from now."""
        return BudgetTracker(budget, now, inside=self, is_declared=False)

    def leaving(self, reserve: Budget, of: BudgetTracker) -> BudgetTracker:
        """The same bounds, limited so that `reserve` remains in an enclosing tracker."""
        return BudgetTracker(Budget(), self._began, inside=self, leaving=(of, reserve), is_declared=False)

    # ── spending ─────────────────────────────────────────────────────────

    def admit(self, now: float) -> None:
        """Count the start of a pass.

        Raises:
            OutOfBudget: passes, tokens, time or dollars are used up.
        """
        if self._bounds_starts and (self.is_over(now) or ((left := self.passes_left) is not None and left <= 0)):
            raise OutOfBudget
        for tracker in self._all:
            tracker._passes += 1  # noqa: SLF001 - the same class

    def pay(self, completion_tokens: int, reasoning_tokens: int = 0) -> None:
        """Count tokens produced by a pass."""
        for tracker in self._all:
            tracker._completion_tokens += completion_tokens  # noqa: SLF001 - the same class
            tracker._reasoning_tokens += reasoning_tokens  # noqa: SLF001 - the same class

    @contextmanager
    def following(self, running: Running) -> Iterator[None]:
        """Count a pass as running within this and all enclosing budgets during the block."""
        for tracker in self._all:
            tracker._running[running] = None  # noqa: SLF001 - the same class
        try:
            yield
        finally:
            for tracker in self._all:
                del tracker._running[running]  # noqa: SLF001 - the same class

    def settle(self, dollars: float) -> None:
        """Count what a pass has cost that has ended."""
        self._dollars += dollars
        if self._bounds_dollars:
            any(running.look() for running in self._running)  # one timer serves all
        if self._inside is not None:
            self._inside.settle(dollars)

    def reserve(self, tokens: int) -> bool:
        """Keep completion tokens for the next chunk of a running pass. Returns whether there were as many."""
        left = self.tokens_left
        if left is not None and left < tokens:
            return False
        self.release(-tokens)
        return True

    def release(self, tokens: int) -> None:
        """Give back what was reserved."""
        for tracker in self._all:
            tracker._reserved -= tokens  # noqa: SLF001 - the same class

    def cut_where_broke(self, now: float, *, but: Running | None) -> bool:
        """Cut all passes of each budget whose dollars are used up, except one that knows by itself. Returns whether
        there is such a budget.
        """
        is_broke = self._bounds_dollars and (left := self._own_dollars_left(now)) is not None and left <= 0
        if is_broke:
            for running in list(self._running):
                if running is not but:
                    running.cut()
        around = self._inside is not None and self._inside.cut_where_broke(now, but=but)
        return is_broke or around

    # ── what is left ─────────────────────────────────────────────────────

    def is_over(self, now: float) -> bool:
        """Whether completion tokens, time or dollars are used up."""
        return self.is_empty or (self.deadline is not None and now >= self.deadline) or self.is_broke(now)

    @property
    def is_empty(self) -> bool:
        """Whether no completion tokens are left."""
        left = self.tokens_left
        return left is not None and left <= 0

    def is_broke(self, now: float) -> bool:
        """Whether the dollars are used up."""
        return self.has_dollars and (left := self.dollars_left(now)) is not None and left <= 0

    @property
    def passes_left(self) -> int | None:
        """Passes that may still start; None if unlimited."""
        around = None if self._inside is None else self._inside.passes_left
        kept = None if self._leaving is None else _less(self._leaving[0].passes_left, self._leaving[1].passes)
        return least(_less(self._budget.passes, self._passes), around, kept)

    @property
    def tokens_left(self) -> int | None:
        """Completion tokens that may still be produced, besides what running passes reserve; None if unlimited."""
        if not self._bounds_tokens:
            return None
        around = None if self._inside is None else self._inside.tokens_left
        kept = (
            None if self._leaving is None else _less(self._leaving[0].tokens_left, self._leaving[1].completion_tokens)
        )
        return least(_less(self._budget.completion_tokens, self._completion_tokens + self._reserved), around, kept)

    @property
    def reasoning_left(self) -> int | None:
        """Thinking tokens that may still be produced; None if unlimited."""
        if not self._bounds_reasoning:
            return None
        around = None if self._inside is None else self._inside.reasoning_left
        kept = (
            None if self._leaving is None else _less(self._leaving[0].reasoning_left, self._leaving[1].reasoning_tokens)
        )
        return least(_less(self._budget.reasoning_tokens, self._reasoning_tokens), around, kept)

    def dollars_left(self, now: float) -> float | None:
        """Dollars that may still be spent, less what running passes have cost so far; None if unlimited."""
        around = None if self._inside is None else self._inside.dollars_left(now)
        return least(self._own_dollars_left(now), around)

    def _own_dollars_left(self, now: float) -> float | None:
        kept = None if self._leaving is None else _less(self._leaving[0].dollars_left(now), self._leaving[1].dollars)
        own = None
        if self._budget.dollars is not None:
            own = self._budget.dollars - self._dollars - sum(one.dollars(now) for one in self._running)
        return least(own, kept)

    @property
    def dollars_per_second(self) -> float:
        """The most that running passes cost per second within any of the budgets of dollars."""
        around = 0.0 if self._inside is None else self._inside.dollars_per_second
        own = 0.0 if self._budget.dollars is None else sum(one.dollars_per_second for one in self._running)
        return max(own, around)

    def left(self, now: float) -> Left:
        """What may still be spent; never negative."""
        return Left(
            passes=_floor(self.passes_left),
            completion_tokens=_floor(self.tokens_left),
            reasoning_tokens=_floor(self.reasoning_left),
            seconds=None if self.deadline is None else max(0.0, self.deadline - now),
            dollars=None if (dollars := self.dollars_left(now)) is None else max(0.0, dollars),
        )

    def cap(self, prompt: Prompt, now: float = 0.0, *, dollars_per_token: float = 0.0) -> int | None:
        """Maximum completion tokens of the next pass; None if the budget does not limit it.

        Args:
            prompt: of the pass.
            now: the time, for dollars.
            dollars_per_token: the price of a completion token.
        """
        left = self.tokens_left
        if dollars_per_token > 0 and self.has_dollars:
            dollars = self.dollars_left(now)
            affordable = None if dollars is None else dollars / dollars_per_token
            if affordable is not None and affordable < _MOST_TOKENS:
                left = least(left, max(1, floor(affordable)))
        if left is None:
            return None
        return left if prompt.bound is None else min(left, prompt.bound)

    # ── for people ───────────────────────────────────────────────────────

    def reached(self, bound: str, now: float, *, lacking: int = 0) -> float | None:
        """The smallest budget of a tier or request of which nothing of a bound is left, or less than what was lacking;
        None if there is none, for instance because a policy keeps the rest for its last pass.
        """
        own: float | None = getattr(self._budget, bound) if self._is_declared else None
        if own is not None:
            spent = {
                "passes": self._passes,
                "completion_tokens": self._completion_tokens + self._reserved,
                "reasoning_tokens": self._reasoning_tokens,
                "seconds": now - self._began + _CLOCK_SECONDS,
                "dollars": (self._dollars + sum(one.dollars(now) for one in self._running)) * _ROUNDED,
            }
            own = own if spent[bound] + max(0, lacking - 1) >= own else None
        return own if self._inside is None else least(own, self._inside.reached(bound, now, lacking=lacking))

    @property
    def bounds(self) -> Budget:
        """The effective bounds, including those of enclosing budgets."""
        return self._budget if self._inside is None else self._budget.within(self._inside.bounds)

    def describe(self) -> str:
        """The error message: why there is no answer, and what to do."""
        allowed = self.bounds.describe() or "the policy itself"
        return f"no answer was possible within the budget of {allowed}; allow more, or ask a faster tier"


_UNBOUNDED = Budget()
_MOST_TOKENS = 2**31
_CLOCK_SECONDS = 0.002
"""Event loops call timers this much too early at most."""
_ROUNDED = 1 + 1e-9
"""Sums of dollars in another order differ by less."""


def _less(bound: Amount | None, spent: Amount | None) -> Amount | None:
    return bound if bound is None or spent is None else bound - spent


def _floor(left: int | None) -> int | None:
    return None if left is None else max(0, left)
