"""A policy that returns the longest of several candidates, a verifier of polite answers, and an engine that echoes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Annotated, ClassVar

import msgspec

from tierwise import (
    Answer,
    Ask,
    BaseSettings,
    BaseVerifier,
    Budget,
    Call,
    Chunk,
    Completion,
    EngineRow,
    Health,
    LaunchContext,
    OutOfBudget,
    Prompt,
    Usage,
    Verdict,
)


class Longest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Draws `n` candidates and returns the longest."""

    n: Annotated[int, msgspec.Meta(ge=2, le=64)] = 3
    """Candidates to draw."""

    def most(self, at: Callable[[str], Budget]) -> Budget:  # noqa: ARG002 - it asks no other tier
        return Budget(passes=self.n)

    def tiers(self) -> tuple[str, ...]:
        return ()

    @property
    def sets(self) -> frozenset[str]:
        return frozenset({"seed"})

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        async with ask.panel([Call(prompt=prompt)] * self.n) as arrivals:
            candidates = [one async for one in arrivals if one is not None]
        if not candidates:
            raise OutOfBudget
        best = max(candidates, key=lambda one: len(one.completion.text))
        return Answer(completion=best.completion, chosen=best.number, why=f"longest of {len(candidates)}")


class Polite(BaseVerifier, frozen=True, kw_only=True):
    """Accepts an answer that contains one of these words."""

    kind: ClassVar[str] = "polite"

    words: tuple[str, ...] = ("please", "thank")
    """Case is ignored."""

    async def verify(self, completion: Completion) -> Verdict:
        is_polite = any(word.casefold() in completion.text.casefold() for word in self.words)
        return Verdict(
            ok=is_polite, score=float(is_polite), why="" if is_polite else f"none of {', '.join(self.words)}"
        )


class Echo(BaseSettings, frozen=True, kw_only=True, tag="echo", tag_field="engine"):
    """The settings of a deployment on the engine `echo`."""

    times: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Repetitions of the user's last message."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """Passes that run concurrently."""


class EchoEngine:
    """Answers with the user's last message, one word per token."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.running = 0
        """Passes in progress."""

    async def start(self) -> None:
        """Nothing to start."""

    async def stop(self) -> None:
        """Nothing to stop."""

    def health(self) -> Health:
        return Health(state="ready")

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        self.running += 1
        try:
            text = " ".join([_last(call.prompt)] * self._times)
            stop = call.prompt.fields.get("stop") or ()
            for one in (stop,) if isinstance(stop, str) else stop:
                text = text.partition(one)[0]
            tokens = re.findall(r"\s*\S+\s*$|\s*\S+|\s+", text)
            read = sum(len(str(message.get("content") or "").split()) for message in call.prompt.messages)
            kept = tokens[: call.prompt.bound]
            for count, token in enumerate(kept, start=1):
                await asyncio.sleep(0.001)
                logprobs = (
                    {"content": [{"token": token, "logprob": 0.0}]} if call.prompt.fields.get("logprobs") else None
                )
                yield Chunk(delta={"content": token}, logprobs=logprobs, usage=Usage(prompt=read, completion=count))
            finish = "stop" if len(kept) == len(tokens) else "length"
            yield Chunk(finish=finish, usage=Usage(prompt=read, completion=len(kept)))
        finally:
            self.running -= 1


def _last(prompt: Prompt) -> str:
    """The text of the user's last message."""
    content = next((one.get("content") for one in reversed(prompt.messages) if one["role"] == "user"), None)
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(str(part.get("text", "")) for part in parts)


def _command(settings: Echo, context: LaunchContext) -> str:  # noqa: ARG001 - it launches nothing
    return "(no process) echoes prompts"


def _build(settings: Echo, name: str, context: LaunchContext) -> EchoEngine:  # noqa: ARG001 - it launches nothing
    return EchoEngine(settings.times)


ECHO: EngineRow[Echo] = EngineRow(settings=Echo, title="Echo", command=_command, build=_build)
