"""Log-probabilities are read within their range, and what is none counts as missing."""

from __future__ import annotations

import math

import pytest

from tierwise.spec.call import Completion
from tierwise.spec.logprobs import log_probability


@pytest.mark.parametrize("value", [None, True, "-1", math.nan, math.inf, -math.inf, 0.5, []])
def test_what_is_no_log_probability_counts_as_missing(value):
    assert log_probability(value) is None


@pytest.mark.parametrize(("value", "read"), [(0, 0.0), (-9999, -100.0), (1e-6, 0.0), (-1.5, -1.5)])
def test_log_probabilities_are_read_within_their_range(value, read):
    assert log_probability(value) == read


@pytest.mark.parametrize(("sent", "mean"), [([1e-4, -1.0], -0.5), ([3.0, -1.0], -1.0), ([float("nan"), True], None)])
def test_the_mean_log_probability_of_a_completion_is_over_what_can_be_read(sent, mean):
    assert Completion(logprobs=tuple({"logprob": one} for one in sent)).mean_logprob == mean
