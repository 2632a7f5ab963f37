"""Whether a cheap tier's answer is good enough: the signals of a cascade, and how they are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from tierwise.policies.copies import Chances, without_copies
from tierwise.policies.learned import LearnedSignal, SignalName
from tierwise.policies.signals import ALTERNATIVES, FIRST_TOKENS, SIGNALS, has_k
from tierwise.spec.ask import Ask
from tierwise.spec.call import Completion, Pass
from tierwise.spec.choice import OneOf
from tierwise.stats import confidence
from tierwise.verifiers.answers import json_in, spoken
from tierwise.verifiers.spans import marked_result

SHORT = 8
"""Words of an answer that is compared as a whole; longer ones are compared by their marked result or their JSON."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Nats = Annotated[float, msgspec.Meta(ge=0)]


class CascadeSignal(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One signal and its threshold, for instance `margin: 0.9`."""

    agreement: Annotated[int, msgspec.Meta(ge=2, le=8)] | None = None
    """Accept an answer that at least this many independent draws gave, and more than half of all. Missing draws are
    taken from the cheap tier. Draws of cheaper tiers count. Not for open text."""
    span_probability: Share | None = None
    """Accept from this probability of the least likely token of the answer span on. Not for open text."""
    margin: Share | None = None
    """Accept from this mean of p₁ − p₂ over the answer span on."""
    tail_confidence: Nats | None = None
    """Accept from this mean token confidence of the last 2048 tokens of the answer on, in nats, with 5 alternatives."""
    entropy: Nats | None = None
    """Accept up to this mean entropy of the first 64 tokens, in nats, with 5 alternatives."""
    length: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Accept up to this number of completion tokens."""
    learned: LearnedSignal | None = None
    """Accept from a probability on that the answer is right, by a logistic regression on other signals."""

    @property
    def needs_logprobs(self) -> bool:
        if self.learned is not None:
            return any(one.signal in SIGNALS for one in self.learned.weights)
        return self.kind in SIGNALS

    @property
    def threshold(self) -> float:
        """From which value on, or up to which, an answer is accepted; of `agreement` the number of draws."""
        return self.member if self.learned is None else self.learned.least


@dataclass(frozen=True, slots=True)
class Reading:
    """What a signal says about an answer."""

    accepts: bool
    level: float
    said: str


def unusable(candidate: Pass) -> str:
    """Why an answer is none that anybody could use; empty if it may be one. Costs nothing, so it is asked first."""
    completion = candidate.completion
    others = {name: value for name, value in completion.extra.items() if value}
    if others.pop("refusal", None) or completion.finish == "content_filter":
        return "it is a refusal"
    if candidate.outcome == "cut" or completion.finish == "length":
        return "it was truncated"
    if not (completion.tool_calls or others or spoken(completion).strip()):
        return "it is lost to thinking" if completion.reasoning or completion.text else "it is empty"
    return ""


def measured(signal: CascadeSignal, candidate: Pass) -> Reading | None:
    """What a signal of one pass says; None if the pass does not have it."""
    return reading(signal, candidate.completion, candidate.usage.completion)


def reading(signal: CascadeSignal, completion: Completion, tokens: int) -> Reading | None:
    """As `measured`, of a completion with this number of tokens."""
    match signal.kind:
        case "span_probability" | "margin" | "tail_confidence" as name:
            if (name == "span_probability" and not is_comparable(completion)) or not _has_its_k(name, completion):
                return None
            least, level = signal.member, SIGNALS[name].value(completion)
            return None if level is None else Reading(level >= least, level, f"{name} {level:.3g}, wanted {least:g}")
        case "entropy":
            if not _has_its_k("entropy", completion):
                return None
            most, level = signal.member, confidence.mean_entropy(completion.logprobs, FIRST_TOKENS)
            return None if level is None else Reading(level <= most, level, f"entropy {level:.3g}, allowed {most:g}")
        case "length":
            most = signal.member
            return Reading(tokens <= most, tokens, f"{tokens} tokens, allowed {most}")
        case "learned":
            least, level = signal.member.least, signal.member.probability(lambda one: _level(one, completion, tokens))
            return None if level is None else Reading(level >= least, level, f"learned {level:.3g}, wanted {least:g}")
    return None


_ANY: Mapping[SignalName, CascadeSignal] = {
    "span_probability": CascadeSignal(span_probability=0.0),
    "margin": CascadeSignal(margin=0.0),
    "tail_confidence": CascadeSignal(tail_confidence=0.0),
    "entropy": CascadeSignal(entropy=1e9),
    "length": CascadeSignal(length=10**9),
}


def _level(name: SignalName, completion: Completion, tokens: int) -> float | None:
    found = reading(_ANY[name], completion, tokens)
    return None if found is None else found.level


def _has_its_k(name: str, completion: Completion) -> bool:
    """Whether a signal was measured with as many alternatives as its threshold holds for; a client or a server may have
    set another number. Only thresholds in nats depend on it.
    """
    return name not in ("tail_confidence", "entropy") or has_k(
        confidence.number_of_alternatives(completion.logprobs), ALTERNATIVES
    )


def is_comparable(completion: Completion) -> bool:
    """Whether equal answers can be expected to be equal in form: not open text."""
    if completion.tool_calls:
        return True
    said = spoken(completion)
    if not said.strip():
        return False
    if len(said.split()) <= SHORT or marked_result(said) is not None:
        return True
    try:
        json_in(said)
    except ValueError:
        return False
    return True


class DrawVotes:
    """The candidates of all tiers so far, as votes on the answer.

    Args:
        ask: of the tier that the user asked.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._keys: dict[int, str | None] = {}
        self._chances: Chances = {}
        self._rejected = {one.chosen for one in ask.drafts if one.verdict is not None and not one.verdict.ok}

    def reject(self, number: int | None) -> None:
        """Take back a candidate that a verifier rejected."""
        self._rejected.add(number)

    @property
    def candidates(self) -> list[Pass]:
        """The finished candidates that were not rejected."""
        return [
            one
            for one in self._ask.drawn
            if one.call.candidate and one.outcome == "finished" and one.number not in self._rejected
        ]

    async def agreement(self, tier: Ask, candidate: Pass, wanted: int) -> tuple[Reading | None, int]:
        """Whether enough independent draws gave this answer.

        Returns:
            The reading, None while there are too few independent draws to say; and the number of all of them.
        """
        key = await self._key(tier, candidate)
        if key is None or not is_comparable(candidate.completion):
            return None, 0
        keyed = {one.number: other for one in self.candidates if (other := await self._key(tier, one)) is not None}
        independent, _ = without_copies((one for one in self.candidates if one.number in keyed), self._chances)
        counted = Counter(keyed[one.number] for one in independent)
        equal, draws = counted[key], counted.total()
        if draws < wanted:
            return None, draws
        accepts = equal >= wanted and 2 * equal > draws
        return Reading(accepts, equal / draws, f"{equal} of {draws} draws agree, wanted {wanted}"), draws

    async def _key(self, tier: Ask, candidate: Pass) -> str | None:
        if candidate.number not in self._keys:
            self._keys[candidate.number] = await tier.key(candidate)
        return self._keys[candidate.number]
