"""Capabilities of the Transformers worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.transformers.settings import Transformers


def capabilities(settings: Transformers) -> Capabilities:  # noqa: ARG001 - no setting changes them
    """The worker rejects `n` and tools (`worker/chat.py`), limits thinking, and uses the request's seed."""
    return Capabilities(logprobs_with_tools=False, n=False, thinking_end=True, seed=True)
