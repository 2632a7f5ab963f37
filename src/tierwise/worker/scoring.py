"""How likely the model finds the tokens of a prompt, told in vLLM's form under vLLM's name, `prompt_logprobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Scores = dict[int, tuple[float, int]]
"""What is told of one place: log-probability and rank, from 1, of the prompt's token and then of the likeliest ones."""

_ROWS = 64
"""Places that are looked at together: 64 MB of a vocabulary of 250,000 in float32."""


def scores(logits: Tensor, tokens: Sequence[int], most: int) -> list[Scores]:
    """What the model thought of tokens before it saw them.

    Args:
        logits: places × vocabulary; row `i` is what it expected where `tokens[i]` stands.
        tokens: as many as there are places.
        most: of the likeliest tokens to tell with each.
    """
    found: list[Scores] = []
    for begin in range(0, len(tokens), _ROWS):
        rows = logits[begin : begin + _ROWS].float()
        told = rows.log_softmax(-1)
        for row, token in zip(told, tokens[begin : begin + _ROWS], strict=True):
            one: Scores = {token: (float(row[token]), int((row > row[token]).sum()) + 1)}
            values, likeliest = row.topk(most)
            for rank, (value, other) in enumerate(zip(values.tolist(), likeliest.tolist(), strict=True), 1):
                one.setdefault(other, (value, rank))
            found.append(one)
    return found


def as_told(found: Sequence[Scores], tokenizer: Any) -> list[Mapping[int, Mapping[str, float | int | str]] | None]:
    """The field of an answer: nothing of the first token, which nothing stands before."""
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
