"""Limits on what one action may spend. Running out of budget is an outcome, not a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar

import msgspec

Amount = TypeVar("Amount", int, float)


class Budget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds on one action in one tier. None means no bound. A request's own budget can only lower them."""

    passes: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    """Passes that the policy may start. The retry of a pass that an engine failed is not charged, nor is the pass that
    computes a prompt for several others."""
    completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Total over all passes. Tokens that an engine sends together are counted together, so the last chunk may exceed it
    by its tokens less one."""
    reasoning_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Total of the thinking over all passes. A pass that goes on thinking after that is cut; one that answers is not.
    Thinking is what an engine marks as such."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    """From the start of the action."""
    dollars: Annotated[float, msgspec.Meta(gt=0, le=1e9)] | None = None
    """Total over all passes under the price book; for a pass whose server says what it charges, that. A prompt is
    charged when the engine has counted it, so each running pass may exceed the bound by its prompt and one chunk."""

    def __add__(self, other: Budget) -> Budget:
        """The sum of each bound; None where either has no bound."""
        return Budget(**{name: _sum(getattr(self, name), getattr(other, name)) for name in BOUNDS})

    def within(self, other: Budget) -> Budget:
        """The tighter of each bound."""
        return Budget(**{name: least(getattr(self, name), getattr(other, name)) for name in BOUNDS})

    def describe(self) -> str:
        """Its bounds in words; empty without one."""
        return ", ".join(in_words(name, bound) for name in BOUNDS if (bound := getattr(self, name)) is not None)


BOUNDS: tuple[str, ...] = Budget.__struct_fields__
"""The names of the bounds."""


def in_words(name: str, amount: float) -> str:
    """An amount of what a bound limits, such as `20 seconds`."""
    if name == "dollars":
        return "$" + f"{amount:.9f}".rstrip("0").rstrip(".")
    unit = name.replace("_", " ")
    if amount == 1:
        unit = unit.removesuffix("es") if name == "passes" else unit.removesuffix("s")
    return f"{amount:g} {unit}" if name == "seconds" else f"{int(amount)} {unit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What may still be spent, within all enclosing budgets. None means no bound."""

    passes: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    seconds: float | None = None
    """Until the deadline."""
    dollars: float | None = None


def least(*bounds: Amount | None) -> Amount | None:
    """The tightest bound; None without one."""
    return min((bound for bound in bounds if bound is not None), default=None)


def _sum(one: Amount | None, other: Amount | None) -> Amount | None:
    return None if one is None or other is None else one + other
