"""Connections are kept, replaced and closed, and a pass that is left is aborted at once."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.asking import begun, call, chunks, in_time, text_of, until
from engines.openai.talking import HERE, talking
from tierwise.engines.openai.launch import build
from tierwise.engines.openai.settings import Http
from tierwise.spec.errors import Broken
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


# ── connections ─────────────────────────────────────────────────────────


def test_one_connection_serves_many_passes():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            for _ in range(20):
                assert await text_of(engine, call()) == "hi"
                await asyncio.sleep(0.01)
            assert server.accepted == 1

    in_time(main())


def test_a_pass_that_follows_at_once_does_not_wait_for_the_end_of_the_response_before():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            for _ in range(20):
                assert await text_of(engine, call()) == "hi"
            assert server.accepted <= 2  # they take turns

    in_time(main())


def test_a_connection_that_the_server_closed_while_idle_is_replaced():
    async def main() -> None:
        async with talking(HttpReply(text="hi", closes=True)) as (server, engine):
            for pause in (0, 0, 0.05, 0):
                await asyncio.sleep(pause)
                assert await text_of(engine, call()) == "hi"
            assert len(server.requests) == 4

    in_time(main())


def test_connections_that_die_at_the_moment_of_their_next_use_are_replaced_unseen():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            await asyncio.gather(*(text_of(engine, call()) for _ in range(5)))
            server.drops_reused = True
            assert server.accepted == 5
            assert await text_of(engine, call()) == "hi"
            assert (server.accepted, len(server.requests)) == (6, 6)

    in_time(main())


def test_a_server_that_closes_every_new_connection_is_asked_once():
    async def main() -> None:
        async with talking(HttpReply(dies_after=0)) as (server, engine):
            with pytest.raises(Broken):
                await chunks(engine, call())
            assert len(server.requests) == 1

    in_time(main())


async def moment_of_hangup(server: FakeServer, leave: Callable[[], Awaitable[object]]) -> float:
    """Seconds from the moment at which the client leaves to the moment at which the server notices."""
    count, left = len(server.hangups), asyncio.get_running_loop().time()
    await leave()
    await until(lambda: len(server.hangups) > count)
    return server.hangups[-1] - left


@pytest.mark.parametrize("stage", ["before the headers", "before the first word", "between two words", "unread words"])
def test_leaving_a_pass_aborts_it_in_the_server_at_once(stage):
    reply = {
        "before the headers": HttpReply(waits=60),
        "before the first word": HttpReply(silent_after=0),
        "between two words": HttpReply(text="a b c", silent_after=2),
        "unread words": HttpReply(text="word " * 5000, stays_open=True),
    }[stage]

    async def main() -> None:
        async with talking(reply) as (server, engine):
            waits = []
            for number in range(5):
                if stage.startswith("before"):
                    task = asyncio.create_task(chunks(engine, call()))
                    await until(lambda: len(server.requests) > number)  # noqa: B023 - used at once
                    task.cancel()
                    waits.append(await moment_of_hangup(server, lambda: asyncio.wait({task})))  # noqa: B023
                else:
                    stream = await begun(engine, call())
                    waits.append(await moment_of_hangup(server, stream.aclose))
            assert min(waits) < 0.3
            await until(lambda: (server.running, len(server.connections)) == (0, 0))

    in_time(main())


def test_two_hundred_aborted_passes_leave_no_connection_no_task_and_no_file():
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async def main() -> None:
        tasks = asyncio.all_tasks()
        async with talking(HttpReply(text="a b c d e f", step=0.005)) as (server, engine):

            async def abort(number: int) -> None:
                if number % 2:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(chunks(engine, call()), 0.004 * (number % 5))
                else:
                    await (await begun(engine, call())).aclose()

            await abort(0)
            await until(lambda: not server.connections)
            before = held()
            for batch in range(10):
                await asyncio.gather(*(abort(batch * 20 + number) for number in range(20)))
            await until(lambda: not server.running)
            assert await text_of(engine, call()) == "a b c d e f"
            assert len(server.connections) <= 20
        gc.collect()
        assert held() <= before
        assert asyncio.all_tasks() == tasks

    in_time(main())


class Echo(FakeServer):
    """Says what it was asked."""

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        return HttpReply(text=request.body["messages"][0]["content"], step=0.002 * (number % 3))


def test_many_streams_side_by_side_do_not_mix():
    async def main() -> None:
        async with talking(server=Echo()) as (server, engine):
            texts = [f"{number} " * (1 + number % 7) + "end" for number in range(200)]
            assert await asyncio.gather(*(text_of(engine, call(text)) for text in texts)) == texts
            assert server.running == 0

    in_time(main())


def test_a_server_that_comes_back_on_its_port_is_spoken_to_again():
    async def main() -> None:
        async with talking("hi") as (server, engine):
            assert await text_of(engine, call()) == "hi"
            port = server.port
            await server.close()
            with pytest.raises(Broken):
                await chunks(engine, call())
            await server.listen(port)
            assert await text_of(engine, call()) == "hi"

    in_time(main())


def test_stop_may_come_twice_and_before_the_first_pass():
    async def main() -> None:
        engine = build(Http(url="http://127.0.0.1:1/v1"), "large", HERE)
        await engine.start()
        await engine.stop()
        await engine.stop()

    in_time(main())
