"""How many answers overlap is told from the order of their pieces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tierwise.engines.probe.slots import side_by_side


def seen(slots: int, *, pieces: int = 3, asked: int = 4) -> int | None:
    async def main() -> int | None:
        room = asyncio.Semaphore(slots)

        async def stream() -> AsyncGenerator[str]:
            async with room:
                for number in range(pieces):
                    await asyncio.sleep(0)
                    yield str(number)

        return await side_by_side(stream, asked)

    return asyncio.run(main())


@pytest.mark.parametrize("slots", [1, 2, 3, 4])
def test_as_many_overlap_as_there_are_slots(slots):
    assert seen(slots) == slots


def test_more_slots_than_requests_cannot_be_seen():
    assert seen(100) == 4


def test_answers_in_one_piece_tell_nothing():
    assert seen(4, pieces=1) is None


def test_a_failure_comes_out_as_it_is():
    async def stream() -> AsyncGenerator[str]:
        yield "a"
        raise TimeoutError

    with pytest.raises(TimeoutError):
        asyncio.run(side_by_side(stream, 2))
