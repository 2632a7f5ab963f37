"""What engines count themselves, under one set of names: their metrics pages (Prometheus' text format) and their logs.

Each engine has a table of its own names (`metrics.py` in its room). Nothing here runs while a request is answered: a
page is read when ours is read, and not again for some seconds.
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
"""No page is read more often."""

_SECONDS = 1.0  # a busy engine may answer late; then it has no figures this time, and our page is not delayed by it
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One thing that engines count."""

    kind: Literal["gauge", "counter"]
    about: str
    over: Literal["sum", "max", "min"] = "sum"
    """How the values of several ranks are combined."""


METRICS: Mapping[str, Metric] = {
    "requests_running": Metric(kind="gauge", about="Requests that the engine works on."),
    "requests_waiting": Metric(kind="gauge", about="Requests in the engine's own queue."),
    "kv_cache_use": Metric(kind="gauge", about="Share of the engine's cache that is in use.", over="max"),
    "prefix_cache_queries": Metric(kind="counter", about="Prompt tokens that the engine looked up in its cache."),
    "prefix_cache_hits": Metric(kind="counter", about="Prompt tokens that it found there."),
    "preemptions": Metric(kind="counter", about="Requests that the engine put back for lack of cache."),
    "rejections": Metric(kind="counter", about="Requests that the engine turned away because its queue was full."),
    "drafts": Metric(kind="counter", about="Times that the engine guessed tokens ahead."),
    "drafted_tokens": Metric(kind="counter", about="Tokens that it guessed."),
    "accepted_tokens": Metric(kind="counter", about="Guessed tokens that were right."),
    "expert_balancedness": Metric(
        kind="gauge", about="Mean load of the ranks over the greatest, 1 where all work alike.", over="min"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNames:
    """What one engine calls the metrics."""

    samples: Mapping[str, tuple[str, ...]]
    """For each metric the samples of its page that add up to it."""
    lines: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    """For each metric that only the log has: the line, with the value as its group `value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPage:
    """Where an engine publishes what it counts."""

    url: str
    names: MetricNames
    log_tail: Callable[[], Sequence[str]] = tuple
    """The last lines of its log."""


_SAMPLE = re.compile(r"([A-Za-z_:][\w:]*)(?:\{.*\})? (\S+)")


def read(text: str, names: MetricNames, log_tail: Sequence[str] = ()) -> dict[str, float]:
    """The metrics on a page and in the last lines of a log; what is in neither is left out.

    Args:
        text: of the page, in Prometheus' text format. A line that is not is skipped.
        names: of the engine.
        log_tail: of its log, the latest line last.
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
    """Reads the pages of several deployments, and remembers what they reported.

    Args:
        every: seconds before a page is read again.
        clock: seconds.
    """

    def __init__(self, *, every: float = EVERY_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.reported: dict[str, Mapping[str, float]] = {}
        """The metrics of each deployment as of the last reading; empty for one that did not answer then."""
        self._every = every
        self._clock = clock
        self._read_at: dict[str, float] = {}

    async def scrape(self, pages: Mapping[str, MetricsPage]) -> None:
        """Read those of the pages that were not read lately, all at once; takes at most a second."""
        for name in self.reported.keys() - pages.keys():
            del self.reported[name]
        now = self._clock()
        due = [name for name in pages if now - self._read_at.get(name, float("-inf")) >= self._every]
        if not due:
            return
        self._read_at.update(dict.fromkeys(due, now))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as client:
            values = await asyncio.gather(*(_scraped(client, pages[name]) for name in due))
        self.reported.update(zip(due, values, strict=True))


async def _scraped(client: aiohttp.ClientSession, page: MetricsPage) -> dict[str, float]:
    try:
        async with client.get(page.url) as response:
            if response.status != 200:
                return {}
            body = await response.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await response.content.read(_MOST_BYTES - len(body))):
                body += more
    except (aiohttp.ClientError, TimeoutError, OSError):
        return {}
    return read(body.decode(errors="replace"), page.names, page.log_tail())
