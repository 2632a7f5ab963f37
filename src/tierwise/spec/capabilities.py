"""Capabilities in which servers differ and that a policy must know before it sends a request."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a deployment supports. None means unknown: a policy tries it, and a failure is a failed pass."""

    tools: bool | None = None
    """Whether it shows the request's tools to the model."""
    logprobs_with_tools: bool | None = None
    """Whether a streamed request may combine log-probabilities with tools."""
    n: bool | None = None
    """Whether one request can return several choices."""
    thinking_end: bool | None = None
    """Whether thinking can be capped at a number of tokens."""
    thinking_control: bool | None = None
    """Whether the thinking of a running pass can be ended from outside."""
    continues: bool | None = None
    """Whether it continues an assistant message, with its thinking, that ends the conversation."""
    seed: bool | None = None
    """Whether the same seed gives the same draw."""

    def updated(self, seen: Capabilities) -> Capabilities:
        """These, with what `seen` knows in their place."""
        return replace(self, **{name: value for name, value in asdict(seen).items() if value is not None})
