"""Capabilities of SGLang."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.sglang.settings import Sglang


def capabilities(settings: Sglang) -> Capabilities:
    """From its source code (0.5.23, not run), updated by the last probe of the server at its URL."""
    known = Capabilities(continues=True, thinking_end=settings.dialect.thinking_tokens is not None)
    return known.updated(remembered_capabilities(settings.remote))
