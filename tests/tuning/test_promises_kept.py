"""The grid of benchmarks/promises.py, small: promises are kept about as often as certificates say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import populations  # noqa: E402
import promises  # noqa: E402 - benchmarks are programs

SPLITS = 40


@pytest.mark.parametrize("population", populations.SYNTHETIC, ids=lambda one: one.name)
@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.8])
def test_the_risk_of_a_synthetic_population_is_the_stated_one(population, threshold):
    sample = population.sample(np.random.default_rng(3), 200_000)
    served = sample.served(0, threshold)
    weights = np.broadcast_to(sample.weights[:, None], served.shape)
    truth = population.truth(0, threshold)
    assert (served * sample.harm * weights).sum() / weights.sum() == pytest.approx(truth.risk, abs=0.004)
    assert (served * weights).sum() / weights.sum() == pytest.approx(truth.served, abs=0.005)
    assert sample.wrong[served].mean() == pytest.approx(truth.selective, abs=0.02)  # not weighted
    assert population.truth(0, 1 - population.oracle(0.05)).risk == pytest.approx(0.05)


def test_who_ignores_sizes_or_weights_sees_too_little_harm():
    for population in populations.SYNTHETIC[2:]:
        sample = population.sample(np.random.default_rng(1), 300_000)
        sizes = sample.weights if sample.weights.max() > 1 else np.bincount(sample.clusters)[sample.clusters]
        heaviest = sizes == sizes.max()
        assert sample.harm[heaviest].mean() > sample.harm[~heaviest].mean()


@pytest.mark.parametrize("population", populations.SYNTHETIC, ids=lambda one: one.name)
def test_certified_promises_are_kept_and_plain_thresholds_are_not(population):
    found = promises.measured(population, promises.TUNING, 330, SPLITS)
    ours = [one for one in found if one.rule == "certificate"]
    plain = [one for one in found if one.rule == "threshold"]
    assert len(ours) == len(promises.LIMITS)
    for one in ours:
        assert one.interval[0] <= promises.DELTA, one
        assert one.served <= one.oracle
    assert max(one.served for one in ours) > 0.4
    assert sum(one.broken for one in plain) > 0.1 * sum(one.splits for one in plain)


def test_certified_promises_are_kept_on_a_recorded_pool():
    packed = BENCHMARKS / "pools" / "wide-sums.tar.xz"
    majority, one_draw = populations.recorded(packed)
    assert (majority.whole.tasks, majority.own_harm) == (700, 0.0)
    assert 0 < one_draw.own_harm < 0.25
    found = promises.measured(majority, promises.POOL_TUNING, 300, 15)
    ours = [one for one in found if one.rule == "certificate"]
    assert sum(one.broken for one in ours) <= stats.binom.ppf(0.999, 15 * len(ours), promises.DELTA)
    assert max(one.share or 0 for one in ours) > promises.GOAL
    page = promises.as_markdown(found)
    assert "### Wide sums, majority" in page
    assert "| 5% | 300 |" in page


def test_the_oracle_serves_most_within_the_limit_and_no_more():
    majority, _ = populations.recorded(BENCHMARKS / "pools" / "wide-sums.tar.xz")
    most = majority.oracle(0.05)
    best = 0.0
    for signal, scores in enumerate(majority.whole.scores):
        for threshold in np.unique(scores[np.isfinite(scores)])[::7]:
            truth = majority.truth(signal, float(threshold))
            if truth.risk <= 0.05:
                best = max(best, truth.served)
    assert best <= most <= best + 0.02


def test_the_command_writes_the_page_between_its_marks(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"above\n{promises.BEGIN}\nearlier results\n{promises.END}\nbelow\n")
    small = [promises.measured(populations.SYNTHETIC[0], 150, 150, 5)]
    monkeypatch.setattr(promises, "measure", lambda splits, *, is_quick: small[0])
    arguments = ["promises", "--quick", "--out", str(page), "--json", str(tmp_path / "r.json")]
    monkeypatch.setattr(sys, "argv", [*arguments, "--plot", str(tmp_path / "r.svg")])
    promises.main()
    text = page.read_text()
    assert text.startswith("above")
    assert text.endswith("below\n")
    assert "earlier results" not in text
    assert "### Equal tasks" in text
    assert len(json.loads((tmp_path / "r.json").read_text())) == len(small[0])
    assert (tmp_path / "r.svg").read_text().startswith("<svg")
    assert "Equal tasks" in capsys.readouterr().out
