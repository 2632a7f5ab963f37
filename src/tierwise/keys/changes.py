"""What a change of a key or team says: what it leaves out stays, and null removes a limit."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from tierwise.keys.records import Limits, Rate


class LimitChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Changes of `Limits`, by the same names."""

    models: tuple[str, ...] | UnsetType | None = UNSET
    max_budget: float | UnsetType | None = UNSET
    budget_duration: str | UnsetType | None = UNSET
    rpm_limit: Rate | UnsetType | None = UNSET
    tpm_limit: Rate | UnsetType | None = UNSET
    max_parallel_requests: Rate | UnsetType | None = UNSET
    model_max_budget: dict[str, float] | UnsetType | None = UNSET

    def of(self, limits: Limits) -> Limits:
        """The limits after these changes.

        Raises:
            SpecError: they are not possible.
        """
        without = Limits()
        changed = {}
        for name in Limits.__struct_fields__:
            value = getattr(self, name)
            if value is not UNSET:
                changed[name] = getattr(without, name) if value is None else value
        found = msgspec.structs.replace(limits, **changed)
        if self.budget_duration is UNSET and found.max_budget is None and not found.model_max_budget:
            found = msgspec.structs.replace(found, budget_duration="")  # the last budget took its period along
        found.check()
        return found


class KeyChanges(LimitChanges, frozen=True, kw_only=True):
    """Changes of a key."""

    name: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    expires_at: float | UnsetType | None = UNSET
    """Seconds since 1970; None for never."""
