"""What a request to SGLang can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.sglang.settings import Sglang


def capabilities(settings: Sglang) -> Capabilities:
    """What its source says (0.5.23; it was not run), then what a probe of the server at its URL saw."""
    known = Capabilities(thinking_end=settings.dialect.thinking_tokens is not None)
    return known.updated(remembered_capabilities(settings.remote))
