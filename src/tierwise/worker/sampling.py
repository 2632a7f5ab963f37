"""Samples tokens from logits. Each row has its own parameters and random sequence, independent of other rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

_NUCLEUS_GUESS = 512  # tokens sorted first; the whole vocabulary is sorted only if these have too little mass


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParameters:
    """Sampling parameters of one row, applied in this order: penalties, temperature, min_p, top_k, top_p."""

    temperature: float = 1.0
    """0 is greedy."""
    top_k: int = 0
    """0 and -1 disable it."""
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    """Divides positive and multiplies negative logits of all tokens seen, including the prompt's (CTRL, Keskar et al.,
    2019, arXiv 1909.05858)."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    logprobs: int | None = None
    """Number of likeliest tokens to report besides the sampled one; None disables the report."""

    @property
    def _adjusts_scores(self) -> bool:
        return bool(
            self.presence_penalty or self.frequency_penalty or self.repetition_penalty != 1.0 or self.logit_bias
        )

    @property
    def _filters(self) -> bool:
        return self.top_k > 0 or self.top_p < 1.0 or self.min_p > 0.0


@dataclass(frozen=True, slots=True)
class SampledToken:
    """A sampled token."""

    token: int
    logprob: float | None = None
    """Natural log-probability under the model's own distribution, before penalties, temperature and filters."""
    likeliest: Sequence[tuple[int, float]] = ()
    """The likeliest tokens and their log-probabilities, best first."""


class RandomSource:
    """The sampling state of one row: its random sequence, and the tokens seen so far."""

    def __init__(self, parameters: SamplingParameters, prompt: Sequence[int]) -> None:
        self.parameters = parameters
        self.forced: int | None = None
        """The token to take next regardless of the logits; None to sample."""
        self._random = random.Random(parameters.seed)  # noqa: S311 - reproducible, not secret
        self._generated: Counter[int] = Counter()
        self._seen = set(prompt) if parameters.repetition_penalty != 1.0 else set()

    def next(self) -> float:
        """The next number in [0, 1); exactly one per token, so that a row does not depend on others."""
        return self._random.random()

    def add(self, token: int) -> None:
        self._generated[token] += 1
        self._seen.add(token)

    def adjusted(self, scores: Tensor) -> Tensor:
        """The row's logits `[vocabulary]` with penalties and biases; the same tensor if it has none."""
        parameters = self.parameters
        if not parameters._adjusts_scores:  # noqa: SLF001 - same module
            return scores
        scores = scores.clone()
        if parameters.repetition_penalty != 1.0 and self._seen:
            seen = torch.tensor(sorted(self._seen), device=scores.device)
            values = scores[seen]
            scores[seen] = torch.where(
                values > 0, values / parameters.repetition_penalty, values * parameters.repetition_penalty
            )
        if (parameters.presence_penalty or parameters.frequency_penalty) and self._generated:
            said = torch.tensor(list(self._generated), device=scores.device)
            counts = torch.tensor(list(self._generated.values()), device=scores.device, dtype=scores.dtype)
            scores[said] -= parameters.presence_penalty + parameters.frequency_penalty * counts
        for token, bias in parameters.logit_bias.items():
            scores[token] += bias
        return scores


def sample(logits: Tensor, sources: Sequence[RandomSource]) -> list[SampledToken]:
    """Sample one token for each row of logits, `[rows, vocabulary]`."""
    scores = logits.float()
    if any(one.parameters._adjusts_scores for one in sources):  # noqa: SLF001
        adjusted = torch.stack([one.adjusted(row) for one, row in zip(sources, scores, strict=True)])
    else:
        adjusted = scores
    chosen = adjusted.argmax(-1)
    drawn = [index for index, one in enumerate(sources) if one.parameters.temperature > 0]
    if drawn:
        rows = torch.tensor(drawn, device=chosen.device)
        chosen[rows] = _drawn(adjusted[rows], [sources[index] for index in drawn])
    tokens = [token if one.forced is None else one.forced for one, token in zip(sources, chosen.tolist(), strict=True)]
    for one, token in zip(sources, tokens, strict=True):
        one.add(token)
    return [
        SampledToken(token) if one.parameters.logprobs is None else _reported(row, token, one.parameters.logprobs)
        for one, token, row in zip(sources, tokens, scores, strict=True)
    ]


def _drawn(scores: Tensor, sources: Sequence[RandomSource]) -> Tensor:
    """Inverse transform sampling: the token at which the cumulative probability exceeds the row's number."""
    scores = scores / scores.new_tensor([[one.parameters.temperature] for one in sources])
    for index, one in enumerate(sources):
        if one.parameters._filters:  # noqa: SLF001
            scores[index] = _filtered(scores[index], one.parameters)
    cumulated = torch.softmax(scores, -1).cumsum(-1, dtype=torch.float64)
    numbers = cumulated.new_tensor([[min(one.next(), 1 - 1e-12)] for one in sources])
    return torch.searchsorted(cumulated, numbers * cumulated[:, -1:], right=True)[:, 0]


def _filtered(scores: Tensor, parameters: SamplingParameters) -> Tensor:
    """One row's scores, with minus infinity for tokens excluded by min_p, top_k or top_p."""
    least = scores.min()
    if parameters.min_p > 0:
        least = torch.maximum(least, scores.max() + torch.log(scores.new_tensor(parameters.min_p)))
    if 0 < parameters.top_k < len(scores):
        least = torch.maximum(least, scores.topk(parameters.top_k).values[-1])
    scores = scores.masked_fill(scores < least, -torch.inf)
    if parameters.top_p < 1.0:
        scores = scores.masked_fill(scores < _nucleus_edge(scores, parameters.top_p), -torch.inf)
    return scores


def _nucleus_edge(scores: Tensor, mass: float) -> Tensor:
    """The lowest score in the smallest set of likeliest tokens with this mass (Holtzman et al., 2019, arXiv
    1904.09751).
    """
    total = scores.logsumexp(-1)
    for size in (min(_NUCLEUS_GUESS, len(scores)), len(scores)):
        best = scores.topk(size).values
        mass_before = (best - total).exp().cumsum(-1) - (best - total).exp()
        inside = int((mass_before < mass).sum())
        if inside < size:
            return best[max(inside, 1) - 1]
    return best[-1]


def _reported(scores: Tensor, token: int, most: int) -> SampledToken:
    logprobs = scores - scores.logsumexp(-1)
    likeliest: list[tuple[int, float]] = []
    if most:
        values, tokens = logprobs.topk(most)
        likeliest = list(zip(tokens.tolist(), values.tolist(), strict=True))
    return SampledToken(token, min(0.0, float(logprobs[token])), likeliest)
