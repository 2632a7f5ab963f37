"""Maps model names to tiers. A route is a tier whose policy asks other tiers, so every name is a tier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tierwise.router.certified import CertifiedRoutes
from tierwise.run.tier import Tier, most, reach
from tierwise.spec.budget import Budget
from tierwise.spec.errors import NoSuchModel
from tierwise.spec.reading import allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Routes every model name of the endpoint."""

    tiers: Mapping[str, Tier]
    """Tiers, then routes, in the order of the config file, with their own policies."""
    certified: CertifiedRoutes = field(default_factory=CertifiedRoutes)
    """The routes with a certificate."""

    @property
    def serving(self) -> Mapping[str, Tier]:
        """The tiers as they answer now: a route whose certificate does not hold asks its safe tier only."""
        return self.certified.serving(self.tiers)

    @property
    def names(self) -> list[str]:
        """Every model name."""
        return list(self.tiers)

    def route(self, model: str) -> Tier:
        """The tier of a request now, by model name only: nothing in a prompt can change it.

        Raises:
            NoSuchModel: no tier and no route has this name.
        """
        if model not in self.tiers:
            raise NoSuchModel(f"there is no model {model!r}; {allowed(model, self.names)}", field="model")
        return self.serving[model]

    def reach(self, model: str) -> list[Tier]:
        """The tier of a model, and every other tier that a request for it can reach."""
        return reach(model, self.tiers)

    def most(self, model: str) -> Budget:
        """The maximum that one prompt can spend under this name, including other tiers."""
        return most(model, self.serving)
