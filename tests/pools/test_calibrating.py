"""What a pool shows of each signal, and the settings that follow."""

from __future__ import annotations

import json
import random

import msgspec
import yaml
from typer.testing import CliRunner

from made_pools import Said, make, pool, question
from tierwise.cli import app
from tierwise.policies import PolicyChoice
from tierwise.pools.calibrating import calibrate
from tierwise.report.calibration_table import settings
from tierwise.spec.errors import SpecError

ALTERNATIVES = 5


def said(*, discriminates, tokens=5):
    """Draws that are right every other time; a right one is sure, if signals discriminate, and else by chance."""
    chance = random.Random(7)

    def one(task, tier, draw):
        if tier != "fast":
            return None
        right = (task + draw) % 2 == 0
        is_sure = right if discriminates else chance.random() < 0.5
        level = -0.1 if is_sure else -1.0
        noise = chance.random() / 10
        return Said(
            text="4" if right else "7",
            outcome="correct" if right else "incorrect",
            tokens=tokens,
            logprob=level - noise,
            alternatives=(level - noise, -3.0, -4.0, -5.0, -6.0)
            if is_sure
            else (-1.0, -1.2, -1.4, -1.6, -2.5 - 10 * noise),
        )

    return one


def measured(folder, draws=8, **how):
    made = pool(folder / "p", [question(n) for n in range(12)], said(**how), draws=draws, top_logprobs=ALTERNATIVES)
    (found,) = calibrate(made)
    return found


def test_a_signal_that_discriminates_within_questions_gets_a_calibration(tmp_path):
    found = measured(tmp_path, discriminates=True)
    assert (found.tier, found.deployment, found.thinking) == ("fast", "small", False)
    best = found.best
    assert best.auroc == 1.0
    assert (best.questions, best.answers) == (12, 96)
    assert (best.overall.value, best.overall.n, found.alternatives) == (1.0, 12, ALTERNATIVES)
    assert sum(one.answers for one in best.reliability) == 96
    assert best.calibration_error < 0.05
    assert [share for _, share in best.isotonic] == sorted(share for _, share in best.isotonic)
    assert best.calibration.probability(-5.0) < 0.1
    margin = next(one for one in found.signals if one.signal == "margin").calibration
    assert (margin.alternatives, margin.thinking) == (ALTERNATIVES, False)
    assert [share for _, share in margin.curve] == sorted(share for _, share in margin.curve)
    plain = next(one for one in found.signals if one.signal == "mean_logprob").calibration
    assert plain.alternatives == 0, "it does not depend on them"


def test_a_signal_that_does_not_discriminate_is_refused(tmp_path):
    found = measured(tmp_path, discriminates=False)
    assert found.best is None
    for one in found.signals:
        assert one.calibration is None
        assert one.why_not
    assert settings(found)[0].startswith("# no signal tells right from wrong")


def test_questions_whose_answers_are_all_right_or_all_wrong_say_nothing(tmp_path):
    def one(task, tier, draw):
        right = task % 2 == 0
        return Said(text="4" if right else "7", outcome="correct" if right else "incorrect", logprob=-0.1 - 2 * task)

    made = pool(tmp_path / "p", [question(n) for n in range(6)], one, draws=8, top_logprobs=ALTERNATIVES)
    for found in calibrate(made):
        assert all(one.auroc is None and one.calibration is None for one in found.signals)
        sampled = next(one for one in found.signals if one.signal == "mean_logprob")
        assert sampled.overall.n == 6, "a route can tell questions apart by it"


def test_too_few_answers_calibrate_nothing(tmp_path):
    found = measured(tmp_path, discriminates=True, draws=1)
    assert found.best is None
    assert "12 answers have it, 20 are needed" in {one.why_not for one in found.signals}


def test_a_cut_is_suggested_where_it_ends_more_wrong_passes_than_right_ones(tmp_path):
    found = measured(tmp_path, discriminates=True, tokens=100)
    assert found.cut.cut.window == 64
    assert found.cut.wrong > found.cut.right == 0
    assert any(line.startswith("cut: {below: ") for line in settings(found))
    assert measured(tmp_path / "short", discriminates=True, tokens=20).cut is None, "no window is ever full"


def test_what_is_printed_can_be_pasted_into_a_policy(tmp_path):
    found = measured(tmp_path, discriminates=True, tokens=100)
    values = yaml.safe_load("\n".join(settings(found)))
    policy = msgspec.convert({"majority": {"n": 5, **values}}, PolicyChoice).member
    assert policy.confidence.signal == found.best.signal
    assert policy.cut == found.cut.cut


def test_the_command_prints_tables_and_settings(tmp_path):
    tasks = [question(n) for n in range(12)]
    make(tmp_path / "p", tasks, said(discriminates=True), draws=8, top_logprobs=ALTERNATIVES)
    shown = CliRunner().invoke(app, ["pool", "calibrate", str(tmp_path / "p")])
    assert shown.exit_code == 0
    assert "AUROC within questions" in shown.output
    assert "AUROC of all answers" in shown.output
    assert "reliability of " in shown.output
    assert "combination of signals: refused, 12 questions have answers, 50 are needed" in shown.output
    assert "confidence: {signal: " in shown.output
    found = json.loads(CliRunner().invoke(app, ["pool", "calibrate", str(tmp_path / "p"), "--json"]).output)
    best = found[0]["signals"][0]
    assert best["auroc"] == best["overall"]["value"] == 1.0
    assert {"low", "high", "answers", "predicted", "right", "interval"} == set(best["reliability"][0])
    assert found[0]["alternatives"] == ALTERNATIVES


def test_tasks_of_a_cluster_are_one_unit_of_the_interval_over_all_answers(tmp_path):
    tasks = [msgspec.structs.replace(question(n), cluster=f"repository {n % 3}") for n in range(12)]
    made = pool(tmp_path / "p", tasks, said(discriminates=True), draws=8, top_logprobs=ALTERNATIVES)
    (found,) = calibrate(made)
    assert found.best.overall.n == 3
    assert found.best.questions == 12


def test_a_pool_without_log_probabilities_is_refused_with_what_to_do(tmp_path):
    make(tmp_path / "p", [question(0)], lambda *_: Said())
    shown = CliRunner().invoke(app, ["pool", "calibrate", str(tmp_path / "p")])
    assert isinstance(shown.exception, SpecError)
    assert "--top-logprobs 5" in str(shown.exception)
