"""Draws that are copies of one, because the engine ignores seeds or samples nothing: one draw, not several."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from tierwise.spec.ask import Ask
from tierwise.spec.call import Completion, Pass
from tierwise.spec.logprobs import log_probability

CHANCE = 1e-3
"""Draws that agree in every byte are copies if independent draws do so less often than this."""
LONG, MANY = 32, 3
"""Without log-probabilities: tokens of an answer, and draws of it, from which on equal bytes are no coincidence."""
LONG_AMONG_OTHERS = 128
"""The same where other draws differ, so that the engine seems to sample: some servers answer from a cache at times."""


Chances = dict[tuple[int, float], float | None]
"""The log-probability of passes, by number and temperature; None where it is not known. Filled as it is needed."""


def without_copies(votes: Iterable[Pass], chances: Chances | None = None) -> tuple[list[Pass], str]:
    """The independent draws among some, and why the others are copies of them; empty if none is.

    Short answers of independent draws are often equal, so equal bytes say something only about long answers. With
    log-probabilities the chance of an equal draw is known: that of the text, at the request's temperature.

    Copies are looked for among the draws of one tier, which have the same deployment and sampling. Of the copies of one
    draw, the first stays.

    Args:
        votes: the draws.
        chances: kept by the caller for its next call with draws of the same action.
    """
    chances = {} if chances is None else chances
    tiers: dict[str, dict[tuple[object, ...], list[Pass]]] = {}
    for vote in votes:
        tiers.setdefault(vote.tier, {}).setdefault(_said(vote.completion), []).append(vote)
    kept: list[Pass] = []
    why = ""
    for alike in tiers.values():
        draws = sum(map(len, alike.values()))
        for group in alike.values():
            reason = _why(group, chances, of=draws)
            kept += group[:1] if reason else group
            why = why or reason
    return sorted(kept, key=lambda vote: vote.number), why


def is_long(vote: Pass) -> bool:
    """Whether equal bytes of such an answer are hardly a coincidence, or nothing was sampled."""
    return vote.usage.completion >= LONG or not is_sampled(vote)


def is_sampled(vote: Pass) -> bool:
    """Whether another draw may differ: at temperature 0 nothing is sampled."""
    return _temperature(vote) != 0


def note_copies(ask: Ask, draws: Iterable[Pass]) -> None:
    """Record in the trace if some draws are copies of others."""
    known = list(draws)
    kept, why = without_copies(known)
    if why:
        said = f"{len(known)} draws, {len(kept)} of them independent: {why}"
        ask.note(said, signal="copies", level=float(len(kept)), after=tuple(sorted(one.number for one in known)))


def _why(alike: Sequence[Pass], chances: Chances, *, of: int) -> str:
    """Why draws of one tier with equal bytes are copies; empty if they may be equal by chance.

    Args:
        alike: the equal draws.
        chances: those that are known; others are added.
        of: all draws of the tier.
    """
    if len(alike) < 2:
        return ""
    first = alike[0]
    temperature = max(_temperature(vote) for vote in alike)
    if temperature == 0:
        return "the request's temperature is 0"
    for vote in alike:
        if (vote.number, temperature) not in chances:
            chances[vote.number, temperature] = _log_chance(vote.completion, temperature)
    known = max((one for vote in alike if (one := chances[vote.number, temperature]) is not None), default=None)
    if known is None:
        is_chance = first.usage.completion < (LONG if len(alike) == of else LONG_AMONG_OTHERS) or len(alike) < MANY
    else:
        ways = math.log(math.comb(of - 1, len(alike) - 1))  # which of the other draws are equal to the first
        is_chance = ways + (len(alike) - 1) * known > math.log(CHANCE)
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
        if (value := log_probability(token.get("logprob"))) is not None:
            odds = value - math.log(-math.expm1(min(value, -1e-9)))
            total -= math.log1p(math.exp(min(700.0, -odds / max(temperature, 0.01))))
            known = True
    return total if known else None
