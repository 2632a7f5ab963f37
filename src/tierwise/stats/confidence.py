"""How sure a model was of its tokens, from their log-probabilities. Pure functions; without numpy, because serving uses
them.

A token is OpenAI's record: `logprob` of the sampled token, and `top_logprobs`, the k most likely alternatives. All
log-probabilities are natural. Values of entropy and token confidence depend on k, and thinking shifts all of them, so a
threshold holds for one deployment, one k and one thinking mode only.

Servers send what they like. A log-probability that is missing, not a number, not finite or above 0 counts as missing,
and every function returns None where too little is left.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice

from tierwise.spec.json import Fields
from tierwise.spec.logprobs import LEAST, log_probability

SHORTEST_WINDOW, LONGEST_WINDOW = 64, 2048
"""Bounds of a window, in tokens. The longest is that of DeepConf."""


def alternatives(token: Fields) -> list[float]:
    """The log-probabilities of a token's alternatives, highest first."""
    return sorted(_listed(token), reverse=True)


def number_of_alternatives(tokens: Iterable[Fields]) -> int:
    """k: the largest number of alternatives of a token; 0 if there are none."""
    most = 0
    for token in tokens:
        listed = token.get("top_logprobs")
        if isinstance(listed, list) and len(listed) > most:  # else it cannot have more
            most = max(most, len(_listed(token)))
    return most


def token_confidence(token: Fields) -> float | None:
    """C = −(1/k) Σⱼ log p(j) over the k alternatives, in nats; high where the distribution is peaked.

    Source: DeepConf (Fu et al., 2025, arXiv 2508.15260). None with fewer than two alternatives.
    """
    if len(found := _listed(token)) < 2:
        return None
    found.sort(reverse=True)  # so that the sum does not depend on the order of the server
    return -sum(found) / len(found)


def token_entropy(token: Fields) -> float | None:
    """H = −Σ p log p over the alternatives, with the rest of the vocabulary as one bucket, in nats.

    A lower bound of the entropy over the whole vocabulary. None with fewer than two alternatives.
    """
    found = alternatives(token)
    if len(found) < 2:
        return None
    rest = max(0.0, 1.0 - sum(math.exp(one) for one in found))
    return -sum(math.exp(one) * one for one in found) - (rest * math.log(rest) if rest > 0 else 0.0)


def token_margin(token: Fields) -> float | None:
    """p₁ − p₂, from 0 to 1: the most likely alternative before the next. None with fewer than two alternatives."""
    if len(found := _listed(token)) < 2:
        return None
    found.sort()
    return math.exp(found[-1]) - math.exp(found[-2])


def confidences(tokens: Iterable[Fields]) -> list[float]:
    """`token_confidence` of each token that has one."""
    return [one for token in tokens if (one := token_confidence(token)) is not None]


def mean_confidence(tokens: Iterable[Fields]) -> float | None:
    """Mean of `token_confidence`, in nats."""
    return _mean(confidences(tokens))


def tail_confidence(tokens: Iterable[Fields], window: int = LONGEST_WINDOW) -> float | None:
    """Mean of `token_confidence` over the last `window` tokens, in nats (DeepConf)."""
    return _mean(confidences(tokens)[-window:])


def lowest_window(tokens: Iterable[Fields], window: int = LONGEST_WINDOW) -> float | None:
    """The lowest mean of `token_confidence` over a sliding window, in nats (DeepConf). The mean of a shorter output."""
    values = confidences(tokens)
    sliding = SlidingMean(window)
    full = [mean for value in values if (mean := sliding.add(value)) is not None]
    return min(full) if full else _mean(values)


def mean_entropy(tokens: Iterable[Fields], first: int | None = None) -> float | None:
    """Mean of `token_entropy`, in nats; over the first tokens only if `first` is given."""
    known = (one for token in tokens if (one := token_entropy(token)) is not None)
    return _mean(list(islice(known, first)))


def mean_margin(tokens: Iterable[Fields]) -> float | None:
    """Mean of `token_margin`, from 0 to 1. UCCI's uncertainty is 1 minus it."""
    return _mean([one for token in tokens if (one := token_margin(token)) is not None])


def mean_logprob(tokens: Iterable[Fields]) -> float | None:
    """Mean log-probability of the sampled tokens, in nats."""
    return _mean([one for token in tokens if (one := log_probability(token.get("logprob"))) is not None])


def lowest_probability(tokens: Iterable[Fields]) -> float | None:
    """The probability of the least likely sampled token, from 0 to 1."""
    values = [one for token in tokens if (one := log_probability(token.get("logprob"))) is not None]
    return math.exp(min(values)) if values else None


def window_for(median_length: float) -> int:
    """The length of a window for outputs of this median length, in tokens: a quarter of it, from 64 to 2048.

    A fixed window of 2048 tokens never fills on short answers, so no trace would be cut.
    """
    return int(min(LONGEST_WINDOW, max(SHORTEST_WINDOW, median_length / 4)))


class SlidingMean:
    """The mean of the last `window` values, one value at a time, each in constant time."""

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f"window is {window}; give at least 1 token")
        self._values: deque[float] = deque(maxlen=window)
        self._sum = 0.0
        self._added = 0

    def add(self, value: float) -> float | None:
        """Add a value. Returns the mean of the window; None until it is full."""
        values = self._values
        if len(values) == values.maxlen:
            self._sum -= values[0]
        values.append(value)
        self._sum += value
        self._added += 1
        if self._added % LONGEST_WINDOW == 0:
            self._sum = math.fsum(values)  # rounding errors do not add up over a long stream
        return self._sum / len(values) if len(values) == values.maxlen else None


def _listed(token: Fields) -> list[float]:
    """The log-probabilities of a token's alternatives, in the order of the server.

    A route reads them of every token before a user sees an answer, so the usual value costs no call.
    """
    listed = token.get("top_logprobs")
    found: list[float] = []
    if not isinstance(listed, list):
        return found
    for one in listed:
        value = one.get("logprob") if isinstance(one, dict) else None
        if type(value) is float and LEAST <= value <= 0.0:
            found.append(value)
        elif (read := log_probability(value)) is not None:
            found.append(read)
    return found


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
