"""Metrics of engines under common names, read from their metrics pages (Prometheus text format) and their logs.

Each engine maps its own names to these (`metrics.py` in its package). Nothing here runs while a request is answered: an
engine's page is read when Tierwise's own metrics page is read, and then not again for some seconds.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import aiohttp

from tierwise.engines.within import within

EVERY_SECONDS = 5.0
"""Minimum interval between two reads of a page."""

_SECONDS = 1.0  # timeout; a busy engine may answer late, and must not delay Tierwise's own page
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric that engines report."""

    kind: Literal["gauge", "counter"]
    about: str
    over: Literal["sum", "max", "min"] = "sum"
    """How the values of several ranks are combined."""


METRICS: Mapping[str, Metric] = {
    "requests_running": Metric(kind="gauge", about="Requests running in the engine."),
    "requests_waiting": Metric(kind="gauge", about="Requests waiting for the engine to run them."),
    "kv_cache_use": Metric(kind="gauge", about="Fraction of the engine's KV cache in use, 0 to 1.", over="max"),
    "prefix_cache_queries": Metric(kind="counter", about="Prompt tokens looked up in the engine's prefix cache."),
    "prefix_cache_hits": Metric(kind="counter", about="Prompt tokens found in the engine's prefix cache."),
    "preemptions": Metric(kind="counter", about="Requests preempted because the KV cache was full."),
    "rejections": Metric(kind="counter", about="Requests rejected because the engine's queue was full."),
    "drafts": Metric(kind="counter", about="Speculative drafts."),
    "drafted_tokens": Metric(kind="counter", about="Draft tokens proposed by speculative decoding."),
    "accepted_tokens": Metric(kind="counter", about="Draft tokens accepted."),
    "expert_balancedness": Metric(
        kind="gauge",
        about="Mean load of expert-parallel ranks over the maximum; 1 means balanced.",
        over="min",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNames:
    """One engine's names for the metrics."""

    samples: Mapping[str, tuple[str, ...]]
    """For each metric, the samples on the page that are combined into it."""
    lines: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """For each metric that is only in the log: a pattern of the line, with the value as group `value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPage:
    """Where an engine publishes its metrics."""

    url: str
    names: MetricNames
    log_tail: Callable[[], Sequence[str]] = tuple
    """The last lines of its log."""
    waiting: Callable[[], int] = int
    """Number of passes that wait in Tierwise for a slot of the engine, which its own page does not count."""


_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{.*\})? (\S+)")


def read(text: str, names: MetricNames, log_tail: Sequence[str] = ()) -> dict[str, float]:
    """The metrics on a page and in the last lines of a log. Metrics that are in neither are omitted.

    Args:
        text: the page in the Prometheus text format; other lines are skipped.
        names: the engine's names.
        log_tail: the last lines of its log, latest last.
    """
    wanted = {sample for samples in names.samples.values() for sample in samples}
    seen: dict[str, list[float]] = {}
    for line in text.splitlines():
        if (match := _SAMPLE.match(line)) and match[1] in wanted and (value := _number(match[2])) is not None:
            seen.setdefault(match[1], []).append(value)
    found = {}
    for name, samples in names.samples.items():
        if values := [value for sample in samples for value in seen.get(sample, ())]:
            found[name] = _combined(name, values)
    for name, pattern in names.lines.items():
        matches = (pattern.search(line) for line in reversed(log_tail))
        if match := next(filter(None, matches), None):
            found[name] = float(match["value"])
    return found


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _combined(name: str, values: Sequence[float]) -> float:
    match METRICS[name].over:
        case "max":
            return max(values)
        case "min":
            return min(values)
        case _:
            return sum(values)


class Scraper:
    """Reads the metrics of several deployments and caches them.

    Args:
        every: minimum interval between two reads of a page, in seconds.
        clock: returns monotonic seconds.
    """

    def __init__(self, *, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.reported: dict[str, Mapping[str, float]] = {}
        """The metrics of each deployment at the last read; empty if it did not answer."""
        self._every = every
        self._clock = clock
        self._read_at: dict[str, float] = {}

    async def scrape(self, pages: Mapping[str, MetricsPage]) -> None:
        """Read all pages whose interval has elapsed, concurrently; takes at most one second."""
        for name in self.reported.keys() - pages.keys():
            del self.reported[name]
        now = self._clock()
        due = [name for name in pages if now - self._read_at.get(name, float("-inf")) >= self._every]
        if not due:
            return
        self._read_at.update(dict.fromkeys(due, now))
        async with aiohttp.ClientSession() as client:
            values = await asyncio.gather(*(_scraped(client, pages[name]) for name in due))
        self.reported.update(zip(due, (found or {} for found in values), strict=True))


async def scrape_now(pages: Mapping[str, MetricsPage]) -> dict[str, dict[str, float] | None]:
    """What engines say at this moment, read concurrently from their pages; takes at most one second.

    Returns:
        The metrics of each page: empty where the server has no such page, None where it did not answer in time.
    """
    if not pages:
        return {}
    async with aiohttp.ClientSession() as client:
        values = await asyncio.gather(*(_scraped(client, page) for page in pages.values()))
    return dict(zip(pages, values, strict=True))


async def _scraped(client: aiohttp.ClientSession, page: MetricsPage) -> dict[str, float] | None:
    """The metrics of a page; empty where there is none, None if there was no answer in time."""
    try:
        async with within(_SECONDS, client, page.url) as response:
            if response.status != 200:
                return {}
            body = await response.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
    found = read(body.decode(errors="replace"), page.names, page.log_tail())
    if waiting := page.waiting():
        found["requests_waiting"] = found.get("requests_waiting", 0) + waiting
    return found
