"""Which llama.cpp is on this machine."""

from __future__ import annotations

import shutil
from importlib import metadata
from typing import TYPE_CHECKING

from tierwise.engines.row import Component

if TYPE_CHECKING:
    from collections.abc import Iterator


def components() -> Iterator[Component]:
    """The embedded one, and a `llama-server` on PATH."""
    try:
        yield Component(name="llama.cpp, embedded", seen=f"xllamacpp {metadata.version('xllamacpp')}")
    except metadata.PackageNotFoundError:
        advice = "pip install 'tierwise[llama]', or name a server under `binary` or with engine http"
        yield Component(name="llama.cpp, embedded", seen="not installed", is_missing=True, advice=advice)
    if server := shutil.which("llama-server"):
        yield Component(name="llama-server", seen=server)
    else:
        advice = "only wanted where a deployment names a `binary`, for example a GPU build"
        yield Component(name="llama-server", seen="not on PATH", is_missing=True, advice=advice)
