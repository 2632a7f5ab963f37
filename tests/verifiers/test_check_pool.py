"""The pool of processes: limits, cancellation, fairness, and what it costs when it is not used."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tierwise.spec.errors import TierwiseError
from tierwise.spec.limits import MIB
from tierwise.verifiers.check_pool import CheckLimitExceeded, CheckPool, _Job, _Queue, owner


# Functions that the pool's processes import.
def double(number: int) -> int:
    return 2 * number


def spin() -> None:
    while True:
        pass


def spin_in_c() -> None:
    sum(iter(int, 1))  # one call of a C function that never ends


def take(size: int) -> int:
    return len(bytearray(size))


def refuse() -> None:
    raise ValueError("7 is odd")


def break_down() -> None:
    raise KeyError("gone")


def end() -> None:
    os._exit(3)


def abort() -> None:
    os.abort()


def environment() -> list[str]:
    return sorted(os.environ)


@pytest.fixture(autouse=True)
def _functions_of_this_file(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@contextmanager
def running(**settings):
    pool = CheckPool(**{"workers": 1, "memory_bytes": 128 * MIB, **settings})
    try:
        yield pool
    finally:
        pool.close()
        assert has_ended(pool)


def has_ended(pool: CheckPool) -> bool:
    until = time.monotonic() + 30
    while pool.processes and time.monotonic() < until:
        time.sleep(0.01)
    return not pool.processes


def test_a_function_runs_in_another_process():
    with running() as pool:
        assert asyncio.run(pool.call(double, 21)) == 42
        assert pool.processes != [os.getpid()]


def test_an_unused_pool_has_no_process_and_no_thread():
    with running() as pool:
        assert pool.processes == []


def test_an_idle_process_ends():
    with running(idle_seconds=0.05) as pool:
        assert asyncio.run(pool.call(double, 1)) == 2
        assert has_ended(pool)
        assert asyncio.run(pool.call(double, 2)) == 4, "and another starts when it is needed"


@pytest.mark.parametrize("function", [spin, spin_in_c])
def test_a_job_that_takes_too_long_is_ended_and_the_next_one_runs(function):
    async def main() -> None:
        with pytest.raises(CheckLimitExceeded, match=r"more than 0\.2 s of CPU time"):
            await pool.call(function, seconds=0.2)
        assert await pool.call(double, 3) == 6

    with running() as pool:
        asyncio.run(main())


def test_a_job_that_takes_too_much_memory_is_ended_and_the_next_one_runs():
    async def main() -> None:
        with pytest.raises(CheckLimitExceeded, match="memory"):
            await pool.call(take, 256 * MIB)
        assert await pool.call(take, 32 * MIB) == 32 * MIB

    with running() as pool:
        asyncio.run(main())


def test_a_job_that_crashes_its_process_fails_alone():
    async def main() -> None:
        with pytest.raises(CheckLimitExceeded, match="memory"):  # C++ aborts when it gets no memory
            await pool.call(abort)
        with pytest.raises(TierwiseError, match="exit code 3"):
            await pool.call(end)
        assert await pool.call(double, 3) == 6

    with running() as pool:
        asyncio.run(main())


def test_errors_of_the_function_come_back():
    async def main() -> None:
        with pytest.raises(ValueError, match="7 is odd"):
            await pool.call(refuse)
        with pytest.raises(TierwiseError, match="KeyError: 'gone'"):
            await pool.call(break_down)

    with running() as pool:
        asyncio.run(main())


def test_a_process_that_was_killed_while_idle_is_replaced():
    with running() as pool:
        asyncio.run(pool.call(double, 1))
        os.kill(pool.processes[0], signal.SIGKILL)
        time.sleep(0.2)
        assert asyncio.run(pool.call(double, 2)) == 4


def test_a_cancelled_job_is_ended_at_once():
    async def main() -> None:
        task = asyncio.create_task(pool.call(spin, seconds=600))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await pool.call(double, 3) == 6, "the only process is free again"

    with running() as pool:
        asyncio.run(asyncio.wait_for(main(), 60))


def test_a_cancelled_job_that_waits_is_never_run():
    async def main() -> None:
        first = asyncio.create_task(pool.call(spin, seconds=600))
        waiting = asyncio.create_task(pool.call(spin, seconds=600))
        await asyncio.sleep(0.5)
        waiting.cancel()
        first.cancel()
        await asyncio.wait([first, waiting])
        assert await pool.call(double, 3) == 6

    with running() as pool:
        asyncio.run(asyncio.wait_for(main(), 60))


def test_owners_take_turns():
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        queue = _Queue()
        for number, name in enumerate(["many", "many", "many", "few", "few", "one"]):
            queue.put(name, _Job(double, (number,), 1.0, loop, loop.create_future()))
        order = []
        while (job := queue.get()) is not None:
            order.append(job.arguments[0])
        assert len(queue) == 0
        return order

    assert asyncio.run(main()) == [0, 3, 5, 1, 4, 2]


def test_one_action_with_many_jobs_does_not_delay_another():
    async def as_owner(name: str, number: int, done: list[str]) -> None:
        owner.set(name)
        await pool.call(double, number)
        done.append(name)

    async def main() -> list[str]:
        done: list[str] = []
        await pool.call(double, 1)  # its process is there
        many = [asyncio.create_task(as_owner("many", number, done)) for number in range(50)]
        await asyncio.sleep(0)
        await as_owner("other", 1, done)
        place = len(done)
        await asyncio.gather(*many)
        return done[:place]

    with running() as pool:
        before = asyncio.run(main())
    assert len(before) < 10


def test_a_process_does_not_get_the_secrets_of_the_environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with running() as pool:
        assert "OPENAI_API_KEY" not in asyncio.run(pool.call(environment))


def test_the_pool_serves_one_event_loop_after_another():
    with running() as pool:
        assert [asyncio.run(pool.call(double, number)) for number in range(3)] == [0, 2, 4]
        assert len(pool.processes) == 1
