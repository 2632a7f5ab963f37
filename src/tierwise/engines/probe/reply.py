"""What a server answered to one request of a probe, read without trusting any of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from tierwise.engines.openai.wire import read_failure


@dataclass(frozen=True, slots=True)
class ProbeReply:
    """What came back."""

    status: int
    text: str

    @property
    def body(self) -> dict[str, Any]:
        """Its JSON; empty where it is none."""
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
        """Thinking that came in a field of its own."""
        return str(self.message.get("reasoning_content") or self.message.get("reasoning") or "")

    @property
    def said(self) -> str:
        """Answer and thinking, as one text."""
        return f"{self.thought}{self.message.get('content') or ''}"

    @property
    def finish(self) -> str:
        return str(self.choices[0].get("finish_reason")) if self.choices else ""

    def counted(self, *path: str) -> int | None:
        """A number under `usage`; None where it is not told."""
        found: Any = self.body.get("usage")
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found if isinstance(found, int) else None

    def why(self) -> str:
        """Its own words for a failure."""
        return f"{self.status}: {read_failure(self.status, self.text.encode(), {}).message[:160]}"


def mapping(text: str) -> dict[str, Any]:
    """A JSON object; empty where the text is none."""
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def first_choice(event: str) -> dict[str, Any]:
    """The first choice in an event of a stream; empty where it has none."""
    choices = mapping(event).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def speaks(event: str) -> bool:
    """Whether an event of a stream brings a piece of an answer, or of thinking."""
    delta = first_choice(event).get("delta")
    return isinstance(delta, dict) and any(delta.get(name) for name in ("content", "reasoning_content", "reasoning"))


def context_of(about: Mapping[str, Any], props: Mapping[str, Any], info: Mapping[str, Any]) -> int | None:
    """Tokens that one request may hold, as vLLM and SGLang, llama.cpp, or TGI tell it."""
    settings = props.get("default_generation_settings")
    told = about.get("max_model_len"), settings.get("n_ctx") if isinstance(settings, dict) else None
    return next((one for one in (*told, info.get("max_total_tokens")) if isinstance(one, int)), None)
