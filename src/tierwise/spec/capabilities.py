"""What a deployment can do with a request, where servers differ and a policy has to know before it asks."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """None means not known. A policy treats what is not known as possible, and what fails as a failed pass."""

    logprobs_with_tools: bool | None = None
    """Whether a streamed request may ask for log-probabilities and offer tools."""
    n: bool | None = None
    """Whether one request can bring several choices."""
    thinking_end: bool | None = None
    """Whether thinking can be ended after a number of tokens."""
    seed: bool | None = None
    """Whether the same seed brings the same draw."""

    def updated(self, seen: Capabilities) -> Capabilities:
        """These, with what `seen` knows in their place."""
        return replace(self, **{name: value for name, value in asdict(seen).items() if value is not None})
