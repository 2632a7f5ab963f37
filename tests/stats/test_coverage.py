"""The coverage grid of benchmarks/coverage.py, small: the intervals hold the truth about as often as they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = importlib.util.spec_from_file_location("coverage_grid", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["coverage_grid"] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


def test_every_share_of_repeats_covers_its_truth(coverage):
    result = coverage.Result("repeats", list(coverage.repeats_grid(1000, np.random.default_rng(2), (10, 100))))
    assert result.worst.coverage > 0.91, result.worst.what
    assert result.in_band > 0.8


def test_every_share_of_clusters_covers_its_truth(coverage):
    result = coverage.Result("clusters", list(coverage.clusters_grid(1000, np.random.default_rng(3), (10,))))
    assert result.worst.coverage > 0.91, result.worst.what


def test_every_paired_difference_covers_its_truth(coverage):
    result = coverage.Result("pairs", list(coverage.pairs_grid(400, np.random.default_rng(4), (20,))))
    assert result.worst.coverage > 0.90, result.worst.what


def test_every_pass_at_k_covers_its_truth(coverage):
    result = coverage.Result("pass@k", list(coverage.pass_at_grid(1000, np.random.default_rng(5), (100,))))
    assert result.worst.coverage > 0.90, result.worst.what


def test_the_simulated_clusters_are_as_alike_as_the_grid_says(coverage):
    chance = coverage.successes(0.3, 0.2, 8)
    counts = np.arange(9)
    mean, square = chance @ counts, chance @ counts**2
    assert mean == pytest.approx(2.4)
    assert square - mean**2 == pytest.approx(8 * 0.21 * (1 + 7 * 0.2))
