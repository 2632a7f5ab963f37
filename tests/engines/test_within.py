"""Requests end in time, and a cancellation is never taken for the time limit."""

from __future__ import annotations

import asyncio
import socket
import time
from importlib import import_module

import aiohttp
import pytest

from tierwise.bench import endpoint
from tierwise.engines import metrics
from tierwise.engines.metrics import MetricNames, MetricsPage, Scraper
from tierwise.engines.probe.probe import Probe
from tierwise.engines.probe.reach import find_base
from tierwise.engines.within import within

capabilities = import_module("tierwise.engines.llama_cpp.capabilities")  # its package has a function of this name
status = import_module("tierwise.cli.status")
LIMITS = (
    (endpoint, "_READY_SECONDS"),
    (endpoint, "DEPLOYMENTS_TIMEOUT"),
    (status, "SECONDS"),
    (metrics, "_SECONDS"),
    (capabilities, "_SECONDS"),
)


@pytest.fixture
def silent():
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


async def request(url, seconds):
    async with aiohttp.ClientSession() as session, within(seconds, session, url) as response:
        return response.status


async def find(url, seconds):
    async with aiohttp.ClientSession() as session:
        return await find_base(session, url, seconds=seconds)


async def ready(url, _):
    async with aiohttp.ClientSession() as session:
        return await endpoint.is_ready(url, session)


async def scrape(url, _):
    return await Scraper().scrape({"one": MetricsPage(url=url, names=MetricNames(samples={}))})


@pytest.mark.parametrize(
    "asks",
    [
        request,
        find,
        ready,
        scrape,
        lambda url, _: endpoint.deployments(url),
        lambda url, _: status._asked(url, ""),
        lambda url, _: capabilities.loaded_capabilities(url),
        lambda url, seconds: Probe(url, seconds=seconds).run(),
    ],
    ids=["within", "find_base", "is_ready", "metrics", "deployments", "status", "capabilities", "probe"],
)
def test_a_request_that_is_cancelled_while_its_time_runs_out_is_cancelled(silent, monkeypatch, asks):
    """As when a machine stood still: both are due in one step of the loop. Ctrl-C depends on it."""
    for module, name in LIMITS:
        monkeypatch.setattr(module, name, 0.5)

    async def cancel(task):
        task.cancel()
        await asyncio.wait({task})

    async def asked():
        return await asks(silent, 0.5)

    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(asked())
        runner.run(asyncio.sleep(0.25))
        assert not task.done()
        time.sleep(0.6)
        runner.run(cancel(task))
        assert task.cancelled()


def test_a_server_that_never_answers_is_not_waited_for(silent):
    with pytest.raises(TimeoutError):
        asyncio.run(request(silent, 0.05))
