"""Student's t without scipy is scipy's, and comparing runs loads no scipy at all."""

from __future__ import annotations

import subprocess
import sys

import pytest
from scipy import special

from tierwise.stats.student import beyond, quantile


@pytest.mark.parametrize("freedom", [0.5, 1, 2, 3.7, 10, 49, 200, 999, 12345.5, 1e6])
@pytest.mark.parametrize("tail", [0.2, 0.025, 0.0001])
def test_quantiles_are_those_of_scipy(freedom, tail):
    assert quantile(freedom, tail) == pytest.approx(special.stdtrit(freedom, 1 - tail), rel=2e-9)


@pytest.mark.parametrize(("freedom", "published"), [(1, 12.706), (4, 2.776), (30, 2.042), (120, 1.980)])
def test_quantiles_are_those_of_the_tables(freedom, published):
    assert quantile(freedom, 0.025) == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("t", [0.0, 1e-9, 0.5, 3.0, 80.0])
def test_tails_are_those_of_scipy(t):
    for freedom in (1, 7, 300):
        assert beyond(t, freedom) == pytest.approx(special.stdtr(freedom, -t), rel=1e-9)


def test_comparing_two_runs_needs_neither_scipy_nor_an_http_client():
    unwanted = "{'scipy', 'aiohttp', 'jsonschema'}"
    code = f"import sys, tierwise.analysis.compare; print(*sorted(sys.modules.keys() & {unwanted}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
