"""Prompt → tier, with the reason written down. A tier is asked by its name; a route chooses one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.run import Tier
    from tierwise.verifiers.verifier import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which tiers may answer a request."""

    climb: tuple[Tier, ...]
    """To try in turn, until one's answer is accepted; the last one's always is."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Knows every model name of the endpoint."""

    tiers: Mapping[str, Tier]
    routes: Mapping[str, tuple[str, ...]]
    """The tiers of each route, cheapest first."""

    @property
    def names(self) -> list[str]:
        """Tiers, then routes."""
        return [*self.tiers, *self.routes]

    def route(self, model: str, verifier: Verifier | None) -> Decision:
        """Choose for one request; `verifier` is what its answers can be checked with.

        Only the model name and the verifier decide: nothing in a prompt can change its tier.

        Raises:
            SpecError: no tier and no route has this name.
        """
        if model in self.tiers:
            return Decision(climb=(self.tiers[model],), reason="asked by name")
        if model not in self.routes:
            raise SpecError(f"there is no model {model!r}; {allowed(model, self.names)}", field="model")
        ladder = tuple(self.tiers[name] for name in self.routes[model])
        if len(ladder) == 1:
            return Decision(climb=ladder, reason=f"{model}: its only tier")
        if verifier is None:
            return Decision(climb=ladder[-1:], reason=f"{model}: nothing to verify with, so the strongest tier")
        return Decision(climb=ladder, reason=f"{model}: climbs until {verifier.kind} accepts")
