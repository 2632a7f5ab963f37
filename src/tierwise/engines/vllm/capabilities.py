"""Capabilities of vLLM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.vllm.settings import Vllm


def capabilities(settings: Vllm) -> Capabilities:
    """As measured with vLLM 0.32.0 on the CPU, updated by the last probe of the server at its URL."""
    without_parser = None if settings.remote else False  # needed for tools; unknown for a server at a URL
    known = Capabilities(
        logprobs_with_tools=True if settings.tool_parser else without_parser,
        n=True,
        continues=True,  # vLLM 0.32.0, entrypoints/openai/chat_completion/protocol.py (continue_final_message)
        thinking_end=settings.dialect.thinking_tokens is not None,
        seed=True,
    )
    return known.updated(remembered_capabilities(settings.remote))
