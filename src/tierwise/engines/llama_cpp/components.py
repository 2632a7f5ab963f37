"""The installed llama.cpp."""

from __future__ import annotations

import shutil
from importlib import metadata
from typing import TYPE_CHECKING

from tierwise.engines.row import Component

if TYPE_CHECKING:
    from collections.abc import Iterator


def components() -> Iterator[Component]:
    """The embedded llama.cpp, and a `llama-server` on PATH."""
    try:
        yield Component(name="llama.cpp, embedded", seen=f"xllamacpp {metadata.version('xllamacpp')}")
    except metadata.PackageNotFoundError:
        advice = "pip install 'tierwise[llama]', or use a server with `binary` or engine http"
        yield Component(name="llama.cpp, embedded", seen="not installed", is_missing=True, advice=advice)
    if server := shutil.which("llama-server"):
        yield Component(name="llama-server", seen=server)
    else:
        advice = "only needed if a deployment sets `binary`, for example to a GPU build"
        yield Component(name="llama-server", seen="not on PATH", is_missing=True, advice=advice)
