"""Recorded candidates, and the JSONL file that stores them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.spec.files import decode_json_lines, read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from tierwise.spec.call import Call, Pass


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded pass: a line of a recording."""

    prompt: str
    """Digest of its conversation; see `prompt_digest`."""
    draw: int = 0
    bound: int | None = None
    """Maximum completion tokens of the pass; None if only the context limited it."""
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
        """Whether it equals a pass with this limit: it ended by itself, or was not cut earlier."""
        return self.finish != "length" or self.bound is None or (bound is not None and bound <= self.bound)


def prompt_digest(call: Call) -> str:
    """Identifies a conversation and the fields of its request; equal on every machine.

    The limit on tokens is not part of it: a shorter answer is the beginning of a longer one, and a budget lowers the
    limit from pass to pass.
    """
    fields = call.prompt.without(*_BOUNDS).fields
    asked = [[dict(message) for message in call.prompt.messages], dict(fields), call.role]
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()[:24]


_BOUNDS = ("max_tokens", "max_completion_tokens")


def record(done: Pass) -> Candidate:
    """The candidate of a finished pass."""
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
        SpecError: it cannot be parsed; names file and lines.
    """
    return decode_json_lines(read_bytes(path, "recording"), Candidate, str(path))
