"""The benchmark of the overhead fails when a request takes more than its bound."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def bounds(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import overhead_bounds  # noqa: PLC0415 - benchmarks are programs, not a package

    return overhead_bounds


def test_a_request_at_its_bound_is_accepted_and_one_above_it_is_named(bounds):
    floor = dict.fromkeys(bounds.BOUNDS, 20.0)
    ours = {name: 20.0 * bound for name, bound in bounds.BOUNDS.items()}
    assert bounds.exceeded({"floor": floor, "tierwise": ours}) == []
    ours["cpu_us_json_c32"] *= 1.1
    (said,) = bounds.exceeded({"floor": floor, "tierwise": ours})
    assert said.startswith("cpu_us_json_c32: 616 is 30.8 × the floor's 20; allowed are 28 ×")
