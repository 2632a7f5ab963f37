"""Numbers as readers want them."""

from __future__ import annotations

import pytest

from tierwise.report import numbers
from tierwise.stats.estimates import Estimate, Interval


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "$0"),
        (0.00002356, "$0.0000236"),
        (0.1234, "$0.123"),
        (1.5, "$1.50"),
        (1234.567, "$1234.57"),
        (-0.002, "$-0.002"),
    ],
)
def test_dollars_show_digits_that_count_and_no_exponent(value, text):
    assert numbers.dollars(value) == text.replace("$-0.002", "-$0.00200")


@pytest.mark.parametrize(
    ("value", "text"), [(0.0042, "4.2 ms"), (0.25, "250 ms"), (3.14159, "3.14 s"), (75.26, "75.3 s"), (-0.3, "-300 ms")]
)
def test_seconds_take_the_unit_that_fits(value, text):
    assert numbers.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 %"),
        (1, "100 %"),
        (0.625, "62 %"),
        (0.001, "0.1 %"),
        (1 / 200, "0.5 %"),
        (0.0051, "0.51 %"),
        (0.995, "99.5 %"),
        (0.999, "99.9 %"),
    ],
)
def test_shares_are_percents_that_never_round_to_certainty(value, text):
    assert numbers.percent(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-0.37, "-37 %"),
        (-1, "-100 %"),
        (-2.5, "-250 %"),
        (-0.005, "-0.5 %"),
        (-0.004, "-0.4 %"),
        (-2e-6, "-0.0002 %"),
        (-1e-7, "> -0.0001 %"),
        (1e-7, "< 0.0001 %"),
        (-2.2e-16, "0 %"),
        (2.2e-16, "0 %"),
    ],
)
def test_a_saving_that_is_none_is_shown_below_zero_and_a_tiny_one_as_tiny(value, text):
    assert numbers.percent(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (1.0, "1"), (2.73, "2.7"), (1234.5, "1,234")])
def test_counts_are_short(value, text):
    assert numbers.count(value) == text


def test_an_interval_that_is_not_there_says_why():
    assert numbers.interval(Estimate(value=3.1, interval=None, n=40), numbers.seconds) == "n=40, no interval"
    open_ended = Estimate(value=3.1, interval=Interval(2.0, None), n=40)
    assert numbers.interval(open_ended, numbers.seconds) == "[2.00 s, ∞]"
