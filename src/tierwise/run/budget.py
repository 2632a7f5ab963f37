"""Tracks what an action may still spend: one tracker per budget, nested like the budgets."""

from __future__ import annotations

from typing import TypeVar

from tierwise.spec.ask import OutOfBudget
from tierwise.spec.budget import Budget, Left
from tierwise.spec.prompt import Prompt

Amount = TypeVar("Amount", int, float)


class BudgetTracker:
    """Counts spending against a budget and all enclosing budgets.

    Args:
        budget: the bounds.
        began: the start time for `seconds`.
        inside: the enclosing tracker, which counts the same spending.
        leaving: an enclosing tracker, and the budget that must remain in it.
    """

    def __init__(
        self,
        budget: Budget,
        began: float,
        *,
        inside: BudgetTracker | None = None,
        leaving: tuple[BudgetTracker, Budget] | None = None,
    ) -> None:
        self._budget = budget
        self._began = began
        self._inside = inside
        self._leaving = leaving
        self._passes = 0
        self._completion_tokens = 0
        self._of_tiers: dict[str, BudgetTracker] = {}
        own = None if budget.seconds is None else began + budget.seconds
        around = None if inside is None else inside.deadline
        kept = None if leaving is None else _less(leaving[0].deadline, leaving[1].seconds)
        self.deadline: float | None = _least(own, around, kept)

    def of_tier(self, name: str, budget: Budget) -> BudgetTracker:
        """The nested tracker of a tier: one per action, because a tier's budget is per action."""
        if name not in self._of_tiers:
            self._of_tiers[name] = BudgetTracker(budget, self._began, inside=self)
        return self._of_tiers[name]

    def within(self, budget: Budget, now: float) -> BudgetTracker:
        """A nested tracker whose seconds count from now."""
        return BudgetTracker(budget, now, inside=self)

    def leaving(self, reserve: Budget, of: BudgetTracker) -> BudgetTracker:
        """The same bounds, limited so that `reserve` remains in an enclosing tracker."""
        return BudgetTracker(Budget(), self._began, inside=self, leaving=(of, reserve))

    def admit(self, now: float) -> None:
        """Count the start of a pass.

        Raises:
            OutOfBudget: passes, tokens or time are used up.
        """
        if self.is_over(now) or ((left := self.passes_left) is not None and left <= 0):
            raise OutOfBudget
        self._draw()

    def _draw(self) -> None:
        self._passes += 1
        if self._inside is not None:
            self._inside._draw()  # noqa: SLF001 - the same class

    def pay(self, completion_tokens: int) -> None:
        """Count tokens produced by a pass."""
        self._completion_tokens += completion_tokens
        if self._inside is not None:
            self._inside.pay(completion_tokens)

    def is_over(self, now: float) -> bool:
        """Whether tokens or time are used up."""
        return self.is_empty or (self.deadline is not None and now >= self.deadline)

    @property
    def is_empty(self) -> bool:
        """Whether the tokens are used up."""
        left = self.tokens_left
        return left is not None and left <= 0

    @property
    def passes_left(self) -> int | None:
        """Passes that may still start; None if unlimited."""
        around = None if self._inside is None else self._inside.passes_left
        kept = None if self._leaving is None else _less(self._leaving[0].passes_left, self._leaving[1].passes)
        return _least(_less(self._budget.passes, self._passes), around, kept)

    @property
    def tokens_left(self) -> int | None:
        """Completion tokens that may still be produced; None if unlimited."""
        around = None if self._inside is None else self._inside.tokens_left
        kept = (
            None if self._leaving is None else _less(self._leaving[0].tokens_left, self._leaving[1].completion_tokens)
        )
        return _least(_less(self._budget.completion_tokens, self._completion_tokens), around, kept)

    def left(self, now: float) -> Left:
        """What may still be spent; never negative."""
        seconds = None if self.deadline is None else max(0.0, self.deadline - now)
        return Left(passes=_floor(self.passes_left), completion_tokens=_floor(self.tokens_left), seconds=seconds)

    def cap(self, prompt: Prompt) -> int | None:
        """Maximum completion tokens of the next pass; None if the budget does not limit it."""
        if (left := self.tokens_left) is None:
            return None
        return left if prompt.bound is None else min(left, prompt.bound)

    @property
    def bounds(self) -> Budget:
        """The effective bounds, including those of enclosing budgets."""
        return self._budget if self._inside is None else self._budget.within(self._inside.bounds)

    def describe(self) -> str:
        """The error message: why there is no answer, and what to do."""
        budget = self.bounds
        bounds = [
            (budget.passes, "passes"),
            (budget.completion_tokens, "completion tokens"),
            (None if budget.seconds is None else f"{budget.seconds:g}", "seconds"),
        ]
        allowed = ", ".join(f"{bound} {name}" for bound, name in bounds if bound is not None) or "the policy itself"
        return f"no answer was possible within the budget of {allowed}; allow more, or ask a faster tier"


def _less(bound: Amount | None, spent: Amount | None) -> Amount | None:
    return bound if bound is None or spent is None else bound - spent


def _least(*bounds: Amount | None) -> Amount | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _floor(left: int | None) -> int | None:
    return None if left is None else max(0, left)
