"""Request levers that a tier may set where the client is silent."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Named as on the OpenAI wire; what the client sends always wins."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    """0 is greedy."""
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """The share of probability to draw from."""
    top_k: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    """How many tokens to draw from."""
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """The least probability, relative to the likeliest token's."""
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    """Against tokens that have appeared."""
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    """Against tokens by how often they have appeared."""
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The multiplicative kind, of vLLM and SGLang."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Completion tokens of one pass, thinking included."""
    stop: str | list[str] | None = None
    """Texts that end a completion."""
    reasoning_effort: str | None = None
    """How much to think, in the words of the model's family."""
    thinking: bool | None = None
    """Whether to think before answering; the switch of the checkpoint's family is looked up. Some think by default."""
    thinking_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Where thinking ends at the latest, on engines that can end it."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Experts for each token, on the one engine that can change them from request to request (transformers)."""
    priority: Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)] | None = None
    """Higher is served earlier, on every engine that knows priorities."""
    chat_template_kwargs: dict[str, Any] | None = None
    """What the chat template is told: the thinking switch of most families (`enable_thinking`, `thinking`)."""
    extra: dict[str, Any] = {}
    """Any other field of the engine's own, sent as it stands."""

    def fields(self) -> dict[str, Any]:
        """What is set, named as on the wire."""
        named = {name: getattr(self, name) for name in self.__struct_fields__ if name != "extra"}
        return {**{name: value for name, value in named.items() if value is not None}, **self.extra}
