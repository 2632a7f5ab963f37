"""An action that a route has answered, and what is known of it before it is asked again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tierwise.shadowing.watching import Observed
    from tierwise.spec.ask import Answer
    from tierwise.spec.call import Pass
    from tierwise.spec.prompt import Prompt
    from tierwise.verifiers.verifier import Verifier

_LABELS = ("task", "label")
"""The keys of a request's `metadata` that name its kind of traffic."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,39}")
"""A name, and no text of a user: an alarm shows it to every client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An action that a route has answered."""

    route: str
    action: str
    prompt: Prompt
    answer: Answer
    passes: Sequence[Pass]
    verifier: Verifier | None = None
    """The request's."""
    is_bounded: bool = False
    """Whether a budget of the request, or one that was used up, may have changed the answer. It is not observed then:
    no certificate is about it."""


def strata_of(one: Answered) -> dict[str, str]:
    """The kinds of traffic that an action belongs to: the tier that answered, the length of its prompt as the engine
    counted it, and the label in its `metadata`, if it has one.
    """
    tokens = next((done.usage.prompt for done in one.passes if done.usage.prompt), 0)
    found = {"tier": one.answer.tier, "prompt tokens": _band(tokens)}
    return found | labels_of(one.prompt.fields)


def labels_of(fields: Mapping[str, Any]) -> dict[str, str]:
    """The names of a request's kind of traffic in its `metadata`, by key; none of them is a text of a user.

    Args:
        fields: of the request.
    """
    metadata = fields.get("metadata")
    given = {key: metadata.get(key) for key in _LABELS} if isinstance(metadata, dict) else {}
    return {key: label for key, label in given.items() if isinstance(label, str) and _LABEL.fullmatch(label)}


def texts_of(one: Answered, seen: Observed, reference: Answer, shadow: str) -> dict[str, Any]:
    """What is kept of an observed action where the settings say so: requests and both answers.

    Args:
        one: the action.
        seen: what was observed.
        reference: the answer of the reference tier.
        shadow: the id of the action that asked for it; empty if that was the same one.
    """
    return {
        "action": one.action,
        "shadow": shadow,
        "route": one.route,
        "differs": seen.differs,
        "loss": seen.loss,
        "messages": one.prompt.messages,
        "fields": dict(one.prompt.fields),
        "verifier": None if one.verifier is None else {one.verifier.kind: msgspec.to_builtins(one.verifier)},
        "answer": one.answer.completion.message(),
        "reference": reference.completion.message(),
    }


def size_of(value: object) -> int:
    """The characters of all texts in a message or in several, such as images."""
    match value:
        case str():
            return len(value)
        case Mapping():
            return sum(map(size_of, value.values()))
        case list() | tuple():
            return sum(map(size_of, value))
        case _:
            return 0


def _band(tokens: int) -> str:
    """`256 to 511`: the power of two below, and the last number before the next."""
    low = 1 << max(0, tokens.bit_length() - 1)
    return f"{low} to {2 * low - 1}"


def is_labelled(one: Answered) -> bool:
    """Whether a verifier tells right from wrong here."""
    return one.verifier is not None and one.verifier.decisive and one.verifier.judges(one.answer.completion)
