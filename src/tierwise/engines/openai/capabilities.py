"""Capabilities of a server that is already running."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.openai.settings import DIALECT
from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.openai.settings import Http


def capabilities(settings: Http) -> Capabilities:
    """The results of the last probe; without one, only missing request fields are known."""
    known = Capabilities(thinking_end=DIALECT.thinking_tokens is not None)
    return known.updated(remembered_capabilities(settings.remote))
