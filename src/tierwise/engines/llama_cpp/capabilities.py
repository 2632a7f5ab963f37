"""What a request to llama.cpp can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.llama_cpp.settings import LlamaCpp

_SECONDS = 5.0


class _TemplateCapabilities(msgspec.Struct):
    supports_tools: bool | None = None
    """Whether the template renders `tools`. llama.cpp finds out by rendering it (common/jinja/caps.cpp)."""


class _Properties(msgspec.Struct):
    """The part of `GET /props` that is read."""

    chat_template_caps: _TemplateCapabilities = msgspec.field(default_factory=_TemplateCapabilities)


def capabilities(settings: LlamaCpp) -> Capabilities:  # noqa: ARG001 - no setting changes them
    """Measured with llama.cpp b11549."""
    return Capabilities(
        logprobs_with_tools=False,  # "logprobs is not supported with tools + stream"
        n=False,  # it counts the tokens of one choice only
        thinking_end=True,
        thinking_control=True,
        continues=True,
        seed=True,
    )


async def loaded_capabilities(url: str) -> Capabilities:
    """What depends on the loaded chat template; all None if the server at `url` does not report it."""
    import aiohttp  # noqa: PLC0415 - other users of this module start no engine

    from tierwise.engines.within import within  # noqa: PLC0415 - as above

    try:
        async with (
            aiohttp.ClientSession() as session,
            within(_SECONDS, session, f"{url}/props") as response,
        ):
            properties = msgspec.json.decode(await response.read(), type=_Properties)
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return Capabilities()
    return Capabilities(tools=properties.chat_template_caps.supports_tools)
