"""Whether votes are copies of one draw, because the engine ignores seeds or samples nothing: one vote, not several."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tierwise.spec.call import Completion, Pass

CHANCE = 1e-3
"""Draws that agree in every byte are copies if independent draws do so less often than this."""
LONG, MANY = 32, 3
"""Without log-probabilities: tokens of an answer, and draws of it, from which on equal bytes are no coincidence."""


def why_copies(votes: Sequence[Pass]) -> str:
    """Why the votes are copies of one draw; empty if they are not, or if they may agree by chance.

    Short answers of independent draws are often equal, so equal bytes say something only about long answers. With
    log-probabilities the chance of an equal draw is known: that of the text, at the request's temperature.
    """
    first = votes[0] if votes else None
    if first is None or len(votes) < 2 or any(vote.completion.text != first.completion.text for vote in votes):
        return ""
    said = _said(first.completion)
    if any(_said(vote.completion) != said for vote in votes):
        return ""
    temperature = max((_temperature(vote) for vote in votes), default=1.0)
    if temperature == 0:
        return "the request's temperature is 0"
    known = _log_chance(first.completion, temperature)
    is_chance = first.usage.completion < LONG or len(votes) < MANY
    if known is not None:
        is_chance = (len(votes) - 1) * known > math.log(CHANCE)
    return "" if is_chance else "the engine ignores seeds"


def _temperature(vote: Pass) -> float:
    given = vote.call.prompt.fields.get("temperature")
    return float(given) if isinstance(given, int | float) else 1.0


def _said(completion: Completion) -> tuple[object, ...]:
    calls = tuple(str(call.get("function")) for call in completion.tool_calls)
    return completion.text, completion.reasoning, calls, str(completion.extra)


def _log_chance(completion: Completion, temperature: float) -> float | None:
    """The log-probability of the tokens; None if it is not known. Below a temperature of 1 the odds are sharpened."""
    total, known = 0.0, False
    for token in completion.logprobs:
        value = token.get("logprob")
        if isinstance(value, int | float) and value <= 0:
            odds = value - math.log(-math.expm1(min(value, -1e-9)))
            total -= math.log1p(math.exp(min(700.0, -odds / max(temperature, 0.01))))
            known = True
    return total if known else None
