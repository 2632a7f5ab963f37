"""A launched engine that reports to be healthy and fails all passes, as a real process."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.asking import call, in_time, text_of, until
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.process.supervisor import Launch, Timeouts
from tierwise.engines.settings import LaunchContext
from tierwise.spec.errors import Broken, EngineError, Garbled, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

SERVER = '''
"""Says what the request asks it to say; where the file `mood` exists, what stands there, whatever was asked
(a second word is for our own pass)."""

import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, mood, served = int(sys.argv[1]), sys.argv[2], sys.argv[3]

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, "text/plain", b"ok")

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        with open(served, "a") as file:
            file.write(asked + "\\n")
        if os.path.exists(mood):
            said, _, of_ours = open(mood).read().partition(" ")
            asked = of_ours if of_ours and asked == "Hi" else said
        if asked.isdecimal():
            self.reply(int(asked), "application/json", b'{"error": {"message": "assertion failed in the kernel"}}')
        elif asked == "garbage":
            self.reply(200, "text/event-stream", b"data: {\\xff\\xfe\\n\\n")
        else:
            choice = {"index": 0, "delta": {"content": asked}, "finish_reason": "stop"}
            event = "data: " + json.dumps({"choices": [choice]}) + "\\n\\ndata: [DONE]\\n\\n"
            self.reply(200, "text/event-stream", event.encode())

    def reply(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

print("serving", flush=True)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''

QUICK = Timeouts(check_seconds=0.1, first_backoff=0.02, stop_seconds=0.5)


@asynccontextmanager
async def launched(
    folder: Path,
    facts: Callable[[str], Awaitable[Mapping[str, str]]] | None = None,
    before: list[LaunchedEngine] | None = None,
) -> AsyncIterator[LaunchedEngine]:
    program = folder / "server.py"
    program.write_text(SERVER)
    command = (sys.executable, "-I", "-S", str(program))

    def launch(port: int) -> Launch:
        told = (str(port), str(folder / "mood"), str(folder / "served"))
        return Launch(command=(*command, *told), url=f"http://127.0.0.1:{port}")

    engine = LaunchedEngine("small", launch, logs=folder, client=ChatClient("small", "m"), facts=facts, timeouts=QUICK)
    if before is not None:
        before.append(engine)
    try:
        await engine.start()
        yield engine
    finally:
        await engine.stop()


async def failed(engine: LaunchedEngine, *asked: str) -> EngineError:
    """The last error of as many passes, one after the other."""
    for words in asked:
        with pytest.raises(EngineError) as caught:
            await text_of(engine, call(words))
    return caught.value


@pytest.mark.parametrize(("mood", "kind"), [("garbage", Garbled), ("500", Broken)])
def test_an_engine_that_fails_every_pass_ours_included_is_restarted_within_two_seconds(tmp_path, mood, kind):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            (tmp_path / "mood").write_text(mood)
            error = await failed(engine, "one", "two")
            assert isinstance(error, kind)
            assert (engine.health().reason, engine.supervisor.restarts) == ("", 0)
            third = asyncio.create_task(failed(engine, "three"))
            assert await until(lambda: engine.health().reason) < 2
            await third
            assert await until(lambda: engine.health().state == "restarting") < 2
            said = (
                r"engine 'small' fails all passes and is restarted: 3 consecutive passes failed; the last: .*; "
                r"a probe failed too"
            )
            assert re.match(said, engine.health().reason)
            assert engine.health().last_lines == ("serving",)
            (tmp_path / "mood").unlink()
            assert await text_of(engine, call("back")) == "back"
            assert (engine.health().reason, engine.supervisor.restarts) == ("", 1)

    in_time(main())


@pytest.mark.parametrize(("insisting", "times", "own_passes"), [("garbage", 7, 2), ("500", 4, 1)])
def test_no_request_of_a_client_restarts_an_engine_however_often_it_is_sent(tmp_path, insisting, times, own_passes):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            pid = engine.supervisor.pid
            await failed(engine, *[insisting] * times)
            assert (engine.supervisor.pid, engine.health().reason) == (pid, "")
            assert (tmp_path / "served").read_text().split().count("Hi") == own_passes  # after every third

    in_time(main(), 60)


def test_a_good_pass_between_clears_an_engine(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            for _ in range(3):
                await failed(engine, "garbage", "garbage")
                await text_of(engine, call("fine"))
            assert "Hi" not in (tmp_path / "served").read_text()

    in_time(main())


def test_what_an_engine_refuses_is_never_held_against_it(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            assert isinstance(await failed(engine, *["400"] * 5), Refused)
            await failed(engine, *["429"] * 5)
            assert "Hi" not in (tmp_path / "served").read_text()

    in_time(main())


def test_an_engine_too_busy_for_our_own_pass_is_not_judged(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            pid = engine.supervisor.pid
            (tmp_path / "mood").write_text("garbage 429")
            await failed(engine, "one", "two", "three")
            assert engine.supervisor.pid == pid
            assert "3 consecutive passes failed" in engine.health().reason

    in_time(main())


def test_an_engine_killed_in_mid_pass_has_a_reason_and_last_lines(tmp_path):
    async def main() -> None:
        async with launched(tmp_path) as engine:
            os.kill(engine.supervisor.pid, signal.SIGKILL)
            await until(lambda: engine.health().state == "restarting")
            assert engine.health().last_lines == ("serving",)
            assert await text_of(engine, call("back")) == "back"
            assert engine.health().last_lines == ()

    in_time(main())


def test_a_path_starts_from_the_config_files_folder_and_a_mere_name_is_looked_up():
    here, there = LaunchContext(base=Path(), logs=Path()), LaunchContext(base=Path("/etc/tiers"), logs=Path())
    assert [os.sep in here.program("./server"), here.program("server")] == [True, "server"]
    assert [there.program("bin/server"), there.program("/opt/server")] == ["/etc/tiers/bin/server", "/opt/server"]


def test_an_engine_is_not_ready_before_it_has_said_what_it_is(tmp_path):
    async def main() -> None:
        seen: list[tuple[str, str]] = []
        engines: list[LaunchedEngine] = []

        async def facts(_: str) -> dict[str, str]:
            health = engines[0].health()
            seen.append((health.state, health.reason))
            return {"version": "1"}

        async with launched(tmp_path, facts, engines) as engine:
            assert seen == [("starting", "it is asked what it is")]
            assert (engine.health().state, engine.health().facts) == ("ready", {"version": "1"})

    in_time(main())


def test_after_a_restart_it_is_asked_again_what_it_is_before_the_next_pass(tmp_path):
    async def main() -> None:
        versions = iter("12345")
        told: list[str] = []

        async def facts(_: str) -> dict[str, str]:
            await asyncio.sleep(0.2)
            return {"version": next(versions)}

        async with launched(tmp_path, facts) as engine:

            async def changed(what: str) -> None:
                told.append(f"{what}{engine.health().facts['version']}")

            engine.when_changed = changed
            assert await text_of(engine, call("one")) == "one"
            assert told == []
            pid = engine.supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: engine.supervisor.state != "ready")
            assert await text_of(engine, call("two")) == "two"
            assert told == ["2"]
            assert engine.health().facts == {"version": "2"}
            pid = engine.supervisor.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await until(lambda: len(told) == 2)  # although nobody asks it
            assert told == ["2", "3"]

    in_time(main(), 60)
