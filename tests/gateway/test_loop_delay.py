"""The delay of the event loop is measured while it is busy."""

from __future__ import annotations

import asyncio
import time

from tierwise.gateway.loop_delay import INTERVAL_SECONDS, LoopDelay
from tierwise.gateway.metrics import Metrics


def test_a_loop_that_is_busy_is_late_by_as_much():
    async def run():
        seen = []
        with LoopDelay(seen.append):
            time.sleep(INTERVAL_SECONDS + 0.3)  # noqa: ASYNC251 - a busy loop
            await asyncio.sleep(0.01)
        await asyncio.sleep(2 * INTERVAL_SECONDS)
        return seen

    (late,) = asyncio.run(run())
    assert 0.29 < late < 5


def test_the_delay_is_a_histogram_of_the_metrics_page():
    metrics = Metrics({})
    metrics.loop_delay(0.03)
    page = metrics.text().decode()
    assert 'tierwise_event_loop_delay_seconds_bucket{le="0.025"} 0.0' in page
    assert 'tierwise_event_loop_delay_seconds_bucket{le="0.05"} 1.0' in page
