"""What engines count themselves, under one set of names: their metrics pages in Prometheus' text form, and their logs.

Each engine has a table of its own words. Nothing here runs on the way of a request: a page is looked at when somebody
asks for ours, and not again for some seconds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp

EVERY_SECONDS = 5.0
"""No page is looked at more often."""

_SECONDS = 1.0  # a busy engine may answer late; then it has no figures this time, and ours is not late for it
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One thing that engines count, in our words."""

    kind: Literal["gauge", "counter"]
    about: str
    over: Literal["sum", "max", "min"] = "sum"
    """How the values of several ranks become one."""


MEASURES: Mapping[str, Measure] = {
    "requests_running": Measure(kind="gauge", about="Requests that the engine works on."),
    "requests_waiting": Measure(kind="gauge", about="Requests in the engine's own queue."),
    "kv_cache_use": Measure(kind="gauge", about="Share of the engine's cache that is in use.", over="max"),
    "prefix_cache_queries": Measure(kind="counter", about="Prompt tokens that the engine looked up in its cache."),
    "prefix_cache_hits": Measure(kind="counter", about="Prompt tokens that it found there."),
    "preemptions": Measure(kind="counter", about="Requests that the engine put back for want of cache."),
    "rejections": Measure(kind="counter", about="Requests that the engine turned away because its queue was full."),
    "drafts": Measure(kind="counter", about="Times that the engine guessed tokens ahead."),
    "drafted_tokens": Measure(kind="counter", about="Tokens that it guessed."),
    "accepted_tokens": Measure(kind="counter", about="Guessed tokens that were right."),
    "expert_balancedness": Measure(
        kind="gauge", about="Mean load of the ranks over the greatest, 1 where all work alike.", over="min"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one engine calls them."""

    samples: Mapping[str, tuple[str, ...]]
    """For each measure the samples of its page that add up to it."""
    lines: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """For each measure that only the log tells: the line, with the value as its group `value`."""


VLLM = Table(
    samples={
        "requests_running": ("vllm:num_requests_running",),
        "requests_waiting": ("vllm:num_requests_waiting",),
        "kv_cache_use": ("vllm:kv_cache_usage_perc",),
        "prefix_cache_queries": ("vllm:prefix_cache_queries_total",),
        "prefix_cache_hits": ("vllm:prefix_cache_hits_total",),
        "preemptions": ("vllm:num_preemptions_total",),
        "rejections": ("vllm:admission_rejections_total",),
        "drafts": ("vllm:spec_decode_num_drafts_total",),
        "drafted_tokens": ("vllm:spec_decode_num_draft_tokens_total",),
        "accepted_tokens": ("vllm:spec_decode_num_accepted_tokens_total",),
    },
    lines={"expert_balancedness": re.compile(r"EPLB step: \d+ .*balancedness=(?P<value>[\d.]+)")},
)
"""vLLM 0.32.0: v1/metrics/loggers.py, v1/spec_decode/metrics.py, distributed/eplb/eplb_state.py."""

SGLANG = Table(
    samples={
        "requests_running": ("sglang:num_running_reqs",),
        "requests_waiting": ("sglang:num_queue_reqs",),
        "kv_cache_use": ("sglang:token_usage",),
        "prefix_cache_queries": ("sglang:prompt_tokens_total",),
        "prefix_cache_hits": ("sglang:cached_tokens_total",),
        "preemptions": ("sglang:num_retracted_requests_total",),
        "rejections": ("sglang:num_aborted_requests_total",),
        "expert_balancedness": ("sglang:eplb_balancedness",),
    }
)
"""SGLang 0.5.23, srt/observability, with `--enable-metrics`. Of speculation it tells rates and no counts."""

LLAMA_CPP = Table(
    samples={
        "requests_running": ("llamacpp:requests_processing",),
        "requests_waiting": ("llamacpp:requests_deferred",),
        "prefix_cache_queries": ("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
        "prefix_cache_hits": ("llamacpp:prompt_tokens_cached_total",),
        "drafts": ("llamacpp:spec_decode_num_drafts_total",),
        "drafted_tokens": ("llamacpp:spec_decode_num_draft_tokens_total",),
        "accepted_tokens": ("llamacpp:spec_decode_num_accepted_tokens_total",),
    }
)
"""llama.cpp b11549, with `--metrics`. Its `prompt_tokens_total` leaves cached tokens out."""

TRANSFORMERS = Table(
    samples={
        "requests_running": ("tierwise_worker_requests_running",),
        "requests_waiting": ("tierwise_worker_requests_waiting",),
        "prefix_cache_queries": ("tierwise_worker_prompt_tokens_total",),
        "prefix_cache_hits": ("tierwise_worker_prompt_tokens_cached_total",),
    }
)
"""Our own worker: transformers/metrics.py."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Where an engine shows what it counts."""

    url: str
    table: Table
    words: Callable[[], Sequence[str]] = tuple
    """The last lines of its log."""


_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{.*\})? (\S+)")


def read(text: str, table: Table, words: Sequence[str] = ()) -> dict[str, float]:
    """The measures that a page and the last lines of a log tell; what they do not tell is left out.

    Args:
        text: of the page, in Prometheus' text form. A line that is none is skipped.
        table: of the engine.
        words: of its log, the latest last.
    """
    wanted = {sample for samples in table.samples.values() for sample in samples}
    told: dict[str, list[float]] = {}
    for line in text.splitlines():
        if (match := _SAMPLE.match(line)) and match[1] in wanted and (value := _number(match[2])) is not None:
            told.setdefault(match[1], []).append(value)
    found = {}
    for name, samples in table.samples.items():
        if values := [value for sample in samples for value in told.get(sample, ())]:
            found[name] = _over(name, values)
    for name, pattern in table.lines.items():
        matches = (pattern.search(line) for line in reversed(words))
        if match := next(filter(None, matches), None):
            found[name] = float(match["value"])
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _over(name: str, values: Sequence[float]) -> float:
    match MEASURES[name].over:
        case "max":
            return max(values)
        case "min":
            return min(values)
        case _:
            return sum(values)


class Scraper:
    """Looks at the pages of several deployments, and remembers what they said.

    Args:
        every: seconds before a page is looked at again.
        clock: seconds.
    """

    def __init__(self, *, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.told: dict[str, Mapping[str, float]] = {}
        """The measures of each deployment, as they were told last; none of one that did not answer then."""
        self._every = every
        self._clock = clock
        self._looked: dict[str, float] = {}

    async def look(self, pages: Mapping[str, Page]) -> None:
        """Read those pages, all at once, that were not read lately; takes a second at the most."""
        for name in self.told.keys() - pages.keys():
            del self.told[name]
        now = self._clock()
        due = [name for name in pages if now - self._looked.get(name, float("-inf")) >= self._every]
        if not due:
            return
        self._looked.update(dict.fromkeys(due, now))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as client:
            values = await asyncio.gather(*(_look(client, pages[name]) for name in due))
        self.told.update(zip(due, values, strict=True))


async def _look(client: aiohttp.ClientSession, page: Page) -> dict[str, float]:
    try:
        async with client.get(page.url) as response:
            if response.status != 200:
                return {}
            body = await response.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, OSError):
        return {}
    return read(body.decode(errors="replace"), page.table, page.words())
