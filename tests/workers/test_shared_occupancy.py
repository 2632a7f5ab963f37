"""Passes of several processes share every busy second of a deployment equally."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.occupancy import Occupancy
from tierwise.workers.shared_occupancy import SharedRoom

OTHER, OWN = 0, 1
ticks = st.integers(0, 30)
passes = st.lists(st.tuples(ticks, ticks).map(sorted), max_size=12)


@contextmanager
def room(processes: int = 3) -> Iterator[SharedRoom]:
    made = SharedRoom(2, processes)
    assert [made.take(), made.take(), made.take()] == [OTHER, OWN, None]
    try:
        yield made
    finally:
        made.close()


@given(passes)
def test_what_passes_are_charged_is_the_same_as_in_one_process(spans):
    with room() as shared:
        alone, charged, expected = Occupancy(), {}, {}
        of_processes = [shared.occupancy(OWN, number) for number in range(3)]
        moments = [(start, 0, number) for number, (start, _) in enumerate(spans)]
        moments += [(end, 1, number) for number, (_, end) in enumerate(spans)]
        marks: dict[int, tuple[float, float]] = {}
        for moment, is_end, number in sorted(moments):
            mine = of_processes[number % 3]
            if is_end:
                charged[number] = mine.leave(marks[number][0], moment)
                expected[number] = alone.leave(marks[number][1], moment)
            else:
                marks[number] = mine.enter(moment), alone.enter(moment)
            assert {one.running for one in of_processes} == {alone.running}
            assert shared.occupancy(OTHER, 0).running == 0
        for number in range(len(spans)):
            assert abs(charged[number] - expected[number]) < 1e-9


def test_the_passes_of_a_process_that_died_end_with_it():
    with room() as shared:
        mine = shared.occupancy(OWN, 0)
        mark = mine.enter(0.0)
        if (pid := os.fork()) == 0:
            shared.occupancy(OWN, 1).enter(10.0)
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        assert mine.running == 2
        shared.clear(1, 20.0)
        assert mine.running == 1
        assert mine.leave(mark, 30.0) == 10.0 + 5.0 + 10.0


def test_processes_that_change_it_at_the_same_time_lose_no_pass_and_no_second():
    with room(4) as shared:
        began = time.monotonic()
        pids = []
        for number in range(4):
            if (pid := os.fork()) == 0:
                mine, billed = shared.occupancy(OWN, number), 0.0
                for _ in range(2000):
                    mark = mine.enter(time.monotonic())
                    billed += mine.leave(mark, time.monotonic())
                os._exit(0 if billed <= time.monotonic() - began else 1)
            pids.append(pid)
        assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * 4
        whole = shared.occupancy(OWN, 0)
        assert whole.running == 0
        assert 0 < whole.shared(time.monotonic()) <= time.monotonic() - began


def test_a_place_that_was_given_back_counts_from_nothing():
    with room() as shared:
        mine = shared.occupancy(OWN, 0)
        mine.leave(mine.enter(0.0), 10.0)
        shared.give_back(OWN)
        assert shared.take() == OWN
        again = shared.occupancy(OWN, 2)
        assert again.running == 0
        assert again.leave(again.enter(20.0), 25.0) == 5.0
