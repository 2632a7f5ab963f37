"""A health check ends in time, and a cancellation is never taken for its timeout."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tierwise.engines.process.health_check import HealthCheck, check_health, health_client


@pytest.fixture
def silent():
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/health"


async def check(url: str, seconds: float) -> HealthCheck:
    async with health_client() as client:
        return await check_health(client, url, seconds)


def test_a_server_that_never_answers_is_not_healthy_and_refuses_nothing(silent):
    assert asyncio.run(check(silent, 0.05)) == HealthCheck()


def test_a_check_that_is_cancelled_while_its_time_runs_out_is_cancelled(silent):
    """As when a machine stood still: both are due in one step of the loop. `Supervisor.stop` depends on it."""

    async def cancel(task: asyncio.Task[HealthCheck]) -> None:
        task.cancel()
        await asyncio.wait({task})

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(check(silent, 0.5))
        runner.run(asyncio.sleep(0.2))
        assert not task.done()
        time.sleep(0.5)
        runner.run(cancel(task))
        assert task.cancelled()
