"""The supervisor and its guard, against real processes that misbehave in every way we could think of."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvloop

from tierwise.engines.process import guard
from tierwise.engines.process.memory_usage import MemoryUsage
from tierwise.engines.process.supervisor import Launch, Supervisor, Timeouts
from tierwise.spec.errors import Broken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ENGINE = '''
"""An engine as small as can be: answers 200 to everything. Words on its command line make it misbehave."""

import os, resource, signal, socket, sys, time

port, tricks = int(sys.argv[1]), dict(word.partition("=")[::2] for word in sys.argv[2:])
if "deaf" in tricks:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "grandchild" in tricks and os.fork() == 0:  # the classic daemon: new session, second fork
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(tricks["grandchild"], "a") as file:
            file.write(f"{os.getpid()}\\n")
        time.sleep(600)
    os._exit(0)
if "say" in tricks:
    os.write(2, tricks["say"].encode().decode("unicode_escape").encode("latin-1"))
if "unless" in tricks and not os.path.exists(tricks["unless"]):
    sys.exit("error: out of luck")
if "exit" in tricks:
    sys.exit(int(tricks["exit"]))
time.sleep(float(tricks.get("load", 0)))
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", port))
listener.listen(64)
answered = 0
while True:
    if answered == int(tricks.get("hangs_after", -1)):
        time.sleep(600)
    if answered == int(tricks.get("crashes_after", -1)):
        print("fatal error: I have had enough", flush=True)
        os._exit(3)
    if answered == int(tricks.get("unlistens_after", -1)):
        listener.close()
        time.sleep(600)
    if "hoards" in tricks and answered == 2:
        resource.setrlimit(resource.RLIMIT_AS, (200_000_000, 200_000_000))
        hoard = bytearray(400_000_000)
    connection, _ = listener.accept()
    connection.recv(65536)
    status = b"503 Lost" if answered >= int(tricks.get("lost_after", 10**9)) else b"200 OK"
    connection.sendall(b"HTTP/1.1 " + status + b"\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok")
    connection.close()
    answered += 1
'''

BRISK = Timeouts(
    check_seconds=0.1,
    silent_seconds=0.2,
    check_timeout=0.3,
    hang_seconds=1.0,
    refused_seconds=0.6,
    stop_seconds=0.5,
    first_backoff=0.02,
    longest_backoff=0.2,
)


def in_a_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*arguments: object, **fixtures: object) -> None:
        asyncio.run(asyncio.wait_for(test(*arguments, **fixtures), 90))

    return run


def engine(folder: Path, *tricks: str) -> Callable[[int], Launch]:
    program = folder / "engine.py"
    program.write_text(ENGINE)
    return lambda port: Launch(
        command=(sys.executable, "-I", "-S", str(program), str(port), *tricks),
        url=f"http://127.0.0.1:{port}",
        start_seconds=5,
        lost=frozenset({503}),
    )


@contextlib.asynccontextmanager
async def supervised(folder: Path, *tricks: str, timeouts: Timeouts = BRISK) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor("small", engine(folder, *tricks), logs=folder / "logs", timeouts=timeouts)
    try:
        await supervisor.start()
        yield supervisor
    finally:
        await supervisor.stop()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # it ended before we looked, or while we did
        return False


async def until(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """How long it took for the condition to come true."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def port_is_free(url: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", int(url.rpartition(":")[2])))
            return True
    return False


def resident_kilobytes(pid: int) -> int:
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1])


def guard_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def children_of(pid: int) -> list[int]:
    """Zombies too."""
    lists = (task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children"))
    return [int(child) for children in lists for child in children]


def the_pid(supervisor: Supervisor) -> int:
    assert supervisor.pid is not None
    return supervisor.pid


def grandchildren(file: Path) -> list[int]:
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


@in_a_loop
async def test_a_started_engine_answers_where_it_says_and_a_stopped_one_is_gone(tmp_path):
    async with supervised(tmp_path) as supervisor:
        url, pid = await supervisor.ready(), the_pid(supervisor)
        assert supervisor.state == "ready"
        assert not port_is_free(url)
        assert supervisor.start_seconds_taken is not None
        assert supervisor.start_seconds_taken < 2
        assert supervisor.health().resident_bytes == pytest.approx(supervisor.memory_usage.resident)
        assert 5e6 < supervisor.memory_usage.resident <= supervisor.memory_usage.peak
    assert port_is_free(url)
    assert not alive(pid)
    assert (supervisor.state, supervisor.pid, supervisor.memory_usage) == ("stopped", None, MemoryUsage())


def test_an_engine_is_supervised_on_uvloop_as_well(tmp_path):
    async def crash_once() -> int:
        async with supervised(tmp_path) as supervisor:
            os.kill(the_pid(supervisor), signal.SIGKILL)
            await until(lambda: supervisor.state != "ready")
            await supervisor.ready()
            return supervisor.restarts

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(crash_once()) == 1


@in_a_loop
async def test_stopping_is_harmless_before_the_start_and_twice(tmp_path):
    supervisor = Supervisor("small", engine(tmp_path), logs=tmp_path)
    await supervisor.stop()
    await supervisor.start()
    await asyncio.gather(supervisor.stop(), supervisor.stop())
    with pytest.raises(Broken, match="'small' is stopped"):
        await supervisor.ready()


@in_a_loop
async def test_a_stopped_engine_can_be_started_again(tmp_path):
    async with supervised(tmp_path) as supervisor:
        await supervisor.stop()
        await supervisor.start()
        assert supervisor.state == "ready"


@in_a_loop
async def test_a_crashed_engine_is_back_within_two_seconds(tmp_path):
    async with supervised(tmp_path, timeouts=Timeouts()) as supervisor:
        pid = the_pid(supervisor)
        os.kill(pid, signal.SIGKILL)
        assert await until(lambda: supervisor.state == "restarting") < 0.5
        assert "(killed by SIGKILL): it gave no reason" in supervisor.reason
        async with asyncio.timeout(2):
            url = await supervisor.ready()
        assert (supervisor.restarts, supervisor.reason) == (1, "")
        assert the_pid(supervisor) != pid
        assert not port_is_free(url)


@in_a_loop
async def test_everyone_who_waits_is_woken_when_the_engine_is_back(tmp_path):
    async with supervised(tmp_path, "load=0.3") as supervisor:
        os.kill(the_pid(supervisor), signal.SIGKILL)
        await until(lambda: supervisor.state == "restarting")
        urls = await asyncio.gather(*(supervisor.ready() for _ in range(20)))
        assert set(urls) == {await supervisor.ready()}


@in_a_loop
async def test_waiting_for_a_restart_ends_at_the_callers_deadline(tmp_path):
    async with supervised(tmp_path, "load=1") as supervisor:
        os.kill(the_pid(supervisor), signal.SIGKILL)
        await until(lambda: supervisor.state == "restarting")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await supervisor.ready()


@in_a_loop
async def test_an_engine_that_crashes_says_why_in_its_log(tmp_path):
    async with supervised(tmp_path, "crashes_after=2") as supervisor:
        await until(lambda: supervisor.state == "restarting")
        assert re.search(r"'small' ended while running \(exit code 3\): fatal error: I have had", supervisor.reason)


@in_a_loop
async def test_an_engine_that_hangs_is_killed_and_restarted(tmp_path):
    async with supervised(tmp_path, "hangs_after=3") as supervisor:
        pid = the_pid(supervisor)
        await until(lambda: supervisor.state == "restarting")
        assert "hung and was killed: /health does not answer, for 1 s" in supervisor.reason
        await supervisor.ready()
        assert not alive(pid)


@in_a_loop
async def test_a_silent_engine_is_reported_within_two_seconds_with_its_last_lines_and_left_alive(tmp_path):
    async with supervised(tmp_path, "say=warming up\\nCUDA error: lost\\nstep 7", timeouts=Timeouts()) as supervisor:
        pid = the_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        assert await until(lambda: supervisor.state != "ready") < 2
        health = supervisor.health()
        assert (health.state, health.last_lines) == ("silent", ("warming up", "CUDA error: lost", "step 7")[:2])
        assert "is silent: /health does not answer; its log ends with: CUDA error: lost; log" in health.reason
        os.kill(pid, signal.SIGCONT)
        assert await until(lambda: supervisor.state == "ready") < 2
        assert (supervisor.pid, supervisor.restarts, supervisor.reason) == (pid, 0, "")
        assert supervisor.health().last_lines == ()


@in_a_loop
async def test_whoever_wants_a_silent_engine_waits_until_it_answers_again(tmp_path):
    async with supervised(tmp_path) as supervisor:
        url, pid = await supervisor.ready(), the_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: supervisor.state == "silent")
        waiting = asyncio.create_task(supervisor.ready())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        os.kill(pid, signal.SIGCONT)
        assert await waiting == url


@in_a_loop
async def test_whoever_wants_an_engine_that_hangs_gets_the_next_one(tmp_path):
    async with supervised(tmp_path) as supervisor:
        url = await supervisor.ready()
        os.kill(the_pid(supervisor), signal.SIGSTOP)
        await until(lambda: supervisor.state == "silent")
        assert await supervisor.ready() != url
        assert supervisor.restarts == 1


@in_a_loop
async def test_an_engine_that_closes_its_port_and_lives_on_is_silent_within_two_seconds(tmp_path):
    async with supervised(tmp_path, "unlistens_after=2", timeouts=Timeouts()) as supervisor:
        assert await until(lambda: supervisor.state != "ready") < 2
        assert supervisor.state == "silent"
        assert "/health refuses connections" in supervisor.reason


@in_a_loop
async def test_a_closed_port_is_forgiven_for_a_shorter_time_than_silence(tmp_path):
    timeouts = replace(BRISK, hang_seconds=1000)
    async with supervised(tmp_path, "unlistens_after=2", timeouts=timeouts) as supervisor:
        await until(lambda: supervisor.state == "restarting")
        assert "hung and was killed: /health refuses connections" in supervisor.reason


@in_a_loop
async def test_a_useless_engine_is_replaced_and_the_reason_is_given(tmp_path):
    async with supervised(tmp_path) as supervisor:
        pid = the_pid(supervisor)
        supervisor.restart("it speaks in tongues")
        assert (supervisor.state, supervisor.reason) == ("restarting", "it speaks in tongues")
        await supervisor.ready()
        assert supervisor.restarts == 1
        assert supervisor.pid != pid
        assert not alive(pid)


@in_a_loop
async def test_an_engine_that_cannot_get_more_memory_is_reported_in_its_own_words(tmp_path):
    async with supervised(tmp_path, "hoards") as supervisor:  # a real limit, by RLIMIT_AS
        await until(lambda: supervisor.state == "restarting")
        assert "(exit code 1): MemoryError" in supervisor.reason
        assert supervisor.health().last_lines[-1] == "MemoryError"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (4, 5, r"\(out of memory, killed by the kernel; it last held [1-9]\d* MB, at most [1-9]\d* MB\)"),
        (4, 4, r"\(killed by SIGKILL\)"),
        (None, None, r"\(killed by SIGKILL\)"),
    ],
)
@in_a_loop
async def test_memory_is_blamed_for_a_kill_only_where_the_kernel_counted_one(tmp_path, before, after, said):
    counter = [before]
    supervisor = Supervisor("small", engine(tmp_path), logs=tmp_path, timeouts=BRISK, oom_kills=lambda: counter[-1])
    await supervisor.start()
    counter.append(after)
    os.kill(the_pid(supervisor), signal.SIGKILL)
    await until(lambda: supervisor.state == "restarting")
    assert re.search(said, supervisor.reason)
    await supervisor.stop()


@in_a_loop
async def test_a_front_that_outlives_its_engine_is_ended_at_the_first_check(tmp_path):
    say = "say=RuntimeError: out of memory\\nEngineDeadError: See stack trace (above) for the root cause.\\n"
    timeouts = replace(BRISK, hang_seconds=1000)
    async with supervised(tmp_path, "lost_after=3", say, timeouts=timeouts) as supervisor:
        await until(lambda: supervisor.state == "restarting")
        assert (
            "lost its inner process (/health answers 503); its log ends with: RuntimeError: out of memory; log"
            in supervisor.reason
        )


@in_a_loop
async def test_a_stop_in_the_middle_of_an_end_returns_when_nothing_is_left(tmp_path):
    timeouts = replace(BRISK, first_backoff=5.0)
    async with supervised(tmp_path, "deaf", "hangs_after=2", timeouts=timeouts) as supervisor:
        pid = supervisor.pid
        await until(lambda: supervisor.state == "restarting")
        await supervisor.stop()
        assert not alive(pid)


@in_a_loop
async def test_a_busy_engine_that_misses_one_check_is_left_in_peace(tmp_path):
    async with supervised(tmp_path) as supervisor:
        pid = the_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.5)  # silent for a while, and for less than what is a hang
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.5)
        assert (supervisor.pid, supervisor.state) == (pid, "ready")


@in_a_loop
async def test_an_engine_is_left_in_peace_if_we_stood_still_with_it(tmp_path):
    """As when both are stopped for a while, or their machine."""
    async with supervised(tmp_path) as supervisor:
        pid = the_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: supervisor.state == "silent")
        time.sleep(1.5)  # noqa: ASYNC251 - nothing runs here, for longer than a hang
        os.kill(pid, signal.SIGCONT)
        await until(lambda: supervisor.state == "ready")
        assert (supervisor.pid, supervisor.restarts) == (pid, 0)


@in_a_loop
async def test_an_engine_that_does_not_load_gives_its_own_reason_at_once(tmp_path):
    began = time.monotonic()
    with pytest.raises(Broken, match=r"while loading \(exit code 7\): ValueError: no such quantization") as caught:
        async with supervised(tmp_path, "say=Traceback:\n  File x\nValueError: no such quantization\n", "exit=7"):
            pass
    assert time.monotonic() - began < 5
    assert caught.value.engine == "small"


@in_a_loop
async def test_the_first_line_of_error_level_is_the_root_cause_and_the_last_says_what_it_meant(tmp_path):
    words = "0.00.1 I loading\n0.00.2 E gguf: invalid magic\n0.00.3 E srv: exiting due to that\nerror: cannot serve x\n"
    with pytest.raises(Broken, match=r"gguf: invalid magic; error: cannot serve x; log: "):
        async with supervised(tmp_path, f"say={words}", "exit=1"):
            pass


@in_a_loop
async def test_an_engine_that_loads_for_ever_is_given_up_and_killed(tmp_path):
    def launch(port: int) -> Launch:
        slow = engine(tmp_path, "load=60", "deaf", "say=failed to hurry\n")(port)
        return Launch(command=slow.command, url=slow.url, start_seconds=1.5)

    supervisor = Supervisor("small", launch, logs=tmp_path, timeouts=BRISK)
    with pytest.raises(Broken, match=r"not ready within 1.5 s and was killed: failed to hurry"):
        await supervisor.start()
    assert (supervisor.state, supervisor.pid) == ("failed", None)


@in_a_loop
async def test_a_command_that_does_not_exist_is_named(tmp_path):
    def launch(port: int) -> Launch:
        return Launch(command=("no-such-engine",), url=f"http://127.0.0.1:{port}")

    with pytest.raises(Broken, match="cannot run 'no-such-engine': No such file"):
        await Supervisor("small", launch, logs=tmp_path).start()


@in_a_loop
async def test_a_mistake_in_the_launch_leaves_nobody_waiting(tmp_path):
    def launch(port: int) -> Launch:
        raise LookupError("no settings")

    with pytest.raises(Broken, match=r"LookupError\('no settings'\)"):
        await Supervisor("small", launch, logs=tmp_path).start()


@in_a_loop
async def test_an_engine_that_lost_its_port_gets_another(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers there
        ports: list[int] = []

        def launch(port: int) -> Launch:
            ports.append(taken.getsockname()[1] if not ports else port)
            return engine(tmp_path)(ports[-1])

        supervisor = Supervisor("small", launch, logs=tmp_path, timeouts=BRISK)
        await supervisor.start()
        assert await supervisor.ready() == f"http://127.0.0.1:{ports[1]}"
        assert supervisor.restarts == 0
        await supervisor.stop()


@in_a_loop
async def test_an_engine_whose_port_somebody_else_listens_on_too_gets_another(tmp_path):
    with socket.socket() as shared:
        shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        shared.bind(("127.0.0.1", 0))
        shared.listen()
        ports: list[int] = []
        program = tmp_path / "engine.py"
        program.write_text(ENGINE.replace("SO_REUSEADDR", "SO_REUSEPORT"))

        def launch(port: int) -> Launch:
            ports.append(shared.getsockname()[1] if not ports else port)
            return replace(engine(tmp_path)(ports[-1]), command=(sys.executable, str(program), str(ports[-1])))

        stranger = asyncio.create_task(asyncio.to_thread(answer_everything, shared))
        supervisor = Supervisor("small", launch, logs=tmp_path, timeouts=BRISK)
        await supervisor.start()
        assert await supervisor.ready() == f"http://127.0.0.1:{ports[1]}"
        await supervisor.stop()
        shared.shutdown(socket.SHUT_RDWR)
        await stranger


def answer_everything(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
            connection.close()


@in_a_loop
async def test_nobody_is_sent_to_a_process_that_took_a_dead_engines_port(tmp_path):
    async with supervised(tmp_path) as supervisor:
        url, pid = await supervisor.ready(), the_pid(supervisor)
        guard = guard_of(pid)
        os.kill(guard, signal.SIGSTOP)  # so that the death is not reported
        try:
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not alive(pid))
            with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))) as thief:
                stranger = asyncio.create_task(asyncio.to_thread(answer_everything, thief))
                assert supervisor.state == "ready", "nobody has noticed yet"
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.3):
                        await supervisor.ready()
                await until(lambda: supervisor.state != "ready")  # although the health check is answered
                thief.shutdown(socket.SHUT_RDWR)
                await stranger
        finally:
            os.kill(guard, signal.SIGCONT)
        assert await supervisor.ready() != url


@in_a_loop
async def test_an_engine_that_keeps_failing_is_reported_at_once_and_still_retried(tmp_path):
    luck = tmp_path / "luck"
    luck.touch()
    timeouts = Timeouts(first_backoff=0.01, longest_backoff=0.05, quick_failures=2)
    async with supervised(tmp_path, f"unless={luck}", timeouts=timeouts) as supervisor:
        luck.unlink()
        os.kill(the_pid(supervisor), signal.SIGKILL)
        await until(lambda: supervisor.state == "failed")
        began = time.monotonic()
        with pytest.raises(Broken, match="out of luck"):
            await supervisor.ready()
        assert time.monotonic() - began < 1
        luck.touch()
        await until(lambda: supervisor.state == "ready")
        assert supervisor.reason == ""


@in_a_loop
async def test_a_stable_run_forgives_earlier_failures(tmp_path):
    timeouts = Timeouts(first_backoff=0.01, quick_failures=1, stable_seconds=0.0)
    async with supervised(tmp_path, timeouts=timeouts) as supervisor:
        for _ in range(4):
            os.kill(the_pid(supervisor), signal.SIGKILL)
            await until(lambda: supervisor.state != "ready")
            assert supervisor.state == "restarting"
            await supervisor.ready()


def test_backoff_doubles_up_to_its_cap_and_jitter_takes_away_half_at_most():
    timeouts = Timeouts(first_backoff=1.0, longest_backoff=5.0)
    assert [timeouts.backoff(failures, 1.0) for failures in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
    assert [timeouts.backoff(failures, 0.0) for failures in (1, 2, 3, 4, 5000)] == [0.5, 1, 2, 2.5, 2.5]


@in_a_loop
async def test_an_engine_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    async with supervised(tmp_path, "deaf") as supervisor:
        pid = the_pid(supervisor)
        began = time.monotonic()
        await supervisor.stop()
        assert 0.5 <= time.monotonic() - began < 5
        assert not alive(pid)


@pytest.mark.parametrize("end", ["stop", "crash", "kill the guard"])
@in_a_loop
async def test_a_daemonised_grandchild_ends_with_the_engine(tmp_path, end):
    born = tmp_path / "grandchildren"
    async with supervised(tmp_path, f"grandchild={born}") as supervisor:
        await until(lambda: len(grandchildren(born)) == 1)
        (grandchild,), pid = grandchildren(born), the_pid(supervisor)
        assert alive(grandchild)
        if end == "stop":
            await supervisor.stop()
        elif end == "crash":
            os.kill(pid, signal.SIGKILL)
        else:
            os.kill(guard_of(pid), signal.SIGKILL)
        await until(lambda: not alive(grandchild) and not alive(pid), 2)
        if end != "stop":
            await until(lambda: supervisor.restarts == 1)
            await supervisor.ready()


@in_a_loop
async def test_cancelling_the_start_leaves_nothing(tmp_path):
    supervisor = Supervisor("small", engine(tmp_path, "load=60"), logs=tmp_path, timeouts=BRISK)
    starting = asyncio.create_task(supervisor.start())
    await until(lambda: supervisor.pid is not None)
    pid = the_pid(supervisor)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (alive(pid), supervisor.state) == (False, "stopped")


@in_a_loop
async def test_whoever_starts_a_running_engine_a_second_time_cannot_end_it_by_leaving(tmp_path):
    async with supervised(tmp_path, "load=0.3") as supervisor:
        os.kill(the_pid(supervisor), signal.SIGKILL)
        await until(lambda: supervisor.state == "restarting")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await supervisor.start()
        await supervisor.ready()


@in_a_loop
async def test_an_engine_that_failed_to_start_can_be_started_again_at_once(tmp_path):
    luck = tmp_path / "luck"
    supervisor = Supervisor("small", engine(tmp_path, f"unless={luck}"), logs=tmp_path)
    with pytest.raises(Broken, match="out of luck"):
        await supervisor.start()
    assert "out of luck" in supervisor.health().reason
    luck.touch()
    await supervisor.start()
    await supervisor.stop()


@in_a_loop
async def test_a_cancelled_stop_ends_the_engine_all_the_same(tmp_path):
    async with supervised(tmp_path, "deaf") as supervisor:
        pid = the_pid(supervisor)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await supervisor.stop()
        await until(lambda: not alive(pid), 2)


@in_a_loop
async def test_whatever_an_engine_prints_ends_as_readable_lines_in_ring_and_log(tmp_path):
    words = r"\x1b[31mred\x1b[0m\r 10%\r 99%\n\xff\xfe\x00garbage\n" + "x" * 9000 + r"\nthe end"
    async with supervised(tmp_path, f"say={words}") as supervisor:
        await supervisor.stop()
        *early, long, last = supervisor.log_tail()
        assert early == ["red", " 10%", " 99%", "\ufffd\ufffd\x00garbage"]
        assert (long, last) == ("x" * 4000, "the end")
        log = (tmp_path / "logs" / "small.log").read_text()
        assert "tierwise starts" in log
        assert re.search(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} the end$", log, re.MULTILINE)


@in_a_loop
async def test_a_talkative_engine_does_not_stall(tmp_path):
    async with supervised(tmp_path, "say=" + "many words\\n" * 10_000) as supervisor:  # more than a pipe holds
        assert supervisor.state == "ready"
        await until(lambda: len(supervisor.log_tail()) == 200)


@in_a_loop
async def test_fifty_restarts_leak_no_descriptor_process_thread_task_or_memory(tmp_path):
    def held() -> tuple[int, int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count(), len(asyncio.all_tasks())

    tasks = asyncio.all_tasks()  # this test, and where Python has one the deadline around it
    timeouts = Timeouts(check_seconds=0.05, first_backoff=0.0, quick_failures=1000)
    born = tmp_path / "grandchildren"
    others = set(children_of(os.getpid()))  # engines that other tests share
    guards, before, memory = set(), (0, 0, 0), 0
    async with supervised(tmp_path, f"grandchild={born}", "say=some words\\n", timeouts=timeouts) as supervisor:
        for restart in range(50):
            pid = the_pid(supervisor)
            guards.add(guard_of(pid))
            os.kill(pid, signal.SIGKILL)
            await until(lambda: supervisor.state != "ready")
            await supervisor.ready()
            if restart == 4:
                before, memory = held(), resident_kilobytes(os.getpid())
        assert supervisor.restarts == 50
        # Fewer is no leak: what earlier tests left behind may have gone meanwhile.
        await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))
        assert resident_kilobytes(os.getpid()) - memory < 2000  # 45 more lives
        assert len(set(children_of(os.getpid())) - others) == 1  # the guard of the present one, and no zombie
    assert not any(map(alive, (*guards, *grandchildren(born))))
    assert asyncio.all_tasks() == tasks


PARENT = """
import asyncio, os, signal, sys
from pathlib import Path
from tierwise.engines.process.supervisor import Launch, Timeouts, Supervisor

program, grandchild, *habits = sys.argv[1:]
if "ignores" in habits:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

def launch(port):
    command = (sys.executable, "-I", "-S", program, str(port), f"grandchild={grandchild}")
    return Launch(command=command, url=f"http://127.0.0.1:{port}")

async def main():
    supervisor = Supervisor("small", launch, logs=Path(program).parent, timeouts=Timeouts(stop_seconds=0.5))
    await supervisor.start()
    if "forks" in habits and os.fork() == 0:
        signal.pause()
    print(supervisor.pid, flush=True)
    try:
        await asyncio.sleep(600)
    finally:
        await supervisor.stop()

try:
    asyncio.run(main())
except KeyboardInterrupt:
    sys.exit(0)
"""


@contextlib.contextmanager
def parent(folder: Path, *habits: str):
    """A process that supervises an engine, the engine's pid and its grandchild's."""
    engine(folder)
    (folder / "parent.py").write_text(PARENT)
    born = folder / "grandchildren"
    command = [sys.executable, str(folder / "parent.py"), str(folder / "engine.py"), str(born), *habits]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        try:
            pid = int(process.stdout.readline())
            asyncio.run(until(lambda: len(grandchildren(born)) == 1))
            yield process, pid, grandchildren(born)[0]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("habit", "number", "code"),
    [("", signal.SIGKILL, -9), ("", signal.SIGTERM, -15), ("", signal.SIGINT, 0), ("forks", signal.SIGKILL, -9)],
)
def test_no_engine_outlives_its_parent_however_that_ends(tmp_path, habit, number, code):
    with parent(tmp_path, habit) as (process, pid, grandchild):
        family = (guard_of(pid), pid, grandchild)
        assert all(map(alive, family))
        os.kill(process.pid, number)
        assert process.wait(60) == code
        asyncio.run(until(lambda: not any(map(alive, family)), 5))


def test_a_terminals_ctrl_c_does_not_reach_the_engine(tmp_path):
    with parent(tmp_path, "ignores") as (process, pid, grandchild):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
        assert process.poll() is None
        assert all(map(alive, (guard_of(pid), pid, grandchild)))


def test_an_engine_dies_with_its_guard_even_when_both_it_and_the_supervisor_are_killed(tmp_path):
    with parent(tmp_path) as (process, pid, grandchild):
        guard = guard_of(pid)
        os.kill(process.pid, signal.SIGSTOP)  # it cannot sweep
        os.kill(guard, signal.SIGKILL)
        asyncio.run(until(lambda: not alive(pid), 2))
        os.kill(grandchild, signal.SIGKILL)  # nobody was left to do it: the one gap, and why the supervisor sweeps


@in_a_loop
async def test_a_guard_is_small_and_quick(tmp_path):
    async with supervised(tmp_path) as supervisor:
        assert resident_kilobytes(guard_of(the_pid(supervisor))) < 14_000
        assert supervisor.start_seconds_taken < 5


def test_the_scratch_folder_of_a_process_goes_when_all_its_processes_have_ended_even_if_the_parent_is_killed(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    (folder / "0.bin").touch()
    read, write = os.pipe()
    with subprocess.Popen(guard.command(["sleep", "60"], 1, str(folder)), stdin=read) as process:
        os.close(read)
        os.close(write)  # as the kernel does when the parent is killed
        process.wait(10)
    assert not folder.exists()


def with_scratch(folder: Path, *tricks: str) -> Callable[[int], Launch]:
    """An engine whose every start has a folder of its own with a file in it."""

    def launch(port: int) -> Launch:
        scratch = folder / f"scratch {port}"
        scratch.mkdir()
        (scratch / "0.bin").touch()
        return replace(engine(folder, *tricks)(port), scratch=scratch)

    return launch


def scratches(folder: Path) -> list[Path]:
    return list(folder.glob("scratch *"))


@in_a_loop
async def test_the_scratch_folder_goes_even_if_the_guard_is_killed(tmp_path):
    supervisor = Supervisor("small", with_scratch(tmp_path), logs=tmp_path, timeouts=BRISK)
    await supervisor.start()
    (first,) = scratches(tmp_path)
    os.kill(guard_of(the_pid(supervisor)), signal.SIGKILL)
    await until(lambda: supervisor.restarts == 1)
    await supervisor.ready()
    assert not first.exists()
    await supervisor.stop()
    assert not scratches(tmp_path)


@in_a_loop
async def test_the_scratch_folder_goes_if_the_start_is_cancelled_before_there_is_a_guard(tmp_path, monkeypatch):
    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "create_subprocess_exec", never)
    supervisor = Supervisor("small", with_scratch(tmp_path), logs=tmp_path, timeouts=BRISK)
    starting = asyncio.create_task(supervisor.start())
    await until(lambda: bool(scratches(tmp_path)))
    starting.cancel()
    await asyncio.wait({starting})
    assert not scratches(tmp_path)


def test_a_guard_removes_the_files_of_a_scratch_folder_that_it_can(tmp_path):
    (tmp_path / "a folder").mkdir()
    for number in range(20):
        (tmp_path / f"{number}.bin").touch()
    guard._remove(str(tmp_path))
    assert [one.name for one in tmp_path.iterdir()] == ["a folder"]
