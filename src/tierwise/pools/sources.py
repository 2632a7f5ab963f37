"""What a pool has draws of: a deployment with one sampling, recorded through a tier that uses both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.plan import Plan
    from tierwise.spec.json import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A deployment with a sampling."""

    deployment: str
    """The name of its process in the plan: deployments with equal settings are one."""
    sampling: Fields
    """Named as on the wire."""
    tier: str
    """The first tier of the config file that uses both: the draws are recorded through it."""
    key: tuple[str, bytes] = field(init=False, compare=False)
    """As of `source_key`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", source_key(self.deployment, self.sampling))


def source_key(deployment: str, sampling: Fields) -> tuple[str, bytes]:
    """Equal for tiers whose passes are draws from the same distribution."""
    return deployment, msgspec.json.encode(dict(sampling), order="deterministic")


def chained_tiers(plan: Plan, names: Sequence[str]) -> list[str]:
    """The tiers whose whole actions are to be recorded, in the order of the config file.

    Raises:
        ConfigErrors: there is no tier of that name.
        SpecError: a tier asks other tiers, so that its passes are theirs.
    """
    reading = Reading()
    for name in names:
        reading.known(name, plan.file.tiers, "--chains", "tier")
    reading.done()
    for name in names:
        if plan.tiers[name].policy.member.tiers():
            raise SpecError(
                f"tier {name!r} asks other tiers; record those, and replay it on their draws", field="--chains"
            )
    return [name for name in plan.file.tiers if name in names]


def recorded_sources(plan: Plan, tiers: Sequence[str]) -> list[Source]:
    """What a pool that was recorded through these tiers has draws of."""
    runs_as = plan.runs_as
    found: dict[tuple[str, bytes], Source] = {}
    for name in tiers:
        source = Source(
            deployment=runs_as[plan.deployment_of(name)], sampling=plan.tiers[name].sampling.fields(), tier=name
        )
        found.setdefault(source.key, source)
    return list(found.values())


_MOST_AT_ONCE = 32
"""Enough for two actions that take a majority of 16."""


def drawn_at_once(plan: Plan, tiers: Sequence[str]) -> int:
    """How many draws of these tiers are recorded at once unless the user says: as many as each deployment has slots, so
    that the pool shows its speed at every load that an action can make.
    """
    slots = [plan.file.deployments[source.deployment].slots for source in recorded_sources(plan, tiers)]
    return min(_MOST_AT_ONCE, *slots)


def sources_of(plan: Plan, deployments: Sequence[str] = (), *, without: str = "") -> list[Source]:
    """Every deployment with every sampling that a tier of it uses, in the order of the config file.

    Args:
        plan: the config file.
        deployments: only these; all if empty.
        without: a tier whose draws are not needed.

    Raises:
        ConfigErrors: the config file has no deployment of that name.
        SpecError: no tier asks a deployment with passes of its own.
    """
    reading = Reading()
    for name in deployments:
        reading.known(name, plan.file.deployments, "--deployments", "deployment")
    reading.done()
    found: dict[tuple[str, bytes], Source] = {}
    runs_as = plan.runs_as
    wanted = {runs_as.get(name, name) for name in deployments}
    for name, tier in plan.file.tiers.items():
        if name == without or (tier.policy.member.tiers() and not tier.deployment):
            continue  # its passes are those of other tiers
        source = Source(deployment=runs_as[plan.deployment_of(name)], sampling=tier.sampling.fields(), tier=name)
        if not wanted or source.deployment in wanted:
            found.setdefault(source.key, source)
    for name in deployments:
        if all(source.deployment != runs_as.get(name, name) for source in found.values()):
            raise SpecError(
                f"no tier asks deployment {name!r} directly, so nothing says how to sample from it; add a tier with "
                f"`deployment: {name}` and the policy `single`",
                field="--deployments",
            )
    if not found:
        raise SpecError("no tier of the config file asks a deployment directly; add one with the policy `single`")
    return list(found.values())
