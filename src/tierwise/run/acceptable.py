"""Adapts a call to what its deployment accepts. What a policy only prefers must not cost the user an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.ledger.records import Trace
from tierwise.run.limits import within_context, without_limit
from tierwise.run.recovery import LOST
from tierwise.spec.call import Call
from tierwise.spec.errors import EngineError, Refused, TooLong
from tierwise.spec.values import frozen_value

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment

CHANGED = "capabilities"
"""Signal of the decisions that record how a request was changed so that a deployment could answer it."""

BUDGET = "budget"
"""The signal of decisions that say which bound of a budget is used up."""

ENGINE = "engine"
"""The signal of decisions that say what is odd about an engine's answer."""

LOGPROBS = frozenset({"logprobs", "top_logprobs"})

_LOGPROBS_IN_STREAM = "logprobs with tools in a stream"

_WORDING = {"logprobs": r"log[-_ ]?prob", "top_logprobs": r"log[-_ ]?prob", "seed": r"\bseed\b"}
"""How servers name a field in the message of a refusal, where they do not use the field's own name."""


@frozen_value
class Adapted:
    """A call in the form that its deployment accepts, as far as it is known."""

    call: Call
    left_out: frozenset[str] = frozenset()
    """The fields that it lacks because the deployment refuses them."""
    is_whole: bool = False
    """Whether it is not streamed for that reason."""
    lowered: str = ""
    """How its limit was lowered; empty if it was not."""

    @property
    def is_changed(self) -> bool:
        """Whether it says something else than what was asked."""
        return bool(self.lowered or self.is_whole or self.left_out)

    def notes(self, deployment: Deployment) -> list[str]:
        """For the trace: what was changed, and why."""
        found = [self.lowered] if self.lowered else []
        if self.is_whole:
            found.append(f"{deployment.name} refuses {_LOGPROBS_IN_STREAM}: asked for a response without one")
        elif self.left_out:
            tools = " with tools" if self.call.prompt.has_tools and self.left_out != {"seed"} else ""
            found.append(f"{deployment.name} refuses {', '.join(sorted(self.left_out))}{tools}: asked without")
        return found


def adapted(call: Call, deployment: Deployment) -> Adapted:
    """The call without what the deployment is known to refuse, and with a limit that its context can hold."""
    call, lowered = within_context(call, deployment)
    has_tools, refused = call.prompt.has_tools, deployment.refused
    names = refused.names(has_tools=has_tools)
    has_no_logprobs = has_tools and deployment.current_capabilities().logprobs_with_tools is False
    first = _without(call, names | LOGPROBS if has_no_logprobs else names)
    if lowered:
        first = replace(first, lowered=lowered)
    if _streams_logprobs_with_tools(first.call) and (has_no_logprobs or refused.in_streams_with_tools):
        return replace(first, call=replace(first.call, streamed=False), is_whole=True)
    return first


def require_tools(call: Call, deployment: Deployment) -> bool:
    """Whether the model is shown the tools of the call. True if that is unknown.

    Raises:
        Refused: the answer must call a tool, and the deployment does not show tools to the model.
    """
    if not call.prompt.has_tools or deployment.current_capabilities().tools is not False:
        return True
    if call.prompt.requires_tool:
        raise Refused(
            f"tool_choice: the chat template of deployment {deployment.name!r} has no tools, so no tool call can be"
            " required; allow a text answer with tool_choice auto, or use a model that was trained to call tools",
            engine=deployment.name,
        )
    return False


def relaxed(call: Call, error: EngineError) -> Adapted | None:
    """The call without what an engine's refusal may be about; None if there is nothing to leave out.

    A field that the refusal names is left out alone. If it names none, all fields that the policy preferred are.

    Args:
        call: the refused call.
        error: what the engine raised.
    """
    if not isinstance(error, (Refused, TooLong)):
        return None
    refusal = str(error)
    if (unlimited := without_limit(call, refusal)) is not None:
        return Adapted(call=unlimited[0], lowered=unlimited[1])
    if isinstance(error, TooLong):
        return None
    optional = call.prompt.optional & call.prompt.fields.keys()
    named = _named((*optional, "seed"), refusal)
    if (without := _without(call, named or optional)).left_out:
        return without
    if _streams_logprobs_with_tools(call) and _named(LOGPROBS, refusal):
        return Adapted(call=replace(call, streamed=False), is_whole=True)
    return None


def remember(done: Adapted, deployment: Deployment) -> None:
    """Keep what a deployment refused, once a pass without it was accepted."""
    deployment.refused.add(done.left_out, has_tools=done.call.prompt.has_tools)
    deployment.refused.in_streams_with_tools |= done.is_whole


def _named(names: Iterable[str], refusal: str) -> frozenset[str]:
    return frozenset(
        name for name in names if re.search(_WORDING.get(name, rf"\b{re.escape(name)}\b"), refusal, re.IGNORECASE)
    )


def _streams_logprobs_with_tools(call: Call) -> bool:
    return call.streamed and call.prompt.has_tools and bool(call.prompt.fields.get("logprobs"))


def _without(call: Call, names: frozenset[str]) -> Adapted:
    """The call without those of the fields that it has and does not need."""
    fields = names & call.prompt.optional & call.prompt.fields.keys()
    has_seed = "seed" in names and call.sends_seed
    if not fields and not has_seed:
        return Adapted(call=call)
    prompt = call.prompt.without(*fields) if fields else call.prompt
    return Adapted(
        call=replace(call, prompt=prompt, sends_seed=call.sends_seed and not has_seed),
        left_out=fields | {"seed"} if has_seed else fields,
    )


def notes_of(trace: Trace) -> list[str]:
    """How the requests of an action were changed so that its deployments could answer them, what is odd about the
    answers of its engines, and which bounds of its budget are used up, each once.
    """
    told = (BUDGET, CHANGED, ENGINE, LOST)
    return list(dict.fromkeys([one.reason for one in trace.decisions if one.signal in told]))
