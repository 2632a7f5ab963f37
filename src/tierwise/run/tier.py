"""A tier that is ready to run, and the tiers that its policy can reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tierwise.run.sessions import SessionMemory
from tierwise.spec.budget import Budget
from tierwise.spec.json import Fields

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.policies.policy import Policy
    from tierwise.verifiers.verifier import Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named level of service, ready to run."""

    name: str
    deployment: Deployment
    policy: Policy
    budget: Budget = field(default_factory=Budget)
    sampling: Fields = field(default_factory=dict)
    """Default request levers."""
    verifier: Verifier | None = None
    """Verifier for candidates if the request has none."""
    graders: Mapping[str, Deployment] = field(default_factory=dict)
    """The reward models that its policy asks, by the name of the deployment."""
    sessions: SessionMemory = field(default_factory=SessionMemory, compare=False, repr=False)
    """What its policy keeps of sessions, for as long as the tier is served."""

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Those that run its own passes: its candidates, and the rewards of these."""
        return (self.deployment, *self.graders.values())


def reach(name: str, tiers: Mapping[str, Tier]) -> list[Tier]:
    """The named tier, then every other tier that an action in it can reach, each once."""
    found = {name: tiers[name]}
    for other in tiers[name].policy.tiers():
        found |= {tier.name: tier for tier in reach(other, tiers)}
    return list(found.values())


def most(name: str, tiers: Mapping[str, Tier]) -> Budget:
    """The maximum that one prompt can spend in a tier, including other tiers."""
    tier = tiers[name]
    return tier.policy.most(lambda other: most(other, tiers)).within(tier.budget)
