"""Token counts as servers report them. What cannot be a count is ignored, and the rest is marked as inexact."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from tierwise.spec.call import Usage

MOST_TOKENS = 100_000_000
"""The largest count that is believed, several times the context of any model."""
_MOST_COST = 1_000_000


def read_count(value: Any) -> int | None:
    """A count, which some servers send as a whole float or as text; None if it is no count."""
    if type(value) is int:
        return value if 0 <= value <= MOST_TOKENS else None
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) <= len(str(MOST_TOKENS)) else None
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def read_usage(value: Any) -> Usage | None:
    """`usage` as OpenAI, vLLM, SGLang and llama.cpp report it; None if it holds no count.

    It is not exact if a count is missing or impossible. A null or missing completion count is that of a pass that has
    not begun to answer.
    """
    if not isinstance(value, dict):
        return None
    asked, said = read_count(value.get("prompt_tokens")), value.get("completion_tokens")
    completion = read_count(said)
    if asked is None and completion is None:
        return None
    prompt = asked or 0
    total = read_count(value.get("total_tokens"))
    cached = read_count(_inner(value, "prompt_tokens_details", "cached_tokens")) or 0
    reasoning = read_count(_inner(value, "completion_tokens_details", "reasoning_tokens"))
    reasoning = reasoning or read_count(value.get("reasoning_tokens")) or 0  # SGLang's place
    spoken = completion or 0
    if reasoning > spoken and total == prompt + spoken + reasoning:  # xAI counts thinking apart
        spoken += reasoning
    return Usage(
        prompt=prompt,
        cached=min(cached, prompt),
        completion=spoken,
        reasoning=min(reasoning, spoken),
        cost=_read_cost(value.get("cost")),
        exact=prompt > 0 and (completion is not None or said is None) and cached <= prompt and reasoning <= spoken,
    )


def _read_cost(value: Any) -> float | None:
    """What the server charges for the pass (`cost`, as OpenRouter names it); None if it does not say."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= _MOST_COST else None


def _inner(value: dict[str, Any], group: str, name: str) -> Any:
    details = value.get(group)
    return details.get(name) if isinstance(details, dict) else None


class WireTimings(msgspec.Struct):
    """llama.cpp's running counts, sent with every chunk if `timings_per_token` is set."""

    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0

    def read(self) -> Usage:
        return Usage(prompt=self.cache_n + self.prompt_n, cached=self.cache_n, completion=self.predicted_n)


class WireProgress(msgspec.Struct):
    """llama.cpp's progress on a prompt, sent before each batch if `return_progress` is set."""

    UNSTOPPABLE: ClassVar[int] = 2 * 2048
    """Tokens that it still processes after a disconnect: the current batch and the next (measured with b11549)."""

    total: int = 0
    cache: int = 0
    processed: int = 0

    def read(self) -> Usage:
        """The usage if the client disconnects now."""
        begun = min(self.total, self.processed + self.UNSTOPPABLE)
        return Usage(prompt=begun, cached=self.cache, exact=self.processed == self.total)
