"""Whether deployments of two config files are the same, wherever the files are and however they spell paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.spec.paths import resolved

if TYPE_CHECKING:
    from tierwise.plan import Plan


def has_same_settings(one: Plan, name: str, other: Plan, others: str) -> bool:
    """Whether two deployments have the same settings: as they are written, or with the same files.

    Args:
        one: a config file.
        name: of its deployment.
        other: another one.
        others: the name of its deployment.
    """
    mine, its = one.file.deployments[name], other.file.deployments[others]
    return mine == its or resolved(mine, one.path.parent) == resolved(its, other.path.parent)


def has_same_weights(one: Plan, name: str, other: Plan, others: str) -> bool:
    """Whether two deployments load the same checkpoint: by hash where both are pinned, else by what is written or where
    it leads. Arguments as for `has_same_settings`.
    """
    loads, load = one.file.deployments[name].loads, other.file.deployments[others].loads
    if loads is None or load is None:
        return loads is load
    mine, its = one.file.checkpoints[loads], other.file.checkpoints[load]
    return mine.has_weights_of(its) or (
        None in (mine.sha256, its.sha256) and resolved(mine, one.path.parent) == resolved(its, other.path.parent)
    )


def says_the_same(one: Plan, other: Plan) -> bool:
    """Whether two config files differ in nothing but prices, routes, claims and the spelling of paths."""
    return _rest(one) == _rest(other)


def _rest(plan: Plan) -> dict[str, object]:
    return {
        name: of
        for name, of in resolved(plan.file, plan.path.parent).items()
        if name not in ("prices", "routes", "claims")
    }
