"""What a request to a server that runs already can ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.probe.findings import remembered_capabilities

if TYPE_CHECKING:
    from tierwise.engines.openai.settings import Http
    from tierwise.spec.capabilities import Capabilities


def capabilities(settings: Http) -> Capabilities:
    """What the last probe of it saw; nothing where there was none."""
    return remembered_capabilities(settings.remote)
