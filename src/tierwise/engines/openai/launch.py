"""The engine of a server that is already running. Launches nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.probe.findings import remembered_thinking_off
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.engines.openai.settings import Http
    from tierwise.engines.settings import LaunchContext


def command(settings: Http, context: LaunchContext) -> str:  # noqa: ARG001 - it runs elsewhere
    """The server's URL."""
    return shown(settings.url)


def shown(url: str) -> str:
    """The text shown instead of a command line for a server that is already running."""
    return f"(runs already) {url}"


def build(settings: Http, name: str, context: LaunchContext) -> HttpEngine:  # noqa: ARG001 - it runs elsewhere
    """The engine.

    Raises:
        SpecError: its API key is not set.
    """
    client = ChatClient(
        name,
        settings.model,
        api_key=api_key(name, settings.api_key_env, settings.url),
        extras=settings.extra,
        drop=settings.drop,
        silent_seconds=settings.silent_seconds,
        proxy=proxy_to(settings.url),
        thinking_off=remembered_thinking_off(settings.remote),
    )
    return HttpEngine(settings.url, client)


def api_key(deployment: str, variable: str | None, url: str) -> str | None:
    """The API key from an environment variable; None if no variable is named.

    Raises:
        SpecError: the variable is not set.
    """
    if variable is None:
        return None
    if key := os.environ.get(variable, "").strip():
        return key
    raise SpecError(
        f"the environment variable {variable} is empty; it must hold the key of {url}",
        field=f"deployments.{deployment}.api_key_env",
    )
