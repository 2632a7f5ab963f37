"""Variants of a tier with different numbers of active experts, as a config file for the bench."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import yaml

from tierwise import plan as planning
from tierwise.catalog import architecture, local_path
from tierwise.engines import row_of
from tierwise.spec.errors import SpecError
from tierwise.spec.paths import rebased
from tierwise.spec.replacing import replace_file
from tierwise.spec.sampling import Sampling

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tierwise.plan import Plan

BELOW, ABOVE = 2, 4
"""The default range: this many experts fewer and more than the checkpoint was trained with."""


def numbers_to_try(plan: Plan, tier: str, wanted: Sequence[int]) -> tuple[list[int], list[str]]:
    """The numbers of active experts to measure, the trained one first, and the reasons for those left out.

    Args:
        plan: its checkpoints must be on this machine.
        tier: the tier to vary.
        wanted: numbers to try; if empty, from two below to four above the trained one.

    Raises:
        SpecError: the tier's checkpoint has no experts to vary, or a wanted number cannot work.
    """
    settings = plan.file.deployments[plan.deployment_of(tier)]
    if settings.loads is None or (path := local_path(plan.checkpoint(settings.loads))) is None:
        raise SpecError(f"the checkpoint of tier {tier!r} is not on this machine, so its number of experts is unknown")
    seen = architecture.read(path)
    trained = seen.active_experts
    if seen.experts is None or trained is None:
        raise SpecError(f"the checkpoint of tier {tier!r} ({seen.model_type}) is dense: it has no experts to vary")
    tried = [
        trained,
        *(number for number in wanted or range(trained - BELOW, trained + ABOVE + 1) if number != trained),
    ]
    refused = {number: why for number in tried if (why := seen.why_not_active(number))}
    if wanted and refused:
        raise SpecError(next(iter(refused.values())), field="--active")
    tried = [number for number in dict.fromkeys(tried) if number not in refused]
    if len(tried) < 2:
        raise SpecError(f"no other number of experts works: {next(iter(refused.values()), '')}")
    return tried, [f"{number} left out: {why}" for number, why in refused.items()]


def variants(plan: Plan, tier: str, active: Sequence[int]) -> dict[str, Any]:
    """A config file with a tier `kN` for each number of active experts N; everything else is equal.

    If the engine accepts the number per request, all tiers share one process; otherwise each has its own.

    Raises:
        SpecError: the engine has no lever for it.
    """
    file: dict[str, Any] = msgspec.to_builtins(plan.file)
    name = plan.deployment_of(tier)
    settings = plan.file.deployments[name]
    row = row_of(settings)
    if not list(settings.unsupported(Sampling(active_experts=active[0]))):
        deployments = {name: file["deployments"][name]}
        tiers = {number: (name, {"active_experts": number}) for number in active}
    elif row.has_lever("active_experts"):
        deployments = {f"{name}-{number}": {**file["deployments"][name], "active_experts": number} for number in active}
        tiers = {number: (f"{name}-{number}", {}) for number in active}
    else:
        raise SpecError(f"tier {tier!r} runs on {row.name}, which cannot set the number of active experts")
    prices = dict.fromkeys(deployments, file["prices"][name]) if name in file["prices"] else {}
    used = settings.loads
    return {
        "checkpoints": {used: file["checkpoints"][used]} if used is not None else {},
        "deployments": deployments,
        "tiers": {
            f"k{number}": {
                **file["tiers"][tier],
                "policy": _policy(plan, tier),
                "deployment": where,
                "sampling": {**plan.file.tiers[tier].sampling.fields(), **lever},
            }
            for number, (where, lever) in tiers.items()
        },
        "prices": prices,
    }


def write_variants(plan: Plan, tier: str, active: Sequence[int], path: Path) -> Plan:
    """Write the config file of `variants`, and load it as a plan. Errors as for `variants`."""
    about = f"# {plan.path.name}, tier {tier}, with different numbers of active experts; the first is the trained one\n"
    text = yaml.safe_dump(variants(plan, tier, active), sort_keys=False)
    text = about + rebased(text, planning.parse(text, plan.path).file, plan.path.parent, path.parent)
    replace_file(path, text.encode())
    return planning.load(path)


def _policy(plan: Plan, tier: str) -> dict[str, Any]:
    """The tier's policy as it is written in a config file."""
    choice = plan.file.tiers[tier].policy
    return {choice.kind: msgspec.to_builtins(choice.member)}
