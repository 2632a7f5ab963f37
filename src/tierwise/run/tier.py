"""A tier, ready to run, and how far its policy reaches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.spec.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.engines.engine import Deployment
    from tierwise.policies.policy import Policy
    from tierwise.spec.json import Fields
    from tierwise.verifiers.verifier import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named level of service, ready to run."""

    name: str
    deployment: Deployment
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    sampling: Fields = field(default_factory=dict)
    """Request levers where the client is silent."""
    verifier: Verifier | None = None
    """What candidates are judged with where the request does not say."""


def reach(name: str, tiers: Mapping[str, Tier]) -> list[Tier]:
    """The tier of this name, then every tier that an action in it can come to, each once."""
    found = {name: tiers[name]}
    for other in tiers[name].policy.tiers():
        found |= {tier.name: tier for tier in reach(other, tiers)}
    return list(found.values())


def most(name: str, tiers: Mapping[str, Tier]) -> Budget:
    """The most that one prompt can spend in a tier, other tiers included."""
    tier = tiers[name]
    return tier.policy.most(lambda other: most(other, tiers)).within(tier.budget)
