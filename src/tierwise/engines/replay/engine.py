"""Replays recorded candidates, so that a policy runs on recordings exactly as it runs live."""

from __future__ import annotations

import asyncio
from itertools import accumulate
from typing import TYPE_CHECKING

from tierwise.engines.engine import Health
from tierwise.engines.replay.recording import prompt_digest
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

    from tierwise.engines.replay.recording import Candidate
    from tierwise.spec.call import Call
    from tierwise.spec.json import Json


class ReplayEngine:
    """Answers each call with the candidate that was recorded for its conversation and draw."""

    def __init__(self, name: str, candidates: Iterable[Candidate], *, speed: float = 0.0) -> None:
        self._name = name
        self._speed = speed
        self._candidates = {(one.prompt, one.draw): one for one in candidates}

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def health(self) -> Health:
        return Health(state="ready")

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        one, bound = self._find(call), call.prompt.bound
        tokens = one.completion_tokens if bound is None else min(bound, one.completion_tokens)
        parts = max(1, tokens) if self._speed else 1
        share = tokens / one.completion_tokens if one.completion_tokens else 1.0
        await asyncio.sleep(one.first_token * self._speed)
        for chunk in pieces(one, tokens, parts):
            yield chunk
            await asyncio.sleep((one.seconds - one.first_token) * self._speed * share / parts)
        yield Chunk(finish=one.finish if tokens == one.completion_tokens else "length", usage=usage_at(one, tokens))

    def _find(self, call: Call) -> Candidate:
        one, bound = self._candidates.get((prompt_digest(call), call.draw)), call.prompt.bound
        if one is None:
            raise Broken(f"recording {self._name!r} has no draw {call.draw} of this prompt", engine=self._name)
        if not one.answers(bound):
            asked = "no limit" if bound is None else f"{bound} tokens"
            raise Broken(
                f"recording {self._name!r} has draw {call.draw} cut at {one.bound} tokens; the call has {asked}",
                engine=self._name,
            )
        return one


def pieces(one: Candidate, tokens: int, parts: int) -> Iterator[Chunk]:
    """The first `tokens` tokens of a candidate, in parts of similar size, each with the usage so far."""
    message = dict(one.message)
    thought, text = message.pop("reasoning_content", None) or "", message.pop("content", None) or ""
    whole = thought + text
    calls = message.pop("tool_calls", None) or ()
    message["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    ends = _ends(one, whole)
    was = first = 0
    for part in range(1, parts + 1):
        now = tokens * part // parts
        last = ends[now]
        delta: dict[str, Json] = {"content": whole[max(first, len(thought)) : last]}
        if first < len(thought):
            delta["reasoning_content"] = whole[first : min(last, len(thought))]
        if now == one.completion_tokens:  # indivisible fields are sent with the last token
            delta.update((name, value) for name, value in message.items() if value)
        logprobs = one.logprobs[was:now] if len(one.logprobs) == one.completion_tokens else ()
        yield Chunk(delta=delta, logprobs={"content": list(logprobs)} if logprobs else None, usage=usage_at(one, now))
        was, first = now, last


def _ends(one: Candidate, whole: str) -> list[int]:
    """Characters after each number of tokens: from the logprobs if complete, otherwise of equal length."""
    texts = [token.get("token") for token in one.logprobs]
    words = [text for text in texts if isinstance(text, str)]
    is_whole = len(words) == len(texts) and "".join(words) == whole
    return token_ends(list(map(len, words)) if is_whole else [], len(whole), one.completion_tokens)


def token_ends(lengths: Sequence[int], size: int, count: int) -> list[int]:
    """Characters of an output after 0, 1, … of its tokens.

    Args:
        lengths: characters of each token; used if they are complete, otherwise all tokens are equally long. A last
            token without a text, which ends the output, may be missing.
        size: characters of the whole output.
        count: tokens of the whole output.
    """
    if count - len(lengths) in (0, 1) and sum(lengths) == size and lengths:
        return [0, *accumulate(lengths), *([size] if len(lengths) < count else [])]
    return [round(size * token / count) for token in range(count)] + [size] if count else [size]


def usage_at(one: Candidate, tokens: int) -> Usage:
    """The usage of a candidate after its first `tokens` tokens."""
    return Usage(
        prompt=one.prompt_tokens,
        cached=one.cached_tokens,
        completion=tokens,
        reasoning=min(one.reasoning_tokens, tokens),
    )
