"""What is read from the load of experts, against closed forms."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.mixture.load import Layer, Load, divergence, jensen_shannon
from tierwise.mixture.window import Window
from tierwise.spec.errors import SpecError
from tierwise.spec.routing import Routing

HISTOGRAMS = st.lists(st.integers(0, 1000), min_size=2, max_size=12)


def layer(*counts: int) -> Layer:
    return Layer(number=0, counts=counts, router_entropy=None)


def routing(*counts: list[int], tokens: int = 4, source: str = "transformers", entropy: list[float] | None = None):
    return Routing(source=source, layers=range(len(counts)), counts=counts, tokens=tokens, active=2, entropy=entropy)


def test_an_even_load_is_balanced_in_every_figure():
    even = layer(5, 5, 5, 5)
    assert (even.balancedness, even.variation, even.entropy, even.active) == (1, 0, 1, 4)


def test_one_expert_that_gets_everything_is_as_far_from_balance_as_can_be():
    one = layer(8, 0, 0, 0)
    assert (one.balancedness, one.variation, one.entropy, one.active) == (0.25, math.sqrt(3), 0, 1)


def test_a_layer_without_load_says_nothing_rather_than_zero():
    nothing = layer(0, 0)
    assert (nothing.balancedness, nothing.variation, nothing.entropy, nothing.dead) == (None, None, None, None)


def test_an_expert_is_dead_only_where_there_were_tokens_enough_to_tell():
    assert (layer(5, 5, 0).dead, layer(50, 50, 0).dead) == (None, (2,))


@given(HISTOGRAMS)
def test_figures_stay_in_their_bounds(counts):
    found = layer(*counts)
    if sum(counts):
        assert 1 / len(counts) <= found.balancedness <= 1 + 1e-12
        assert -1e-12 <= found.entropy <= 1 + 1e-12


def test_passes_add_up_and_entropies_are_weighed_by_their_tokens():
    load = Load([routing([3, 1], tokens=2, entropy=[0.5]), routing([1, 3], tokens=6, entropy=[0.1])])
    (only,) = load.layers
    assert (list(only.counts), load.tokens, load.passes) == ([4, 4], 8, 2)
    assert only.router_entropy == pytest.approx((0.5 * 2 + 0.1 * 6) / 8)


def test_passes_whose_gate_is_not_known_do_not_dilute_the_entropy():
    load = Load([routing([3, 1], tokens=2, entropy=[0.5]), routing([1, 3], tokens=6)])
    assert load.layers[0].router_entropy == 0.5


@pytest.mark.parametrize("other", [routing([1, 2, 3]), routing([1, 2], [3, 4]), routing([1, 2], source="vllm")])
def test_records_of_another_shape_or_engine_are_not_mixed(other):
    load = Load([routing([1, 2])])
    with pytest.raises(SpecError, match="cannot be added to one of transformers with 1 mixture layers of 2 experts"):
        load.add(other)
    assert load.passes == 1


def test_the_hottest_experts_are_those_with_the_largest_multiple_of_an_equal_share():
    first, second = Load([routing([6, 2, 0, 0], [5, 1, 1, 1])]).hottest(2)
    assert (first.layer, first.expert, first.share, first.times) == (0, 0, 0.75, 3)
    assert (second.layer, second.expert, second.times) == (1, 0, 2.5)


@given(HISTOGRAMS, st.integers(1, 9))
def test_loads_of_the_same_shares_do_not_diverge(counts, times):
    assert jensen_shannon(counts, [times * count for count in counts]) == pytest.approx(0, abs=1e-9)


@given(HISTOGRAMS, HISTOGRAMS)
def test_divergence_is_symmetric_and_at_most_one_bit(one, other):
    size = min(len(one), len(other))
    forth, back = jensen_shannon(one[:size], other[:size]), jensen_shannon(other[:size], one[:size])
    assert forth == pytest.approx(back)
    assert 0 <= forth <= 1 + 1e-12


def test_disjoint_loads_diverge_by_one_bit_in_every_layer():
    apart = divergence(Load([routing([4, 0], [2, 2])]), Load([routing([0, 4], [2, 2])]))
    assert apart == pytest.approx([1, 0])


def test_a_window_shows_what_is_full_and_how_far_the_next_one_drifted():
    window = Window(tokens=4)
    window.add(routing([4, 0]))
    assert (window.drift, list(window.load.layers[0].counts)) == (None, [4, 0])
    window.add(routing([0, 4]))
    assert (window.drift, list(window.load.layers[0].counts)) == (1, [0, 4])
    window.add(routing([0, 1], tokens=1))
    assert (window.load.tokens, window.sampled) == (4, 3)
