"""What a request to a server that runs already can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.openai.settings import DIALECT
from tierwise.engines.probe.findings import remembered_capabilities
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from tierwise.engines.openai.settings import Http


def capabilities(settings: Http) -> Capabilities:
    """What the last probe of it saw; without one, only what there is no field for is known."""
    known = Capabilities(thinking_end=DIALECT.thinking_tokens is not None)
    return known.updated(remembered_capabilities(settings.remote))
