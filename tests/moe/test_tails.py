"""Imbalance beside the pauses between tokens."""

from __future__ import annotations

import pytest

from tierwise.moe.routed import RoutedPass
from tierwise.moe.tails import tail
from tierwise.runs.durations import Durations
from tierwise.spec.routing import Routing


def done(number: int, most: int, pause: float, pauses: int = 10) -> RoutedPass:
    """A pass whose first expert gets `most` of 100 choices, and whose pauses last `pause` seconds."""
    return RoutedPass(
        task=str(number),
        tags=[],
        number=0,
        began=0.0,
        first_token=0.1,
        seconds=1.0,
        gaps=Durations.of([pause] * pauses),
        prompt_tokens=1,
        completion_tokens=pauses + 1,
        routing=Routing(source="vllm", layers=[0], counts=[[most, 100 - most]], tokens=100, active=1),
    )


def test_passes_that_are_slow_where_they_are_uneven_correlate_below_zero():
    found = tail([done(n, 50 + n, 0.01 * (1 + n)) for n in range(30)], draws=200)
    assert found.correlation == pytest.approx(-1)
    assert [third.name for third in found.thirds] == ["most even", "middle", "least even"]
    assert found.thirds[0].p50 < found.thirds[2].p50  # type: ignore[operator]


def test_pauses_that_have_nothing_to_do_with_balance_leave_zero_in_the_interval():
    found = tail([done(n, 50 + n % 7, 0.01 * (1 + n % 5)) for n in range(35)], draws=500)
    assert found.low < 0 < found.high  # type: ignore[operator]


def test_few_passes_have_no_correlation():
    assert tail([done(n, 50 + n, 0.01) for n in range(10)]).correlation is None


def test_a_p99_is_told_only_from_pauses_enough():
    found = tail([done(n, 50 + n, 0.01, pauses=40 if n >= 20 else 10) for n in range(30)], draws=50)
    assert [third.p99 is None for third in found.thirds] == [True, True, False]


def test_balance_that_never_changes_correlates_with_nothing():
    assert tail([done(n, 60, 0.01 * (1 + n)) for n in range(30)]).correlation is None


def test_a_recording_without_pauses_says_nothing():
    assert tail([done(0, 50, 0.01, pauses=0)]).thirds == []
