"""What a request to vLLM can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.vllm.settings import Vllm


def capabilities(settings: Vllm) -> Capabilities:
    """As run with vLLM 0.32.0 on the CPU, then what a probe of the server at its URL saw."""
    without_parser = None if settings.remote else False  # it refuses tools then; of a server at a URL we cannot know
    known = Capabilities(
        logprobs_with_tools=True if settings.tool_parser else without_parser,
        n=True,
        thinking_end=settings.dialect.thinking_tokens is not None,
        seed=True,
    )
    return known.updated(remembered_capabilities(settings.remote))
