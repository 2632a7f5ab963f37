"""The forms of `--arrival`, and their arrival times."""

from __future__ import annotations

import statistics
from itertools import islice, pairwise

import pytest

from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.workloads.arrival import Constant, Poisson, RecordedArrivals, read_arrival, read_trace


def first(arrival, number, seed=0):
    return list(islice(arrival.moments(seed), number))


def test_poisson_arrivals_have_their_rate_and_a_seed_repeats_them():
    moments = first(Poisson(5.0), 4000)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert statistics.mean(gaps) == pytest.approx(0.2, rel=0.06)
    assert statistics.stdev(gaps) == pytest.approx(0.2, rel=0.08)
    assert moments == first(Poisson(5.0), 4000) != first(Poisson(5.0), 4000, seed=1)


def test_constant_arrivals_stand_at_equal_distances():
    assert first(Constant(4.0), 4) == [0.0, 0.25, 0.5, 0.75]


def test_a_trace_that_is_too_short_begins_again_a_mean_gap_after_its_end():
    assert first(RecordedArrivals((0.0, 1.0, 4.0)), 5) == [0.0, 1.0, 4.0, 6.0, 7.0]
    assert first(RecordedArrivals((0.0,)), 3) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(
    "lines",
    [
        ("10", "10.5", "12"),
        ('{"seconds": 10}', '{"seconds": 10.5, "user": 3}', '{"seconds": 12}'),
        ('{"timestamp": 10000}', '{"timestamp": 10500, "input_length": 7}', '{"timestamp": 12000}'),
        ("2026-11-22T10:00:10Z", "2026-11-22T10:00:10.5Z", '{"timestamp": "2026-11-22T10:00:12Z"}'),
    ],
)
def test_a_trace_is_read_in_every_form_and_counts_from_its_first_arrival(tmp_path, lines):
    path = tmp_path / "trace.jsonl"
    path.write_text("\n".join((*lines, "")))
    assert read_trace(path).at == pytest.approx((0.0, 0.5, 2.0))


def test_every_bad_line_of_a_trace_is_named_with_its_place(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_text('1\n\nsoon\n{"second": 2}\n-1\n3\n2.5\nNaN\ntrue\n1e999\n2026-99-99\n')
    with pytest.raises(ConfigErrors) as caught:
        read_trace(path)
    assert [error.field for error in caught.value.errors] == [
        f"trace.jsonl:{line}" for line in (3, 4, 5, 7, 8, 9, 10, 11)
    ]
    assert "trace.jsonl:3: 'soon' is not a time" in str(caught.value)
    assert "trace.jsonl:7: is 0.5 s before the previous line" in str(caught.value)


def test_a_trace_without_arrivals_or_that_is_not_there_is_refused(tmp_path):
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigErrors, match="has no arrivals"):
        read_trace(tmp_path / "empty")
    with pytest.raises(NotFound, match="there is no trace"):
        read_arrival(f"trace:{tmp_path / 'none'}")


@pytest.mark.parametrize(
    "text", ["", "open", "closed:4", "poisson", "poisson:0", "constant:-1", "poisson:nan", "trace:"]
)
def test_an_arrival_that_nobody_knows_is_refused(text):
    with pytest.raises(SpecError, match=r"allowed|a number above 0"):
        read_arrival(text)


def test_arrivals_are_read_as_they_are_written():
    assert read_arrival("closed") is None
    assert (read_arrival("poisson:2.5"), read_arrival("constant:4")) == (Poisson(2.5), Constant(4.0))
