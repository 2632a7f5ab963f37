"""Request levers that a tier may set as defaults."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Named as on the OpenAI wire; the client's values take precedence."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=5)] | None = None
    """0 is greedy."""
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Nucleus sampling: the probability mass to draw from."""
    top_k: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    """The number of most likely tokens to draw from."""
    min_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Minimum probability relative to the most likely token."""
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    """Penalty on tokens that have appeared."""
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, le=2)] | None = None
    """Penalty on tokens in proportion to how often they have appeared."""
    repetition_penalty: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Multiplicative penalty, as in vLLM and SGLang."""
    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Maximum completion tokens of one pass, including thinking."""
    stop: str | list[str] | None = None
    """Stop strings."""
    reasoning_effort: str | None = None
    """How much to think, as named by the model family."""
    thinking: bool | None = None
    """Whether to think before answering, by the switch of the checkpoint's family. Some families think by default."""
    thinking_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Maximum thinking tokens, on engines that can end thinking."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Experts per token, on the engine that can change them per request (transformers)."""
    priority: Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)] | None = None
    """Higher is served earlier, on engines with priorities."""
    chat_template_kwargs: dict[str, Any] | None = None
    """Arguments of the chat template, such as the thinking switch of most families (`enable_thinking`, `thinking`)."""
    extra: dict[str, Any] = {}
    """Any other field of the engine's API, sent unchanged."""

    def fields(self) -> dict[str, Any]:
        """The set fields, named as on the wire."""
        named = {name: getattr(self, name) for name in self.__struct_fields__ if name != "extra"}
        return {**{name: value for name, value in named.items() if value is not None}, **self.extra}
