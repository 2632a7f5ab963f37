"""Which draws have ended, and how many may start."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.policies.draw_order import Ended, paced


@given(st.permutations(range(12)), st.integers(0, 12))
def test_the_first_draws_are_those_before_the_first_that_is_still_running(order, count):
    ended = Ended()
    for place in order[:count]:
        ended.add(place)
    running = set(order[count:])
    assert ended.first == min(running, default=12)
    assert len(ended) == count


@dataclass
class Engine:
    load: float
    width: int


@pytest.mark.parametrize(
    ("load", "started", "allowed"),
    [
        (0.0, 0, 8),  # idle: all of them
        (0.5, 0, 4),  # a slot for each of four
        (0.5, 4, 8),
        (1.0, 0, 3),  # busy: the two after the two that have ended, one of which is a draft
        (1.0, 5, 5),
    ],
)
def test_a_busy_engine_gets_what_the_rule_needs_and_an_idle_one_everything(load, started, allowed):
    ended = Ended()
    ended.add(0)
    ended.add(1)
    ended.add(3)
    assert paced(Engine(load, 8), ended, lambda: 2, before=1, most=8)(started) == allowed


def test_an_idle_engine_is_not_kept_waiting_for_what_the_rule_needs():
    def needed():
        raise AssertionError("it takes time to compute")

    assert paced(Engine(0.0, 8), Ended(), needed, before=0, most=8)(0) == 8
