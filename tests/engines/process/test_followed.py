"""A real process that one process of Tierwise supervises, and another sends passes to."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from engines.asking import call, in_time, text_of, until
from engines.process.test_launched import failed, launched
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.part import Part
from tierwise.engines.process.followed import FollowedProcess, Standing, standing_of
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.process.supervisor import Launch
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def never(_: int) -> Launch:
    raise AssertionError("it is launched elsewhere")


@asynccontextmanager
async def follower(owner: LaunchedEngine, folder: Path) -> AsyncIterator[LaunchedEngine]:
    """An engine that follows the process of another, and is told everything about it as data."""
    said: list[str] = []

    def restart(url: str, reason: str) -> None:
        said.append(reason)
        if owner.supervisor.launch is not None and owner.supervisor.launch.url == url:
            owner.supervisor.restart(reason)

    process = FollowedProcess("small", restart)
    engine = LaunchedEngine("small", never, logs=folder, client=ChatClient("small", "m"))
    engine.follow(process, Part(1, 2))

    async def tell() -> None:
        while True:
            told: Any = msgspec.json.encode(standing_of(owner.supervisor))
            process.told(msgspec.json.decode(told, type=Standing))
            await asyncio.sleep(0.01)

    telling = asyncio.create_task(tell())
    try:
        yield engine
    finally:
        await engine.stop()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def test_it_answers_says_how_it_is_and_is_not_stopped_by_one_that_follows_it(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as owner:
            async with follower(owner, tmp_path) as engine:
                assert engine.health().state == "starting"
                await engine.start()
                assert await text_of(engine, call("hello")) == "hello"
                mine, theirs = engine.health(), owner.health()
                assert (mine.state, mine.command, mine.restarts) == ("ready", theirs.command, 0)
                assert mine.resident_bytes is not None
            assert await text_of(owner, call("still here")) == "still here"

    in_time(main())


def test_a_pass_waits_while_the_process_is_restarted_elsewhere(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as owner, follower(owner, tmp_path) as engine:
            await engine.start()
            assert owner.supervisor.pid is not None
            os.kill(owner.supervisor.pid, signal.SIGKILL)
            await until(lambda: not engine.supervisor.serves(engine.supervisor.launch.url))
            assert await text_of(engine, call("back")) == "back"
            assert engine.health().restarts == owner.health().restarts == 1

    in_time(main())


def test_a_follower_whose_passes_all_fail_has_the_process_restarted(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as owner, follower(owner, tmp_path) as engine:
            await engine.start()
            (tmp_path / "mood").write_text("garbage")
            await failed(engine, "one", "two", "three")
            await until(lambda: engine.health().state == "restarting")
            assert "fails all passes and is restarted" in owner.supervisor.reason
            (tmp_path / "mood").unlink()
            assert await text_of(engine, call("back")) == "back"

    in_time(main())


def test_a_process_that_does_not_start_breaks_those_that_wait_for_it():
    async def main() -> None:
        process = FollowedProcess("small", lambda *_: None)
        waiting = asyncio.create_task(process.start())
        await asyncio.sleep(0)
        process.told(Standing(state="failed", reason="engine 'small' ended while loading"))
        with pytest.raises(Broken, match="ended while loading"):
            await waiting

    in_time(main())
