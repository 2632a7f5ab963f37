"""A learned combination of signals: when a route may use it, and that it does what its file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from made_pools import question
from made_tunings import CONFIG, recording
from tierwise import plan as planning
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.tuning.evaluate import search_space
from tierwise.tuning.learning import learn
from tierwise.tuning.space import cascaded
from tierwise.tuning.split import split
from tierwise.tuning.writing import parsed, with_route

FILE = Path("config/tierwise.yaml")


def made(*, noise: float, tasks: int = 400, orders: int = 2, same: bool = False):
    """Two signals that say together what each says in part."""
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(2, tasks, orders))
    correct = (one + (0 if same else other) + noise * rng.normal(size=(tasks, orders)) > 0).astype(float)
    return {"margin": one, "entropy": -other}, correct


def taught(levels, correct, *, tuning=200):
    return learn("fast", levels, correct, np.ones_like(correct, bool), np.arange(tuning), np.arange(len(correct)))


def test_a_combination_that_tells_more_than_any_signal_is_used():
    levels, correct = made(noise=0.3)
    found = taught(levels, correct)
    assert found.signal is not None
    weights = {one.signal: one.weight for one in found.signal.weights}
    assert weights["margin"] > 0 > weights["entropy"]  # per unit of the signal as it is written
    assert "its AUROC beyond" in found.said
    rows = found.levels[200:]  # tasks that it has not seen
    assert rows[correct[200:] > 0].mean() > rows[correct[200:] == 0].mean() + 0.3


def test_a_combination_that_gains_nothing_is_refused_with_the_figure():
    levels, correct = made(noise=0.3, same=True)
    found = taught(levels, correct)
    assert found.signal is None
    assert np.isnan(found.levels).all()
    assert "is not used: its AUROC beyond margin is" in found.said
    assert "does not exclude 0: use margin" in found.said


def test_calibration_and_test_tasks_teach_nothing():
    levels, correct = made(noise=0.3)
    other = correct.copy()
    other[200:] = 1 - other[200:]
    assert taught(levels, correct).signal == taught(levels, other).signal


def test_few_tasks_teach_nothing():
    levels, correct = made(noise=0.3)
    assert "50 are needed" in taught(levels, correct, tuning=40).said


@pytest.fixture
def rich(monkeypatch):
    """A combination that is used whatever it gains."""
    monkeypatch.setattr("tierwise.pools.combining._why_not", lambda *_: "")


@pytest.mark.usefixtures("rich")
@pytest.mark.parametrize("tools", [False, True])
def test_a_route_by_a_learned_signal_does_what_a_replay_of_its_written_file_does(tmp_path, monkeypatch, tools):
    monkeypatch.setattr("tierwise.tuning.learning._why_no_better_than_a_tier", lambda _: "")
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
    questions = [question(number, tools=[tool] if tools and number % 2 else []) for number in range(200)]
    pool = read_pool(recording(tmp_path / "pool", questions=questions, is_random=True))
    parts = split([one.task for one in pool.tasks])
    with Replayer(pool, pool.plan.file.prices) as replayer:
        found = search_space(replayer, parts, orders=2)
        routes = [one for one in found.routes if any(signal.kind == "learned" for signal in one.signals)]
        assert 5 < len(routes) <= 36
        tried = routes[:: len(routes) // 4]
        for number, route in enumerate(tried):
            text = with_route(CONFIG, FILE, route, planning.parse(CONFIG, FILE))
            policy = parsed(text, FILE).tiers["auto"].policy.member
            assert policy.signals == route.signals  # not a digit is lost
            setting = cascaded(f"~{number}", route.ladder, "best", *policy.signals)
            actions = replayer.run([setting], orders=2)[0]
            dollars = [np.mean([one.dollars for one in actions if one.task == task]) for task in range(200)]
            place = found.routes.index(route)
            assert found.evaluated.dollars[place] == pytest.approx(dollars)
        assert 0 < found.evaluated.kept[found.routes.index(routes[len(routes) // 2])].mean() < 1
