"""What workers ask each other by way of the supervisor."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from tierwise.gateway.added_metrics import added, families_of, page, read_families
from tierwise.spec.errors import TierwiseError
from tierwise.workers.channel import Channel
from tierwise.workers.hub import Hub

Asked = list[tuple[str, Any]]


@asynccontextmanager
async def two_workers(hub: Hub, *handlers: dict[str, Any]) -> AsyncIterator[list[Channel]]:
    tasks, ends = [], []
    for number, theirs in enumerate(handlers):
        one, other = socket.socketpair()
        end = Channel(theirs)
        tasks += [asyncio.create_task(hub.channel(number).run(one)), asyncio.create_task(end.run(other))]
        ends.append(end)
    try:
        yield ends
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def metrics(answered: int, running: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("tierwise_actions", "Actions.", ["tier"], registry=registry).labels("fast").inc(answered)
    Gauge("tierwise_actions_running", "Running.", registry=registry).set(running)
    Gauge("tierwise_deployment_up", "Up.", ["deployment"], registry=registry).labels("own").set(1)
    Gauge("tierwise_route_certified", "Holds.", ["route"], registry=registry).labels("auto").set(running % 2)
    return registry


def test_counts_are_added_and_states_are_not():
    text = page(added([families_of(metrics(3, 1)), families_of(metrics(4, 2))])).decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['tierwise_actions_total{tier="fast"}'] == "7.0"
    assert values["tierwise_actions_running"] == "3.0"
    assert values['tierwise_deployment_up{deployment="own"}'] == "1.0"
    assert values['tierwise_route_certified{route="auto"}'] == "0.0"


def test_a_question_reaches_all_others_and_one_that_does_not_answer_is_left_out():
    async def main() -> None:
        hub = Hub(lambda *_: None)
        one, other = {"ledger": lambda _: {"pending": 1}}, {"ledger": lambda body: {"pending": body}}
        async with two_workers(hub, one, other, {}) as (first, second, _):
            assert await first.ask("gather", ["ledger", 5]) == [{"pending": 5}]
            assert await second.ask("gather", ["ledger", 5]) == [{"pending": 1}]

    asyncio.run(main())


def test_the_counts_of_a_worker_that_died_stay_in_the_sum():
    async def main() -> None:
        hub = Hub(lambda *_: None)
        own = families_of(metrics(3, 1))
        async with two_workers(hub, {}, {"metrics": lambda _: families_of(metrics(4, 2))}) as (first, _):

            async def total() -> float:
                others = await first.ask("gather", ["metrics", own])
                sums = {one.name: one for one in added([own, *map(read_families, others)])}
                running = sums["tierwise_actions_running"].samples[0][2]
                return sums["tierwise_actions"].samples[0][2] + 100 * running

            assert await total() == 307
            hub.ended(1)
            assert await total() == 107

    asyncio.run(main())


def test_what_a_worker_told_stays_in_the_sum_if_nobody_read_the_page_before_it_died():
    async def main() -> None:
        hub = Hub(lambda *_: None)
        async with two_workers(hub, {}, {}) as (first, second):
            for answered in (4, 6):  # what is told later counts instead of what was told before, and is not added
                second.tell("counted", families_of(metrics(answered, 2)))
            while await second.ask("gather", ["ledger", None]) is None:
                pass  # messages are handled in order
            hub.ended(1)
            others = await first.ask("gather", ["metrics", []])
            sums = {one.name: one for one in added(map(read_families, others))}
            assert sums["tierwise_actions"].samples[0][2] == 6
            assert "tierwise_actions_running" not in sums, "what died runs nothing"

    asyncio.run(main())


def test_a_void_certificate_is_told_to_workers_that_start_later():
    async def main() -> None:
        hub, told = Hub(lambda *_: None), list[Any]()
        heard = asyncio.Event()

        def void(body: Any) -> None:
            told.append(body)
            heard.set()

        async with two_workers(hub, {}, {"void": void}) as (first, _):
            first.tell("void", [0, "auto", "the server is another"])
            await asyncio.wait_for(heard.wait(), 20)
            heard.clear()
            one, other = socket.socketpair()
            tasks = [
                asyncio.create_task(hub.channel(2).run(one)),
                asyncio.create_task(Channel({"void": void}).run(other)),
            ]
            await asyncio.wait_for(heard.wait(), 20)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert told == [[0, "auto", "the server is another"]] * 2

    asyncio.run(main())


def test_a_version_that_one_worker_cannot_serve_is_let_go_by_all():
    async def main() -> None:
        hub, told = Hub(lambda *_: None), list[Any]()
        let_go = asyncio.Event()

        async def never(_: Any) -> None:
            await asyncio.sleep(60)

        def abort(version: int) -> None:
            told.append(version)
            let_go.set()

        good = {"prepare": lambda _: [], "abort": abort, "commit": told.append}
        cases = (lambda _: "no memory", 60, "worker 1: no memory"), (never, 0.3, "in time")
        for prepare, seconds, said in cases:
            async with two_workers(hub, good, {"prepare": prepare}):
                with pytest.raises(TierwiseError, match=said):
                    await hub.prepare(7, b"all of it", seconds=seconds)
                await asyncio.wait_for(let_go.wait(), 20)
            hub.ended(0)
            hub.ended(1)
            let_go.clear()
        assert told == [7, 7]

    asyncio.run(main())


def test_all_workers_that_run_are_ready_before_one_serves_a_version_and_what_one_finds_void_is_void_in_all():
    async def main() -> None:
        hub, told = Hub(lambda *_: None), list[Any]()
        asked, made = asyncio.Event(), asyncio.Event()

        async def make(_: Any) -> list[Any]:
            asked.set()
            await made.wait()
            return [["auto", "the server is another"]]

        first = {"prepare": lambda _: [], "commit": told.append, "committed": lambda _: True}
        async with two_workers(hub, first, {"prepare": make}):
            preparing = asyncio.create_task(hub.prepare(1, b"all of it", seconds=60))
            hub.ended(1)  # and is replaced, before it has said anything
            one, other = socket.socketpair()
            replaced = Channel({**first, "prepare": make})
            tasks = [asyncio.create_task(hub.channel(1).run(one)), asyncio.create_task(replaced.run(other))]
            await asyncio.wait_for(asked.wait(), 20)
            assert not preparing.done()
            made.set()
            assert await preparing == [["auto", "the server is another"]]
            hub.commit(1, [("auto", "the server is another")])
            await hub.committed()
            assert told == [[1, [["auto", "the server is another"]]]] * 2
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def test_what_is_said_before_the_connection_is_there_arrives_and_a_failing_handler_answers_nothing():
    async def main() -> None:
        one, other = socket.socketpair()
        heard: list[Any] = []

        def fail(_: Any) -> None:
            raise ValueError("no")

        left, right = Channel({"word": heard.append}), Channel({"fail": fail})
        right.tell("word", "early")
        tasks = [asyncio.create_task(left.run(one)), asyncio.create_task(right.run(other))]
        assert await left.ask("fail", seconds=2) is None
        assert heard == ["early"]
        tasks[1].cancel()
        await asyncio.wait_for(tasks[0], 2)
        assert await left.ask("word", seconds=2) is None
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
