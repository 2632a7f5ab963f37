"""Facts that vLLM reports in its log and at its URL."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from tierwise.engines.within import within

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_START = " tierwise starts "
_SECONDS = 5.0  # for its page
_MOST_BYTES = 4 * 1024 * 1024  # of the log; a start writes a few hundred lines

_FACTS = {
    "architecture": re.compile(r"Resolved architecture: (\S+)"),
    "device": re.compile(r"\bdevice_config=([\w:.-]+)"),
    "dtype": re.compile(r"\bdtype=torch\.(\w+)"),
    "quantization": re.compile(r"\bquantization=(?!None)([\w-]+)"),
    "kv_cache_dtype": re.compile(r"\bkv_cache_dtype=([\w-]+)"),
    "attention": re.compile(r"Using (?:AttentionBackendEnum\.)?([A-Z][A-Z0-9_]+)(?: attention)? backend"),
    "kv_cache_tokens": re.compile(r"KV cache size: ([\d,]+) tokens"),
    "model_runner": re.compile(r"Initializing a (V\d) LLM engine|using the (V\d) model runner"),
}
"""Lines of vLLM 0.32.0; the last match counts. On the CPU, it names an attention backend only for MLA models."""


async def facts(log: Path, url: str) -> dict[str, str]:
    """The facts of the vLLM at a URL: its version from the server, the rest from the log since its last start."""
    return {**await _version(url), **facts_in(await asyncio.to_thread(_last_start, log))}


def facts_in(lines: Iterable[str]) -> dict[str, str]:
    """The facts in the log lines of a start."""
    found = {}
    for line in lines:
        for name, pattern in _FACTS.items():
            if match := pattern.search(line):
                found[name] = next(filter(None, match.groups())).replace(",", "")
    return found


async def _version(url: str) -> dict[str, str]:
    try:
        async with (
            aiohttp.ClientSession() as client,
            within(_SECONDS, client, f"{url}/version") as response,
        ):
            return msgspec.json.decode(await response.read(), type=dict[str, str])
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError):
        return {}


def _last_start(log: Path) -> list[str]:
    """The log lines since the last start; the log may be long, and its beginning may be missing."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _MOST_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return text.rpartition(_START)[2].splitlines()
