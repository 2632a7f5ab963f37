"""Capabilities of llama.cpp."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.llama_cpp.settings import LlamaCpp


def capabilities(settings: LlamaCpp) -> Capabilities:  # noqa: ARG001 - no setting changes them
    """As measured with llama.cpp b11549."""
    return Capabilities(
        logprobs_with_tools=False,  # "logprobs is not supported with tools + stream"
        n=False,  # it counts the tokens of one choice only
        thinking_end=True,
        seed=True,
    )
