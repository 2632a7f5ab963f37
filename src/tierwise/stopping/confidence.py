"""Votes that count by how sure the model was: CGES as a stopping rule, and the weights of CISC.

Both help only where a confidence tells right from wrong answers *of one question*; one that tells easy from hard
questions makes them worse. So a calibration below an AUROC of .55 within questions is refused.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar

LEAST_AUROC = 0.55
"""Within questions; below it a confidence is refused."""
LOWEST, HIGHEST = 0.02, 0.98
"""Confidences are clipped to these, so that no single vote decides."""
LEAST_ANSWERS = 3
"""Answers that are taken to be possible, at least."""


class Cges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when one answer is right with at least this probability, by the calibrated confidence of each vote."""

    is_lossless: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = True

    probability: Annotated[float, msgspec.Meta(ge=0.5, lt=1)] = 0.95
    """Posterior of the leading answer (CGES, arXiv 2511.02603). At least two votes are drawn. Use .99 where most
    answers are right."""

    def stops(self, votes: VotesSoFar) -> bool:
        if len(votes.answers) < 2:
            return False
        return max(posterior(votes.answers, votes.confidences).values()) >= self.probability


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How likely a vote is right, by a signal of its pass: measured on a pool of the same deployment."""

    signal: str
    """The signal, such as `mean_logprob`."""
    auroc: Annotated[float, msgspec.Meta(ge=0, le=1)]
    """Of the signal within questions, on the pool: `tierwise pool calibrate` measures it. At least .55."""
    curve: Annotated[tuple[tuple[float, float], ...], msgspec.Meta(min_length=2)]
    """Pairs of a value of the signal and the share of right answers there, by rising value. In between it is linear."""
    alternatives: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0
    """`top_logprobs` of the pool, on which the signal depends; 0 for a signal of the sampled tokens alone. A vote that
    comes with another number has an unknown signal."""
    thinking: bool | None = None
    """Whether the passes of the pool were thinking. A vote of the other kind has an unknown signal. None for both."""
    temperature: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0
    """Of the weights of a vote without `cges` (CISC); chosen on the pool."""

    def __post_init__(self) -> None:
        if self.auroc < LEAST_AUROC:
            raise ValueError(
                f"auroc is {self.auroc:g}: within a question this confidence hardly tells right answers from wrong "
                f"ones, and weights by it would do harm; at least {LEAST_AUROC:g} is needed. Remove `confidence`, or "
                "use another signal"
            )
        values = [value for value, _ in self.curve]
        if any(one >= other for one, other in pairwise(values)):
            raise ValueError("curve: the values of the signal must rise from pair to pair")
        if not all(0 <= share <= 1 for _, share in self.curve):
            raise ValueError("curve: the second number of a pair is a share, from 0 to 1")

    def probability(self, value: float | None) -> float:
        """The probability that a vote with this signal is right; the curve's mean where the signal is unknown."""
        if value is None or math.isnan(value):
            return sum(share for _, share in self.curve) / len(self.curve)
        place = bisect_right(self.curve, value, key=lambda pair: pair[0])
        if place in (0, len(self.curve)):
            return self.curve[min(place, len(self.curve) - 1)][1]
        (low, before), (high, after) = self.curve[place - 1], self.curve[place]
        return before + (after - before) * (value - low) / (high - low)


def posterior(answers: Sequence[str], confidences: Sequence[float]) -> dict[str, float]:
    """The probability of each answer to be right, given the votes (CGES).

    log q(a) = Σᵢ [log cᵢ where vote i is for a, else log((1 − cᵢ) / (K − 1))]. K is the answers seen and one more, at
    least three; those that nobody voted for are possible too.

    Args:
        answers: one key per vote.
        confidences: the calibrated probability of each vote to be right; clipped to [.02, .98].

    Returns:
        A probability for each answer that has a vote; they sum to less than 1.
    """
    names = set(answers)
    possible = possible_answers(len(names))
    evidence = dict.fromkeys(answers, 0.0)
    for answer, confidence in zip(answers, confidences, strict=True):
        evidence[answer] += log_odds(confidence, possible)
    highest = max(0.0, *evidence.values()) if evidence else 0.0
    total = (possible - len(names)) * math.exp(-highest) + sum(math.exp(one - highest) for one in evidence.values())
    return {name: math.exp(one - highest) / total for name, one in evidence.items()}


def possible_answers(seen: int) -> int:
    """K: the answers seen and one more, at least three."""
    return max(LEAST_ANSWERS, seen + 1)


def log_odds(confidence: float, possible: int) -> float:
    """What a vote adds to the log-probability of its answer over the others': log c − log((1 − c) / (K − 1))."""
    sure = min(HIGHEST, max(LOWEST, confidence))
    return math.log(sure) - math.log((1 - sure) / (possible - 1))


def weight(confidence: float, temperature: float) -> float:
    """The weight of a vote in CISC (arXiv 2502.06233), exp(c / T): the softmax over the votes has the same winner."""
    return math.exp(confidence / temperature)
