"""Usage and cost of an action, as clients of all protocols are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tierwise.gateway.lifecycle import certificate_of
from tierwise.ledger.rows import facts
from tierwise.run.acceptable import notes_of
from tierwise.run.steps import steps_of
from tierwise.spec.json import Json
from tierwise.spec.values import frozen_value

if TYPE_CHECKING:
    from tierwise.gateway.lifecycle import RequestContext
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Decision
    from tierwise.router.certified import CertifiedRoute
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Pass, Usage


@frozen_value
class UsageReport:
    """Usage and cost of an action so far, for all protocols."""

    action: str
    tier: str
    certified: CertifiedRoute | None
    reason: str
    """Why that tier answered."""
    steps: Sequence[Decision]
    """What policies that choose among tiers decided about each tier that they asked."""
    answers: Sequence[Answer]
    usage: Usage
    """Sum over all passes."""
    notes: Sequence[str]
    """How the request was changed so that an engine could answer it, and which budgets are used up."""
    limits: Sequence[str]
    """The bounds of budgets that are used up: the answer is the best so far."""
    dollars: float
    passes: Sequence[Pass]
    prices: PriceBook

    @classmethod
    def of(cls, context: RequestContext, prices: PriceBook) -> UsageReport:
        """The report of a request at this moment."""
        trace, passes = context.trace, context.trace.passes
        is_decided = bool(trace.decisions)
        return cls(
            action=trace.action,
            tier=context.action.tier,
            certified=context.certified,
            reason=context.action.reason,
            steps=steps_of(trace) if is_decided else (),
            answers=context.answers,
            usage=trace.usage,
            notes=notes_of(trace) if is_decided else (),
            limits=trace.limits,
            dollars=prices.total(passes).dollars,
            passes=passes,
            prices=prices,
        )

    def as_usage(self, *, candidates: bool) -> dict[str, Json]:
        """OpenAI's usage object, with our fields under `tierwise`; `candidates` adds the message of every pass."""
        charged: dict[str, Json] = {} if self.usage.cost is None else {"cost": self.usage.cost}
        certificate: dict[str, Json] = {} if self.certified is None else {"certificate": certificate_of(self.certified)}
        return {
            **charged,
            "prompt_tokens": self.usage.prompt,
            "completion_tokens": self.usage.completion,
            "total_tokens": self.usage.prompt + self.usage.completion,
            "prompt_tokens_details": {"cached_tokens": self.usage.cached},
            "completion_tokens_details": {"reasoning_tokens": self.usage.reasoning},
            "tierwise": {
                "action": self.action,
                "tier": self.tier,
                "reason": self.reason,
                "decisions": [_decision_of(one) for one in self.steps],
                **certificate,
                "notes": list(self.notes),
                "limits": list(self.limits),
                "why": [answer.why for answer in self.answers],
                "agreement": [answer.agreement for answer in self.answers],
                "dollars": self.dollars,
                "exact": self.usage.exact,
                "passes": [_pass_of(done, self.prices, with_message=candidates) for done in self.passes],
            },
        }


def _decision_of(step: Decision) -> dict[str, Json]:
    return {
        "choice": step.choice,
        "route": step.tier,
        "tier": step.about,
        "accepted": step.accepted,
        "signal": step.signal,
        "level": step.level,
        "reason": step.reason,
        "after": list(step.after),
    }


def usage_of(context: RequestContext, prices: PriceBook) -> dict[str, Json]:
    """OpenAI's usage object over all passes of a request so far."""
    return UsageReport.of(context, prices).as_usage(candidates=context.parsed.wants_candidates)


_SECONDS = ("started", "first_token", "seconds")


def _pass_of(done: Pass, prices: PriceBook, *, with_message: bool) -> dict[str, Json]:
    """`PassFacts` and the fields that only the wire has. `with_message` adds the output, with which a candidate that
    was not chosen can be graded.
    """
    fields: dict[str, Json] = facts(done)
    for name in _SECONDS:
        if type(value := fields[name]) is float:
            fields[name] = round(value, 6)
    fields["prompt_tokens"] = done.usage.prompt
    fields["cached_tokens"] = done.usage.cached
    fields["completion_tokens"] = done.usage.completion
    if done.usage.cost is not None:
        fields["cost"] = done.usage.cost
    fields["dollars"] = prices.cost(done).dollars
    if with_message:
        fields["message"] = done.completion.message()
    else:
        del fields["draw"], fields["finish"]
    return fields
