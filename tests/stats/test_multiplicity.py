"""Adjusted p values against the original papers' rules and against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tierwise.stats.multiplicity import benjamini_hochberg, holm

ps = st.lists(st.floats(0, 1), max_size=30)


def test_holm_gives_the_textbook_answer():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_benjamini_and_hochberg_reject_the_four_of_their_own_example():  # 1995, §3.2: 15 endpoints of a trial
    example = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    example += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert sum(p <= 0.05 for p in benjamini_hochberg(example)) == 4
    assert sum(p <= 0.05 for p in holm(example)) == 3


@given(ps)
def test_benjamini_and_hochberg_agree_with_scipy(values):
    assert benjamini_hochberg(values) == pytest.approx(list(stats.false_discovery_control(values)) if values else [])


@given(ps)
def test_holm_never_helps_and_never_exceeds_bonferroni(values):
    for raw, adjusted in zip(values, holm(values), strict=True):
        assert raw <= adjusted <= min(1.0, raw * len(values))


@given(ps)
def test_holm_keeps_the_order(values):
    adjusted = [after for _, after in sorted(zip(values, holm(values), strict=True))]
    assert adjusted == sorted(adjusted)
