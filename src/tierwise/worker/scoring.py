"""Log-probabilities of prompt tokens, in the format of vLLM's `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Scores = dict[int, tuple[float, int]]
"""By token id at one position: natural log-probability and rank (from 1), of the prompt's token and of the likeliest
ones."""

_ROWS = 64
"""Positions processed together: 64 MB for a vocabulary of 250,000 in float32."""


def scores(logits: Tensor, tokens: Sequence[int], top: int) -> list[Scores]:
    """Scores of tokens under the logits that precede them.

    Args:
        logits: `[positions, vocabulary]`; row `i` predicts `tokens[i]`.
        tokens: one per position.
        top: number of likeliest tokens to add at each position.
    """
    found: list[Scores] = []
    for begin in range(0, len(tokens), _ROWS):
        rows = logits[begin : begin + _ROWS].float()
        logprobs = rows.log_softmax(-1)
        for row, token in zip(logprobs, tokens[begin : begin + _ROWS], strict=True):
            one: Scores = {token: (float(row[token]), int((row > row[token]).sum()) + 1)}
            values, likeliest = row.topk(top)
            for rank, (value, other) in enumerate(zip(values.tolist(), likeliest.tolist(), strict=True), 1):
                one.setdefault(other, (value, rank))
            found.append(one)
    return found


def prompt_logprobs_field(
    found: Sequence[Scores], tokenizer: Any
) -> list[Mapping[int, Mapping[str, float | int | str]] | None]:
    """The response field: None for the first token, which has no prediction."""
    return [
        None,
        *(
            {
                token: {"logprob": logprob, "rank": rank, "decoded_token": tokenizer.decode([token])}
                for token, (logprob, rank) in one.items()
            }
            for one in found
        ),
    ]
