"""Passes that run side by side share every busy second equally, and nobody pays for an idle one."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.occupancy import Occupancy

ticks = st.integers(0, 30)
passes = st.lists(st.tuples(ticks, ticks).map(sorted).map(tuple), max_size=12)


def shares(spans: list[tuple[int, int]], *, unit=Fraction(1)) -> list[Fraction]:
    """What each pass is charged when it enters and leaves at these times."""
    occupancy, marks, charged = Occupancy(), {}, {}
    moments = [(start, 0, number) for number, (start, _) in enumerate(spans)]
    moments += [(end, 1, number) for number, (_, end) in enumerate(spans)]
    for moment, is_end, number in sorted(moments):
        if is_end:
            charged[number] = occupancy.leave(marks[number], moment * unit)
        else:
            marks[number] = occupancy.enter(moment * unit)
    assert occupancy.running == 0
    return [charged[number] for number in range(len(spans))]


def by_hand(spans: list[tuple[int, int]]) -> list[Fraction]:
    """The oracle: tick by tick, every pass that runs pays its part of the tick."""
    charged = [Fraction(0)] * len(spans)
    for tick in range(31):
        running = [number for number, (start, end) in enumerate(spans) if start <= tick < end]
        for number in running:
            charged[number] += Fraction(1, len(running))
    return charged


@given(passes)
def test_every_share_is_what_counting_tick_by_tick_gives(spans):
    assert shares(spans) == by_hand(spans)


@given(passes)
def test_shares_add_up_to_the_time_in_which_anything_ran(spans):
    busy = len({tick for start, end in spans for tick in range(start, end)})
    assert sum(shares(spans)) == busy


@given(passes, st.floats(1e-6, 1e3))
def test_seconds_of_a_real_clock_add_up_as_well(spans, unit):
    expected = [float(share) * unit for share in by_hand(spans)]
    assert shares(spans, unit=unit) == pytest.approx(expected, rel=1e-9, abs=1e-9 * unit)


def test_a_lone_pass_pays_for_all_of_its_time_and_for_no_other():
    assert shares([(5, 8), (20, 21)]) == [3, 1]


def test_a_pass_that_takes_no_time_pays_nothing():
    assert shares([(3, 3), (0, 9)]) == [0, 9]


def test_it_knows_how_many_run_now():
    occupancy = Occupancy()
    one, _two = occupancy.enter(0.0), occupancy.enter(1.0)
    assert occupancy.running == 2
    occupancy.leave(one, 2.0)
    assert occupancy.running == 1


def test_a_running_pass_has_a_share_before_it_ends():
    occupancy = Occupancy()
    first = occupancy.enter(0.0)
    second = occupancy.enter(2.0)
    assert (occupancy.shared(4.0) - first, occupancy.shared(4.0) - second) == (3.0, 1.0)
    assert (occupancy.leave(second, 4.0), occupancy.leave(first, 5.0)) == (1.0, 4.0)
