"""Facts that the worker reports once it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


async def facts(url: str) -> Mapping[str, str]:
    """The facts of the worker at a URL."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/facts") as response:
        return msgspec.json.decode(await response.read(), type=dict[str, str])
