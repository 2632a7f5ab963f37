"""Finds the published scores that a run stands beside: the config file's, and those of its checkpoints' families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tierwise.catalog import local_path
from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.prompting import family_of_checkpoint
from tierwise.runs.claims import ClaimedTier, RunClaim
from tierwise.spec.claims import Claim
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.catalog.architecture import Architecture
    from tierwise.catalog.families import Family
    from tierwise.plan import Plan
    from tierwise.spec.sampling import Sampling
    from tierwise.workloads.files import Workload
    from tierwise.workloads.task import Task


def claims_for(plan: Plan, workload: Workload, tiers: Sequence[str]) -> list[RunClaim]:
    """The claims about the checkpoints of some tiers on the suite of a workload.

    Args:
        plan: the config file.
        workload: the tasks; one that is of no suite is known by its name.
        tiers: the tiers and routes that are measured.
    """
    suite = workload.name if workload.suite is None else workload.suite.name
    on: dict[str, list[str]] = {}
    for tier in tiers:
        if not plan.tiers[tier].policy.member.tiers():
            on.setdefault(plan.deployment_of(tier), []).append(tier)
    return [one for deployment, names in on.items() for one in _about(plan, deployment, names, suite, workload.tasks)]


def _about(plan: Plan, deployment: str, tiers: Sequence[str], suite: str, tasks: Sequence[Task]) -> Iterator[RunClaim]:
    own = [one for one in plan.file.claims.get(deployment, ()) if one.suite == suite]
    architecture = _architecture(plan, deployment)
    family = None if architecture is None else family_of_checkpoint(architecture)
    published = [] if family is None or architecture is None else list(_published(family, architecture, suite))
    if not own and not published:
        return
    claimed = [_tier(name, plan.tiers[name].sampling, family, tasks) for name in tiers]
    for claim in own:
        yield RunClaim(claim=claim, deployment=deployment, stands_in=plan.path.name, tiers=claimed)
    for claim in published:
        if _said(claim) in {_said(one) for one in own}:  # the user's own words stand for it
            continue
        named = f"family {family.name}" if family is not None else ""
        yield RunClaim(claim=claim, deployment=deployment, stands_in=named, tiers=claimed)


def _said(claim: Claim) -> tuple[object, ...]:
    """What a claim says, without who says it and what speaks against it."""
    return claim.suite, claim.release, claim.subset, claim.score, claim.mode, claim.effort, claim.harness


def _architecture(plan: Plan, deployment: str) -> Architecture | None:
    """The architecture of a deployment's checkpoint; None if it has none on this machine, or it cannot be read."""
    name = getattr(plan.file.deployments[deployment], "checkpoint", None)
    if not isinstance(name, str) or name not in plan.file.checkpoints:
        return None
    path = local_path(plan.checkpoint(name))
    try:
        return None if path is None else read_architecture(path)
    except TierwiseError:  # the engine says what is wrong with it
        return None


def _published(family: Family, architecture: Architecture, suite: str) -> Iterator[Claim]:
    """The claims of a family about the variant that a checkpoint is, with their sources written out."""
    variants = [
        one.name
        for one in family.variants
        if one.has_shape(architecture.layers, architecture.hidden, architecture.experts) or len(family.variants) == 1
    ]
    for one in family.claims:
        if one.suite == suite and (not one.variant or one.variant in variants):
            values: dict[str, Any] = {name: getattr(one, name) for name in Claim.__struct_fields__}
            values["source"] = family.sources[one.source]
            values["doubts"] = [*one.doubts, *([] if one.confirmed else ["not confirmed"])]
            yield Claim(**values)


def _tier(name: str, sampling: Sampling, family: Family | None, tasks: Sequence[Task]) -> ClaimedTier:
    variables = dict(sampling.chat_template_kwargs or {})
    thinks = sampling.thinking
    switch = None if family is None else family.thinking.switch
    if thinks is None and sampling.reasoning_effort is not None:
        thinks = sampling.reasoning_effort != "none"
    if family is not None:
        if thinks is None and switch is not None:
            thinks = _switched(variables, switch)
        if thinks is None:
            thinks = switch is not None and family.thinking.default
        variables = {**(family.thinking.on or {}), **variables} if thinks else variables
    effort = sampling.reasoning_effort or variables.get("reasoning_effort") or ""
    fields = sampling.fields()
    greedy = all(_is_greedy({**fields, **task.options}) for task in tasks)
    return ClaimedTier(tier=name, thinks=thinks, effort=str(effort) if thinks else "", greedy=greedy)


def _is_greedy(fields: Mapping[str, Any]) -> bool:
    """Whether a request takes the most likely token every time."""
    return fields.get("temperature") == 0 or fields.get("top_k") == 1


def _switched(variables: Mapping[str, Any], switch: tuple[Mapping[str, Any], Mapping[str, Any]]) -> bool | None:
    """What a template's variables say about thinking; None if they do not."""
    on, off = switch
    said = {name: variables[name] for name in off if name in variables}
    if not said:
        return None
    return any(said[name] == on.get(name) for name in said)
