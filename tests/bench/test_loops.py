"""Closed and open loops."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.bench.loops import closed_loop, open_loop
from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError
from tierwise.testing import frozen
from tierwise.workloads.arrival import Constant


def times(loop, *arguments, length):
    """Scheduled and actual start of each item, in seconds from the start of the loop."""
    seen = []

    async def main():
        began = now()

        async def attend(item, due):
            seen.append((round(due - began, 6), round(now() - began, 6)))
            await asyncio.sleep(length)

        await loop(range(4), *arguments, attend)

    frozen(main())
    return seen


def test_an_open_loop_starts_items_at_their_scheduled_times():
    assert times(open_loop, Constant(2.0).moments(0), length=60.0) == [(at, at) for at in (0.0, 0.5, 1.0, 1.5)]


def test_a_closed_loop_starts_an_item_when_another_ends():
    assert [at for at, _ in times(closed_loop, 2, length=60.0)] == [0.0, 0.001, 60.0, 60.001]


def test_a_late_item_keeps_its_scheduled_time():
    seen = []

    async def main():
        began = now()

        async def attend(item, due):
            seen.append((round(due - began, 6), round(now() - began, 6)))
            if item == 0:
                asyncio.get_running_loop().skip(2.0)  # something holds the whole runner up

        await open_loop(range(3), Constant(1.0).moments(0), attend)

    frozen(main())
    assert seen == [(0.0, 0.0), (1.0, 2.0), (2.0, 2.0)]


def test_a_delay_moves_every_later_item_and_bunches_none():
    """From 1.2 s to 6.2 s nothing can start; what the schedule holds for that time follows at its own distances."""
    seen = []

    async def main():
        began = now()

        async def delay():
            if not 1.2 <= now() - began < 6.2:
                return 5.0 if now() - began >= 6.2 else 0.0
            await asyncio.sleep(began + 6.2 - now())
            return 5.0

        async def attend(item, due):
            seen.append((round(due - began, 6), round(now() - began, 6)))

        await open_loop(range(6), Constant(2.0).moments(0), attend, delay)

    frozen(main())
    assert seen == [(at, at) for at in (0.0, 0.5, 1.0, 6.5, 7.0, 7.5)]


def test_an_open_loop_raises_the_first_tierwise_error():
    async def attend(item, due):
        if item == 2:
            raise TierwiseError("the disk is full")

    with pytest.raises(TierwiseError, match="disk"):
        frozen(open_loop(range(100), Constant(10.0).moments(0), attend))


def test_a_closed_loop_raises_the_first_tierwise_error():
    done = []

    async def attend(item, due):
        done.append(item)
        await asyncio.sleep(0)
        if item == 2:
            raise TierwiseError("the disk is full")

    with pytest.raises(TierwiseError, match="disk"):
        asyncio.run(closed_loop(range(100), 2, attend))
    assert len(done) < 10
