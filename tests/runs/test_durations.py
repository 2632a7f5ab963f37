"""Histograms of durations."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.runs.durations import Durations

some = st.lists(st.floats(0.0, 1e4), max_size=50)


@given(some, some)
def test_durations_can_be_added(left, right):
    added, whole = Durations.of(left) + Durations.of(right), Durations.of(left + right)
    assert (added.count, added.bins, added.longest) == (whole.count, whole.bins, whole.longest)
    assert added.seconds == pytest.approx(whole.seconds, abs=1e-5)


@given(st.lists(st.floats(2e-6, 1e4), min_size=1, max_size=50), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_accurate_to_nine_percent(values, share):
    ordered = sorted(values)
    true = next(value for rank, value in enumerate(ordered, 1) if rank >= share * len(ordered))
    assert Durations.of(values).quantile(share) == pytest.approx(true, rel=0.0906, abs=1e-6)


def test_no_durations_have_no_quantile_and_zero_durations_are_zero():
    assert Durations().quantile(0.5) is None
    assert Durations.of([0.0, 0.0, -1e-9]).quantile(0.99) <= 1e-6


def test_a_thousand_gaps_fit_on_a_line():
    gaps = Durations.of(0.02 + 0.00001 * (number % 100) for number in range(1000))
    line = msgspec.json.encode(gaps)
    assert len(line) < 100
    assert msgspec.json.decode(line, type=Durations) == gaps
