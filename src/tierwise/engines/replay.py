"""Recorded candidates as an engine like any other, so that a policy runs on a pool exactly as it runs live."""

from __future__ import annotations

import asyncio
import hashlib
from itertools import accumulate
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.engines.engine import Health
from tierwise.spec.call import Call, Chunk, Pass, Usage
from tierwise.spec.errors import Broken
from tierwise.spec.files import decode_json_lines, read_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Iterator
    from pathlib import Path

    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.spec.json import Json
    from tierwise.spec.sampling import Sampling


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded pass: a line of a recording."""

    prompt: str
    """Digest of the conversation that it answers; see `prompt_digest`."""
    draw: int = 0
    bound: int | None = None
    """Completion tokens that it was allowed; None when nothing but the context bounded it."""
    message: dict[str, Any] = {}
    logprobs: list[dict[str, Any]] = []
    finish: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    first_token: float = 0.0
    """Seconds."""
    seconds: float = 0.0

    def answers(self, bound: int | None) -> bool:
        """Whether it says what a pass with this bound would have said: it ended by itself, or was not cut earlier."""
        return self.finish != "length" or self.bound is None or (bound is not None and bound <= self.bound)


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="replay", tag_field="engine"):
    """Recorded candidates instead of a model."""

    recording: str
    """A JSONL file of candidates."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """How many passes of one action run side by side."""
    speed: float = 0.0
    """0 answers at once; 1 takes as long as the recorded passes took."""

    @property
    def context(self) -> None:
        return None

    @property
    def loads(self) -> None:
        return None

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - it loads none
        if self.speed < 0:
            yield "speed", f"{self.speed:g} is negative; 0 answers at once, 1 as fast as it was recorded"

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - what was recorded had them
        return ()

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        if not (site.base / self.recording).is_file():
            yield "recording", f"there is no file {self.recording!r} beside the config file"

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return ()

    def command(self, site: Site) -> str:
        return f"(no process) replays {site.base / self.recording}"

    def build(self, name: str, site: Site) -> ReplayEngine:
        return ReplayEngine(name, read_recording(site.base / self.recording), speed=self.speed)


def prompt_digest(call: Call) -> str:
    """Names a conversation and what was asked about it; equal on every machine.

    The bound on tokens has no part in it: a shorter answer is the beginning of a longer one, and a budget lowers the
    bound from pass to pass.
    """
    fields = call.prompt.without(*_BOUNDS).fields
    asked = [[dict(message) for message in call.prompt.messages], dict(fields), call.role]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:24]


_BOUNDS = ("max_tokens", "max_completion_tokens")


def record(done: Pass) -> Candidate:
    """What a finished pass leaves for later replays."""
    return Candidate(
        prompt=prompt_digest(done.call),
        draw=done.call.draw,
        bound=done.call.prompt.bound,
        message=done.completion.message(),
        logprobs=[dict(token) for token in done.completion.logprobs],
        finish=done.completion.finish,
        prompt_tokens=done.usage.prompt,
        cached_tokens=done.usage.cached,
        completion_tokens=done.usage.completion,
        reasoning_tokens=done.usage.reasoning,
        first_token=done.first_token or 0.0,
        seconds=done.seconds,
    )


def read_recording(path: Path) -> list[Candidate]:
    """All candidates of a JSONL file.

    Raises:
        NotFound: there is no such file.
        SpecError: it cannot be read; names file and lines.
    """
    return decode_json_lines(read_bytes(path, "recording"), Candidate, str(path))


class ReplayEngine:
    """Answers every call with the candidate that was recorded for its conversation and draw."""

    def __init__(self, name: str, candidates: Iterable[Candidate], *, speed: float = 0.0) -> None:
        self._name = name
        self._speed = speed
        self._candidates = {(one.prompt, one.draw): one for one in candidates}

    async def start(self) -> None:
        """Everything is in memory already."""

    async def stop(self) -> None:
        """Nothing runs."""

    def health(self) -> Health:
        return Health(state="ready")

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        one, bound = self._find(call), call.prompt.bound
        tokens = one.completion_tokens if bound is None else min(bound, one.completion_tokens)
        parts = max(1, tokens) if self._speed else 1
        await asyncio.sleep(one.first_token * self._speed)
        for chunk in _said(one, tokens, parts):
            yield chunk
            await asyncio.sleep((one.seconds - one.first_token) * self._speed / parts)
        yield Chunk(finish=one.finish if tokens == one.completion_tokens else "length", usage=_usage(one, tokens))

    def _find(self, call: Call) -> Candidate:
        one, bound = self._candidates.get((prompt_digest(call), call.draw)), call.prompt.bound
        if one is None:
            raise Broken(f"recording {self._name!r} holds no draw {call.draw} of this prompt", engine=self._name)
        if not one.answers(bound):
            asked = "no bound" if bound is None else f"{bound} tokens"
            raise Broken(
                f"recording {self._name!r} holds draw {call.draw} cut at {one.bound} tokens; {asked} were asked for",
                engine=self._name,
            )
        return one


def _said(one: Candidate, tokens: int, parts: int) -> Iterator[Chunk]:
    """The first `tokens` tokens of a candidate in about equal parts."""
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
        if now == one.completion_tokens:  # what cannot be cut comes with the last token
            delta.update((name, value) for name, value in message.items() if value)
        logprobs = one.logprobs[was:now] if len(one.logprobs) == one.completion_tokens else ()
        yield Chunk(delta=delta, logprobs={"content": list(logprobs)} if logprobs else None, usage=_usage(one, now))
        was, first = now, last


def _ends(one: Candidate, whole: str) -> list[int]:
    """Characters after each number of tokens: as the log-probabilities tell, else as if all tokens were as long."""
    count = one.completion_tokens
    texts = [token.get("token") for token in one.logprobs]
    words = [text for text in texts if isinstance(text, str)]
    if len(words) == count and "".join(words) == whole:
        return list(accumulate(map(len, words), initial=0))
    return [round(len(whole) * token / count) for token in range(count)] + [len(whole)] if count else [len(whole)]


def _usage(one: Candidate, tokens: int) -> Usage:
    return Usage(
        prompt=one.prompt_tokens,
        cached=one.cached_tokens,
        completion=tokens,
        reasoning=min(one.reasoning_tokens, tokens),
    )
