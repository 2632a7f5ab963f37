"""A key, a team, and what both may be limited to. The names are those that users of LiteLLM know."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.spec.durations import seconds_in
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_DOLLARS = 1e9
_LONGEST_SECONDS = 100 * 366 * 86_400
_SHORTEST_SECONDS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,99}")

Rate = Annotated[int, msgspec.Meta(ge=0, le=10**12)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key, or all keys of a team together, may do. None means no limit."""

    models: tuple[str, ...] = ()
    """Names of tiers and routes that may be asked; all if empty."""
    max_budget: float | None = None
    """Dollars of the price book per period. 0 allows only what costs nothing."""
    budget_duration: str = ""
    """The period of all budgets: `30d`, `24h` …, counted from the creation; without it a budget is given once."""
    rpm_limit: Rate | None = None
    """Requests per minute of the clock."""
    tpm_limit: Rate | None = None
    """Tokens per minute of the clock, of all passes."""
    max_parallel_requests: Rate | None = None
    """Actions that may run at the same time, in each process."""
    model_max_budget: dict[str, float] = {}
    """Dollars per period of single models, within `max_budget`."""

    def check(self, models: Mapping[str, object] | None = None) -> None:
        """Check what types cannot say.

        Args:
            models: the models that exist; None if they are not known.

        Raises:
            SpecError: a budget is negative, absurd, or no number; a period cannot be read; a model does not exist.
        """
        for name, dollars in (("max_budget", self.max_budget), *_of_models(self)):
            if dollars is not None and not (isfinite(dollars) and 0 <= dollars <= MOST_DOLLARS):
                raise SpecError(f"{name}: {dollars:g} dollars; allowed are 0 to {MOST_DOLLARS:g}", field=name)
        for name in ("rpm_limit", "tpm_limit", "max_parallel_requests"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit <= 10**12:
                raise SpecError(f"{name}: {limit}; allowed are 0 to 10¹²", field=name)
        if self.budget_duration:
            seconds_of(self.budget_duration)
            if self.max_budget is None and not self.model_max_budget:
                raise SpecError(
                    "budget_duration: is the period of a budget, and there is none; give max_budget",
                    field="budget_duration",
                )
        if models is not None:
            for model in (*self.models, *self.model_max_budget):
                if model not in models:
                    raise SpecError(f"models: {model!r} is no tier or route; there are {', '.join(models)}")

    @property
    def seconds(self) -> int:
        """The period of budgets in seconds; 0 if they have none."""
        return seconds_of(self.budget_duration) if self.budget_duration else 0

    def words(self) -> str:
        """The limits in words; empty without one."""
        period = f" per {self.budget_duration}" if self.budget_duration else ""
        said = [f"models {', '.join(self.models)}"] if self.models else []
        said += [f"${self.max_budget:g}{period}"] if self.max_budget is not None else []
        said += [f"{model} ${dollars:g}{period}" for model, dollars in self.model_max_budget.items()]
        for name, unit in (("rpm_limit", "rpm"), ("tpm_limit", "tpm"), ("max_parallel_requests", "parallel")):
            if (limit := getattr(self, name)) is not None:
                said.append(f"{limit:,} {unit}")
        return "; ".join(said)


def _of_models(limits: Limits) -> list[tuple[str, float]]:
    return [(f"model_max_budget.{model}", dollars) for model, dollars in limits.model_max_budget.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """What the keys of a team share."""

    name: str
    limits: Limits = field(default_factory=Limits)
    created_at: float = 0.0
    """Seconds since 1970; periods count from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A stored key, without its secret."""

    id: str
    hashed: str = field(repr=False)
    """SHA-256 of the secret."""
    name: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    is_admin: bool = False
    """Whether it may see metrics, command lines and everybody's usage."""
    limits: Limits = field(default_factory=Limits)
    created_at: float = 0.0
    expires_at: float | None = None
    """Seconds since 1970."""
    revoked_at: float | None = None
    previous: str = field(default="", repr=False)
    """Hash of the secret before the last rotation."""
    previous_until: float = 0.0
    """Until when that secret is accepted too."""

    def state(self, now: float) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request, with a stored key."""

    key: Key
    team: Team | None = None


def seconds_of(duration: str) -> int:
    """The seconds of a duration such as `30d`.

    Raises:
        SpecError: it is none, shorter than a minute, or longer than a century.
    """
    seconds = seconds_in(duration) or 0.0
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
        raise SpecError(
            f"{duration!r} is not a duration; write 90m, 24h, 30d or 4w, from a minute to a century",
            field="budget_duration",
        )
    return round(seconds)


def name_of(text: str, what: str, field: str = "") -> str:
    """A name of a key, a team or a tag.

    Raises:
        SpecError: it has other characters than names of models, or more than 100.
    """
    if not _NAME.fullmatch(text):
        raise SpecError(
            f"{text!r} is not a valid {what}; letters, digits and ._:@/+- are allowed, up to 100", field=field
        )
    return text
