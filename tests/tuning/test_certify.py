from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from made_evaluations import evaluated, routes
from tierwise.stats.promises import exact
from tierwise.tuning.certify import Order, Promises, certify, judged, ordered, pareto, walk
from tierwise.tuning.chains import EXACT, nested_chains

HARM = Promises(limit=0.05)


def parts(tasks: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(tasks)
    return order[: tasks // 2], order[tasks // 2 :]


def test_the_cheapest_setting_that_keeps_the_promise_is_certified():
    harm = np.zeros((3, 300))
    harm[0, ::4] = 1  # cheap, and harms every fourth task
    found = certify(evaluated(harm, [0.1, 0.5, 1.0]), range(150), range(150, 300), HARM)
    assert found is not None
    assert found.name == "setting 1"
    assert found.tested.p_value == pytest.approx(0.95**150)


def test_nothing_is_certified_where_every_setting_harms_too_often():
    harm = np.zeros((2, 300))
    harm[:, ::4] = 1
    assert certify(evaluated(harm, [0.1, 0.5]), range(150), range(150, 300), HARM) is None


def test_too_few_calibration_tasks_certify_nothing():
    of = evaluated(np.zeros((1, 158)), [0.1])
    assert certify(of, range(100), range(100, 158), HARM) is None
    assert certify(of, range(99), range(99, 158), HARM) is not None  # 59 of them


def test_the_tests_stop_at_the_first_failure_and_never_look_beyond():
    harm = np.zeros((3, 400))
    harm[1, 200::5] = 1  # looks harmless on the tuning tasks
    of = evaluated(harm, [0.1, 0.5, 1.0])
    found = walk(of, range(200), range(200, 400), HARM, Order(settings=(2, 1, 0)))
    assert [one.setting for one in found] == [2]


def test_the_order_is_that_of_the_tuning_tasks_alone():
    of = routes(600)
    other = np.where(np.arange(600)[None, :] < 300, of.harm, 1 - of.harm)
    changed = evaluated(other, of.dollars[:, 0].tolist(), kept=of.kept)
    assert ordered(of, range(300), HARM, 300) == ordered(changed, range(300), HARM, 300)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_pareto_set_is_all_that_nothing_beats(pairs):
    dollars, risks = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    kept = set(pareto(dollars, risks).tolist())
    for index, (cost, risk) in enumerate(pairs):
        beaten = any((c, r) != (cost, risk) and c <= cost and r <= risk for c, r in pairs)
        equal = any(other in kept and pairs[other] == (cost, risk) for other in range(len(pairs)))
        assert equal != beaten
        assert index not in kept or not beaten


def test_a_promise_on_a_known_population_is_broken_in_at_most_the_share_that_is_allowed():
    rng = np.random.default_rng(1)
    broken = certified = 0
    for _ in range(200):
        of = routes(1000, seed=int(rng.integers(1 << 30)))
        tuning, calibration = (part[:300] for part in parts(1000, rng))
        found = certify(of, tuning, calibration, HARM)
        if found is not None:
            certified += 1
            broken += of.harm[found.setting].mean() > HARM.limit
    assert certified > 150
    assert broken <= 10  # 5 % of 200; finite populations are known in part, so it is less


def test_a_late_test_is_one_exact_binomial_tail():
    harm = np.zeros((1, 400))
    harm[0, 200:204] = 1
    found = judged(evaluated(harm, [1.0]), 0, range(200, 400), HARM)
    assert found.method == "exact"
    assert found.p_value == pytest.approx(exact(4, 200, 0.05))


def test_independent_tasks_count_with_one_order_of_their_draws():
    harm = np.full((1, 400), 0.01)
    found = judged(evaluated(harm, [1.0], orders=4), 0, range(200, 400), HARM)
    assert found.method == "exact"
    assert found.losses.risk == 0  # of the first order


def test_a_mean_over_orders_is_never_taken_as_a_coin():
    units = [one // 2 for one in range(400)]
    of = evaluated(np.zeros((1, 400)), [1.0], orders=4, units=units)
    assert judged(of, 0, range(0, 400, 2), Promises(kind="net", limit=0.05)).method == "betting"
    assert judged(of, 0, range(200, 400), HARM).method == "betting"


def test_clusters_are_the_units():
    units = [one // 2 for one in range(400)]
    found = judged(evaluated(np.zeros((1, 400)), [1.0], units=units), 0, range(200, 400), HARM)
    assert found.method == "betting"
    assert len(found.losses.values) == 100
    assert found.losses.tasks == 200


def test_a_heavier_unit_than_was_declared_is_refused():
    weights = [1.0] * 399 + [3.0]
    with pytest.raises(ValueError, match="more than the declared"):
        judged(evaluated(np.zeros((1, 400)), [1.0], weights=weights), 0, range(200, 400), HARM, most=1.0)


def test_gains_offset_harm_in_a_net_promise():
    rng = np.random.default_rng(0)
    harm, gain = np.zeros((1, 2000)), np.zeros((1, 2000))
    which = rng.permutation(2000)
    harm[0, which[:60]] = 1
    gain[0, which[60:120]] = 1
    of = evaluated(harm, [0.5], gain=gain)
    assert certify(of, range(1000), range(1000, 2000), Promises(limit=0.02)) is None
    assert certify(of, range(1000), range(1000, 2000), Promises(kind="net", limit=0.02)) is not None


def test_a_selective_promise_counts_only_what_is_kept():
    harm = np.zeros((1, 400))
    kept = np.zeros((1, 400))
    kept[0, ::4] = 1
    of = evaluated(harm, [0.5], kept=kept)
    found = judged(of, 0, range(200, 400), Promises(kind="selective", limit=0.05))
    assert found.losses.tasks == 50
    assert found.p_value == pytest.approx(0.95**50)


@pytest.mark.parametrize(("slow", "passes"), [(0.0, True), (0.2, False)])
def test_latency_is_a_promise_of_the_same_hypothesis(slow, passes):
    seconds = np.ones((1, 400, 1))
    seconds[0, : int(400 * slow)] = 9
    seconds[0] = np.random.default_rng(0).permutation(seconds[0])
    of = evaluated(np.zeros((1, 400)), [0.5], seconds=seconds)
    assert (certify(of, range(200), range(200, 400), Promises(limit=0.05, p95=8)) is not None) is passes


@pytest.mark.parametrize(("dollars", "passes"), [(0.1, True), (0.5, False)])
def test_dollars_are_a_promise_within_a_hard_budget(dollars, passes):
    of = evaluated(np.zeros((1, 400)), [dollars])
    wanted = Promises(limit=0.05, dollars=0.3, budget=1.0)
    assert (certify(of, range(200), range(200, 400), wanted) is not None) is passes


def test_the_promise_that_fails_is_named():
    of = evaluated(np.zeros((1, 400)), [0.5], seconds=np.full((1, 400, 1), 9.0))
    assert judged(of, 0, range(200, 400), Promises(limit=0.05, p95=8)).binding == "p95"
    assert judged(of, 0, range(200, 400), Promises(limit=0.05, p95=80)).binding == "harm"


def test_dollars_without_a_budget_are_refused():
    with pytest.raises(ValueError, match="budget"):
        Promises(limit=0.05, dollars=1.0)


def test_a_latency_of_independent_tasks_is_that_of_one_order_of_their_draws():
    seconds = np.ones((1, 130, 4))
    seconds[:, :, 1:] = 9  # the other orders are slow
    of = evaluated(np.zeros((1, 130)), [0.5], seconds=seconds, orders=4)
    assert certify(of, range(70), range(70, 130), Promises(limit=0.05, p95=8)) is not None


@pytest.mark.parametrize("kind", ["harm", "net", "selective"])
def test_clusters_of_unequal_sizes_and_weights_reject_falsely_as_rarely_as_was_promised(kind):
    """Every cluster harms whole or not at all; the risk is at the limit."""
    rng = np.random.default_rng(4)
    limit, rejected = 0.1, 0
    for _ in range(200):
        sizes = rng.integers(1, 6, 150)
        units = np.repeat(np.arange(150), sizes)
        harm = (rng.random(150) < limit)[units].astype(float)[None, :]
        weights = rng.choice([1.0, 2.0], 150)[units]
        order = rng.permutation(150)
        totals = np.bincount(units, weights=weights)
        order = np.concatenate([[totals.argmax()], order[order != totals.argmax()]])
        tuning, calibration = (np.flatnonzero(np.isin(units, part)) for part in (order[:30], order[30:]))
        of = evaluated(harm, [0.5], units=units, weights=weights)
        rejected += certify(of, tuning, calibration, Promises(kind=kind, limit=limit)) is not None
    assert rejected <= 18  # 5 % of 200, and three standard errors


def test_the_stricter_thresholds_of_a_signal_are_tested_before_the_loosest_without_a_loss():
    harm, kept = np.zeros((3, 600)), np.zeros((3, 600))
    kept[0] = kept[1, ::2] = kept[2, ::4] = 1
    harm[0, :300:8] = harm[0, 300::8] = 1
    harm[1, 300::16] = 1  # looks harmless on the tuning tasks
    of = evaluated(harm, [0.1, 0.5, 0.8], kept=kept)
    promises = Promises(limit=0.02)
    assert ordered(of, range(300), promises, 300).settings == (2, 1, 0)
    found = certify(of, range(300), range(300, 600), promises)
    assert found is not None
    assert found.name == "setting 2"


def test_thresholds_of_another_signal_are_no_part_of_a_chain():
    kept = np.zeros((5, 8))
    kept[0], kept[1, :4], kept[2, :2], kept[3, 3:6], kept[4, :4] = 1, 1, 1, 1, 1
    dollars = np.array([0.1, 0.5, 0.75, 0.6, 0.5])
    assert nested_chains(kept, dollars, [1]) == [(0, 1, 2)]
    assert nested_chains(kept, dollars, [1, 2, 3]) == [(0, 1, 2), (0, 2, 4), (0, 3)]


def test_a_chain_is_ordered_by_all_promises():
    harm, kept = np.zeros((2, 600)), np.ones((2, 600))
    kept[1, ::2] = 0
    of = evaluated(harm, [0.1, 0.5], kept=kept)
    wanted = Promises(limit=0.05, dollars=0.3, budget=1.0)
    assert ordered(of, range(300), wanted, 300).settings[0] == 0  # the stricter one costs too much
    found = certify(of, range(300), range(300, 600), wanted)
    assert found is not None
    assert found.name == "setting 0"


def test_a_slow_reference_is_not_tested_before_a_quick_route():
    harm, kept, seconds = np.zeros((2, 600)), np.ones((2, 600)), np.ones((2, 600, 1))
    kept[0], seconds[0] = 0, 10.0
    of = evaluated(harm, [1.0, 0.1], kept=kept, seconds=seconds)
    found = certify(of, range(300), range(300, 600), Promises(limit=0.05, p95=5.0))
    assert found is not None
    assert found.name == "setting 1"


def test_clusters_are_bet_on_with_a_size_that_the_tuning_tasks_chose():
    units = np.arange(800) // 2
    harm = np.zeros((1, 800))
    harm[0, ::130] = 1
    of = evaluated(harm, [0.1], units=units, kept=np.full((1, 800), 0.2))
    tuning = np.arange(300)
    found = certify(of, tuning, np.arange(300, 800), HARM)
    assert found is not None
    assert found.tested.losses.bet == ordered(of, tuning, HARM, 500).bet > 0.5
    again = judged(of, 0, np.arange(300, 800), HARM, most=2.0, bet=found.tested.losses.bet)
    assert again.p_value == found.tested.p_value
    followed = judged(of, 0, np.arange(300, 800), HARM, most=2.0)
    assert found.tested.p_value < followed.p_value / 3


def test_sixty_clusters_without_a_loss_are_enough_for_five_percent():
    of = evaluated(np.zeros((1, 240)), [0.1], units=np.arange(240) // 2)
    assert certify(of, range(120), range(120, 240), HARM) is not None  # 60 clusters; 78 by bets that follow the losses
    assert certify(of, range(124), range(124, 240), HARM) is None


def test_the_exact_test_is_used_where_every_loss_is_0_or_1():
    of = evaluated(np.zeros((1, 300)), [0.1])
    assert ordered(of, range(150), HARM, 150).bet == EXACT
    assert judged(of, 0, range(150, 300), HARM).method == "exact"


def test_losses_of_some_orders_are_bet_on_where_that_needs_fewer_tasks():
    rng = np.random.default_rng(5)
    harm = np.where(rng.random((1, 600)) < 0.2, 0.125, 0.0)  # 2.5 %, in one of 8 orders of a fifth of the tasks
    of = evaluated(harm, [0.1], kept=np.full((1, 600), 0.2), seconds=np.ones((1, 600, 8)))
    passed = {"exact": 0, "betting": 0}
    for _ in range(40):
        first = replace(of, first_harm=(rng.random((1, 600)) < harm).astype(float))
        found = certify(first, range(300), range(300, 450), HARM)
        passed["betting"] += found is not None and found.tested.method == "betting"
        exact = judged(first, 0, range(300, 450), HARM)
        passed["exact"] += exact.p_value <= HARM.delta
        assert exact.method == "exact"
    assert passed["betting"] == 40
    assert passed["exact"] < 30


def test_bets_on_losses_of_some_orders_break_a_promise_in_at_most_the_share_that_is_allowed():
    broken = certified = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        thresholds = np.linspace(0.05, 0.9, 12)
        score, p_wrong = rng.random(500), np.array([0.2, 0.6, 1.0])[rng.integers(3, size=500)]
        kept = (score[None, :] < thresholds[:, None]).astype(float)
        right = rng.random((500, 8)) >= (p_wrong * score)[:, None]
        harm = kept[:, :, None] * ~right[None]
        of = evaluated(harm.mean(axis=2), (1.1 - thresholds).tolist(), kept=kept, seconds=np.ones((12, 500, 8)))
        of = replace(of, first_harm=harm[:, :, 0])
        found = certify(of, range(200), range(200, 500), HARM)
        if found is not None and found.tested.method == "betting":
            certified += 1
            broken += 0.6 * thresholds[found.setting] ** 2 / 2 > 0.05
    assert certified >= 100
    assert stats.binom.sf(broken - 1, certified, 0.05) > 1e-3
