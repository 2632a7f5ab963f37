"""Which tier a request means: by its model, by `name:tier`, or by OpenAI's `service_tier`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.policies import Single
from tierwise.spec.errors import NoSuchModel, SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.router import Router
    from tierwise.run import Tier

SERVICE_TIER = "service_tier"


def addressed(asked: ParsedRequest, router: Router) -> ParsedRequest:
    """The request with the name of the tier or route that it means as its model.

    `service_tier` chooses the tier if it has the name of one, and goes no further; any other value is the engine's.
    `name:tier` is that tier, if the name is that of the tier or of a checkpoint or deployment that it may run on. A
    tier that is itself named so comes first.

    Raises:
        NoSuchModel: it names none.
    """
    named = asked.prompt.fields.get(SERVICE_TIER)
    if isinstance(named, str) and named in router.tiers:
        _require_known(asked.model, router)
        return replace(asked, model=named, prompt=asked.prompt.without(SERVICE_TIER))
    if asked.model in router.tiers or ":" not in asked.model:
        return asked
    name, _, tier = asked.model.rpartition(":")
    if tier not in router.tiers:
        raise NoSuchModel(
            f"there is no model {asked.model!r}: there is no tier {tier!r}; {allowed(tier, router.names)}",
            field="model",
        )
    if name not in (names := _names_of(tier, router)):
        why = f"the tier {tier!r} is not one of {name!r}; {allowed(name, sorted(names))}"
        raise NoSuchModel(f"there is no model {asked.model!r}: {why}", field="model")
    return replace(asked, model=tier)


def _names_of(tier: str, router: Router) -> set[str]:
    """The names that may stand before a tier: its own, and those of what it may run on."""
    reached = [one.deployment for one in router.reach(tier)]
    checkpoints = {one.weights.checkpoint for one in reached if one.weights is not None}
    return {tier, *(one.name for one in reached), *checkpoints}


def _require_known(model: str, router: Router) -> None:
    """That a model beside a `service_tier` is the name of anything here.

    Raises:
        NoSuchModel: it is not.
    """
    known = {name for tier in router.tiers for name in _names_of(tier, router)}
    if model.rpartition(":")[0] not in known and model not in known:
        raise NoSuchModel(f"there is no model {model!r}; {allowed(model, sorted(known))}", field="model")


def require_single(tier: Tier) -> None:
    """That a tier runs one pass per prompt: what other policies do with answers needs a conversation.

    Raises:
        SpecError: it does not.
    """
    if type(tier.policy) is not Single:
        raise SpecError(
            f"model: a prompt without a conversation is answered by one pass, and the policy of {tier.name!r} is "
            f"{type(tier.policy).__name__}; ask a tier whose policy is `single`",
            field="model",
        )
