"""Facts that SGLang reports once it is ready."""

from __future__ import annotations

from typing import Any

import aiohttp
import msgspec

from tierwise.engines.within import within

_SECONDS = 5.0
_NAMES = {
    "version": "version",
    "device": "device",
    "dtype": "dtype",
    "quantization": "quantization",
    "kv_cache_dtype": "kv_cache_dtype",
    "attention": "attention_backend",
    "kernels": "sampling_backend",
    "kv_cache_tokens": "max_total_num_tokens",
}
"""Names of facts, and keys of `/server_info` (SGLang 0.5.23, srt/entrypoints/http_server.py)."""


async def facts(url: str) -> dict[str, str]:
    """The facts of the SGLang at a URL; empty if it does not report them."""
    try:
        async with (
            aiohttp.ClientSession() as client,
            within(_SECONDS, client, f"{url}/server_info") as response,
        ):
            found = msgspec.json.decode(await response.read(), type=dict[str, Any])
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return {}
    return {ours: str(found[key]) for ours, key in _NAMES.items() if found.get(key) not in (None, "")}
