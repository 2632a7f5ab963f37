"""A crowd of requests begins and ends over several turns of the event loop, in its order, and few requests at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from tierwise.gateway.pacing import MOST_PER_TURN, Pacer


class Turns:
    """An event loop whose turns are run by the test."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self._soon.append(callback)

    def next(self) -> None:
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()

    @property
    def is_idle(self) -> bool:
        return not self._soon


@pytest.mark.parametrize("crowds", [[1], [MOST_PER_TURN], [MOST_PER_TURN + 1], [50], [3, 0, 50, 2], [1, 1, 1, 1, 9]])
def test_each_request_is_started_once_in_its_order_and_few_in_a_turn(crowds):
    loop, begun, came = Turns(), list[int](), 0
    pacer = Pacer(cast("Any", loop))
    for crowd in [*crowds, *[0] * sum(crowds)]:
        before = len(begun)
        loop.next()
        for _ in range(crowd):
            pacer.start(begun.append, came)
            came += 1
        assert len(begun) - before <= MOST_PER_TURN
    assert begun == list(range(sum(crowds)))
    assert loop.is_idle  # nothing is called while nobody asks


def test_a_request_that_comes_alone_is_started_at_once():
    loop, begun = Turns(), list[str]()
    pacer = Pacer(cast("Any", loop))
    for name in ("first", "second"):
        pacer.start(begun.append, name)
        assert begun[-1] == name
        loop.next()


def test_ends_and_beginnings_share_the_turns_and_one_that_was_cancelled_costs_none_of_them():
    async def crowd() -> list[int]:
        pacer, ended = Pacer(asyncio.get_running_loop()), list[int]()

        async def end(number: int) -> None:
            await pacer.turn()
            ended.append(number)

        for number in range(MOST_PER_TURN):
            pacer.start(ended.append, number)
        tasks = [asyncio.create_task(end(number)) for number in range(MOST_PER_TURN, 30)]
        await asyncio.sleep(0)
        assert ended == list(range(2 * MOST_PER_TURN))  # those that came first, and the first that waited a turn
        tasks[10].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return ended

    assert asyncio.run(crowd()) == [number for number in range(30) if number != MOST_PER_TURN + 10]
