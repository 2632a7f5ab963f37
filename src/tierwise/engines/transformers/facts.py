"""What the worker reports of itself once it is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping


async def facts(url: str) -> Mapping[str, str]:
    """What the worker at a URL is."""
    async with aiohttp.ClientSession() as client, client.get(f"{url}/facts") as response:
        return msgspec.json.decode(await response.read(), type=dict[str, str])
