"""What a recorded draw holds besides the fields of a trial: its thinking, the probabilities of its tokens, its vote.

A run whose settings have a `pool` is a pool: each of its records is one draw of a deployment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.spec.call import Completion
    from tierwise.spec.json import Fields

_UNIT = 1000
"""Log-probabilities are stored as whole thousandths of a nat."""

_LEAST = 1_000_000
"""Thousandths of a nat below 0: what a token of probability 0 is stored as."""


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a pool was recorded."""

    top_logprobs: int
    """Alternatives per token that were asked for; 0 if no log-probabilities were."""


class TokenTrace(msgspec.Struct, frozen=True, kw_only=True):
    """The log-probabilities of a draw's tokens, rounded to a thousandth of a nat."""

    chosen: list[int]
    """-1000 · ln p of each token, in order."""
    top: list[list[int]]
    """The same of the most likely alternatives of each token, most likely first; as many as the engine gave."""
    lengths: list[int]
    """Characters of each token's text."""
    answer: int | None = None
    """Index of the first token of the answer, after the thinking; None if the tokens do not spell the answer."""

    @property
    def is_whole(self) -> bool:
        """Whether it has everything of each token."""
        return len(self.chosen) == len(self.top) == len(self.lengths)

    def logprobs(self) -> list[float]:
        """The natural-log probability of each token."""
        return [-one / _UNIT for one in self.chosen]

    def alternatives(self) -> list[list[float]]:
        """The natural-log probabilities of each token's alternatives, most likely first."""
        return [[-one / _UNIT for one in token] for token in self.top]


class DrawFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the record of a draw holds besides a trial's fields."""

    reasoning: str = ""
    tokens: TokenTrace | None = None
    """None if the engine gave no log-probabilities."""
    vote: str | None = None
    """Its answer as a vote with `equality: auto`, by the request's verifier if it has one; None without an answer."""
    ok: bool | None = None
    """Whether the request's verifier accepts it; None without one, like the next three fields."""
    score: float | None = None
    why: str = ""
    judged: bool = True
    extra: dict[str, Any] = {}
    """Fields of the message that a completion does not name (`refusal`, …)."""


def trace_of(completion: Completion) -> TokenTrace | None:
    """The compact form of a completion's log-probabilities; None if it has none."""
    tokens = completion.logprobs
    if not tokens:
        return None
    texts = [text if isinstance(text := token.get("token"), str) else "" for token in tokens]
    return TokenTrace(
        chosen=[_stored(token.get("logprob")) for token in tokens],
        top=[_alternatives(token) for token in tokens],
        lengths=[len(text) for text in texts],
        answer=_first_of_answer(texts, completion),
    )


def _alternatives(token: Fields) -> list[int]:
    found = token.get("top_logprobs")
    listed = found if isinstance(found, list) else []
    return sorted(_stored(one.get("logprob")) for one in listed if isinstance(one, dict))


def _stored(logprob: object) -> int:
    if not isinstance(logprob, int | float) or logprob != logprob:  # noqa: PLR0124 - not a number
        return _LEAST
    return int(min(max(round(-logprob * _UNIT), 0), _LEAST)) if logprob > -_LEAST else _LEAST


def _first_of_answer(texts: Sequence[str], completion: Completion) -> int | None:
    """The answer is the end of what the tokens spell; special tokens after it may have texts of their own."""
    if not completion.reasoning:
        return 0
    whole = "".join(texts)
    place = whole.rfind(completion.text) if completion.text else -1
    if place < 0:
        return None
    reached = 0
    for index, text in enumerate(texts):
        if reached >= place:
            return index
        reached += len(text)
    return None
