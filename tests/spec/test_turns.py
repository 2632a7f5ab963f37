"""Turns for work that cannot be interrupted."""

from __future__ import annotations

import asyncio
import time

from tierwise.spec.turns import turn


def test_turns_are_taken_one_after_the_other_in_the_order_of_arrival():
    order = []

    async def work(number: int) -> None:
        async with turn():
            order.append(number)

    async def main() -> None:
        await asyncio.gather(*(work(number) for number in range(5)))

    asyncio.run(main())
    assert order == [0, 1, 2, 3, 4]


def test_there_is_a_pause_after_a_turn():
    moments = []

    async def work() -> None:
        async with turn():
            moments.append(time.perf_counter())
            time.sleep(0.02)  # noqa: ASYNC251 - work that cannot be interrupted

    async def main() -> None:
        await asyncio.gather(work(), work())

    asyncio.run(main())
    assert moments[1] - moments[0] >= 0.075


def test_a_cancelled_wait_does_not_keep_the_turn():
    async def main() -> int:
        async with turn():
            pass
        waiting = [asyncio.create_task(turn().__aenter__()) for _ in range(3)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        async with turn():
            return 7

    assert asyncio.run(asyncio.wait_for(main(), 10)) == 7
