"""The response to one request of a probe, parsed without assuming that it is well-formed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from tierwise.engines.openai.failure import read_failure


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """A response of the probed server."""

    status: int
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON object; empty if it is none."""
        return mapping(self.text)

    @property
    def choices(self) -> list[dict[str, Any]]:
        found = self.body.get("choices")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []

    @property
    def message(self) -> dict[str, Any]:
        found = self.choices[0].get("message") if self.choices else None
        return found if isinstance(found, dict) else {}

    @property
    def thought(self) -> str:
        """Thinking in a separate field."""
        return str(self.message.get("reasoning_content") or self.message.get("reasoning") or "")

    @property
    def said(self) -> str:
        """Thinking and answer as one text."""
        return f"{self.thought}{self.message.get('content') or ''}"

    @property
    def finish(self) -> str:
        return str(self.choices[0].get("finish_reason")) if self.choices else ""

    def counted(self, *path: str) -> int | None:
        """A number under `usage`; None if it is missing."""
        found: Any = self.body.get("usage")
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, int) else None

    def why(self) -> str:
        """Status and message of an error."""
        return f"{self.status}: {read_failure(self.status, self.text.encode(), {}).message[:160]}"


def mapping(text: str) -> dict[str, Any]:
    """Parse a JSON object; empty if the text is not one."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def first_choice(event: str) -> dict[str, Any]:
    """The first choice in an event of a stream; empty if it has none."""
    choices = mapping(event).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def speaks(event: str) -> bool:
    """Whether an event of a stream contains part of an answer or of thinking."""
    delta = first_choice(event).get("delta")
    return isinstance(delta, dict) and any(delta.get(name) for name in ("content", "reasoning_content", "reasoning"))


def context_of(about: Mapping[str, Any], props: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    """The context window in tokens, as reported by vLLM, SGLang, llama.cpp or TGI."""
    settings = props.get("default_generation_settings")
    told = about.get("max_model_len"), settings.get("n_ctx") if isinstance(settings, dict) else None
    return next((one for one in (*told, info.get("max_total_tokens")) if isinstance(one, int)), None)


async def stream_events(response: aiohttp.ClientResponse) -> AsyncGenerator[str]:
    """The data of the events of a stream."""
    async for line in response.content:
        if line.startswith(b"data:"):
            yield line[5:].strip().decode(errors="replace")
