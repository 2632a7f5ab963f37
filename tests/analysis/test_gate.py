"""Gates: what passes, what fails, what nobody can say yet, and what gate.yaml may hold."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from fake_runs import record
from tierwise.analysis.arms import arms
from tierwise.analysis.gate import (
    DollarsPolicy,
    GatePolicy,
    LatencyPolicy,
    QualityPolicy,
    _needed,
    _non_inferior,
    gate,
    load,
)
from tierwise.analysis.pairs import pair
from tierwise.report import gating
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.stats.estimates import paired_difference
from written_runs import names, outcomes, run

GUIDE = Path(__file__).parents[2] / "docs" / "gating.md"


def policy(margin=0.05, *, latency=None, dollars=None, population=None):
    return GatePolicy(
        quality=QualityPolicy(margin=margin),
        latency=LatencyPolicy(**latency or {}),
        dollars=DollarsPolicy(**dollars or {}),
        population=population,
    )


@pytest.fixture
def gated(tmp_path):
    """Holds one run against another, given as strings of outcomes or as records."""

    def of(base, other, bounds=None, *, sequential=False, tasks=(), **more):
        made = [outcomes(records) if isinstance(records, str) else records for records in (base, other)]
        (a,), (b,) = (
            arms(run(tmp_path / name, records, tasks=tasks)) for name, records in zip("ab", made, strict=True)
        )
        return gate(pair(a, b, common=sequential, **more), bounds or policy(), is_sequential=sequential)

    return of


def test_what_is_shown_to_be_no_worse_than_the_margin_passes(gated):
    found = gated("+" * 300, "+" * 300)
    assert (found.verdict, found.exit_code) == ("PASS", 0)


def test_what_is_shown_to_be_worse_fails(gated):
    found = gated("+" * 300, "-" * 30 + "+" * 270)
    assert (found.verdict, found.exit_code) == ("FAIL", 1)
    assert found.lost == names(30)


def test_a_loss_that_is_shown_to_be_within_the_margin_passes(gated):
    found = gated("+" * 3000, "-" * 20 + "+" * 2980, policy(0.03))
    (check,) = found.checks
    assert check.estimate.interval.high < 0
    assert check.verdict == "PASS"


def test_too_few_tasks_say_nothing_and_how_many_more_would(gated):
    found = gated("+" * 20 + "-" * 5, "+" * 19 + "-" * 6)
    assert (found.verdict, found.exit_code) == ("INCONCLUSIVE", 2)
    assert found.needed > 25


def test_the_tasks_that_are_needed_settle_it_in_four_of_five_runs():
    chance = np.random.default_rng(0)
    few = paired_difference(60, 6, 6, 48)
    n = 120 + _needed(few, 0.05, 120)
    settled = 0
    for wins, losses, _ in chance.multinomial(n, (0.05, 0.05, 0.9), 500):
        both = (n - wins - losses) // 2
        interval = paired_difference(both, int(wins), int(losses), n - both - int(wins) - int(losses)).interval
        settled += _non_inferior(interval, 0.05) == "PASS"
    assert 0.74 <= settled / 500 <= 0.92


def test_infrastructure_errors_may_not_decide(gated):
    found = gated("+" * 300, "!" * 25 + "+" * 275)
    (check,) = found.checks
    assert check.verdict == "INCONCLUSIVE"
    assert "25 infrastructure errors decide" in check.why


def refused(count, outcome="error", *, of=300, **more):
    """A run in which the server refused some requests and all other answers are correct."""
    fields = {"status": 400, "code": "engine_refused", "why": "logprobs is not supported", "dollars": None, **more}
    return [
        record(name, outcome, **fields) if number < count else record(name) for number, name in enumerate(names(of))
    ]


@pytest.mark.parametrize("count", [7, 150, 300])
@pytest.mark.parametrize("outcome", ["error", "no_answer"], ids=["recorded now", "recorded by an earlier version"])
@pytest.mark.parametrize("sequential", [False, True], ids=["fixed", "sequential, on the tasks in common"])
def test_a_run_whose_requests_were_refused_is_an_error_and_not_a_failed_gate(gated, count, outcome, sequential):
    with pytest.raises(SpecError, match=rf"the server refused {count} of 300 requests.*logprobs is not supported"):
        gated("+" * 300, refused(count, outcome), sequential=sequential)


def test_a_baseline_whose_requests_were_refused_is_an_error_too(gated):
    with pytest.raises(SpecError, match="the server refused 300 of 300 requests"):
        gated(refused(300), "+" * 300)


def test_a_few_refused_requests_are_infrastructure_errors_and_may_not_decide(gated):
    found = gated("+" * 300, refused(5))
    assert found.verdict in ("PASS", "INCONCLUSIVE")
    assert found.errors == 5


def test_a_row_without_any_answer_for_one_reason_is_an_error(gated):
    why = "the prompt has more tokens than the context of 512 holds"
    with pytest.raises(SpecError, match="all 300 actions ended without an answer for the same reason"):
        gated("+" * 300, refused(300, "no_answer", code="context_length_exceeded", why=why))


def test_a_row_that_always_ran_out_of_budget_fails(gated):
    slow = [record(name, "no_answer", status=504, code="budget_exhausted") for name in names(300)]
    assert gated("+" * 300, slow).verdict == "FAIL"


def timed(seconds, dollars=0.001, count=200):
    chance = np.random.default_rng(int(seconds * 1000))
    return [
        record(name, seconds=seconds * chance.uniform(0.9, 1.1), dollars=dollars * chance.uniform(0.9, 1.1))
        for name in names(count)
    ]


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ({"latency": {"ratio": 1.1}}, "PASS"),
        ({"latency": {"ratio": 1.02}}, "FAIL"),
        ({"latency": {"p50": 1.2}}, "PASS"),
        ({"latency": {"p95": 1.2}}, "PASS"),
        ({"latency": {"p95": 1.0}}, "FAIL"),
        ({"dollars": {"ratio": 1.3}}, "PASS"),
        ({"dollars": {"ratio": 1.1}}, "FAIL"),
        ({"dollars": {"mean": 0.0013}}, "PASS"),
        ({"dollars": {"mean": 0.0011}}, "FAIL"),
    ],
)
def test_seconds_and_dollars_have_bounds_of_their_own(gated, bounds, verdict, sequential):
    found = gated(timed(1.0), timed(1.06, dollars=0.0012), policy(**bounds), sequential=sequential)
    assert [check.verdict for check in found.checks] == ["PASS", verdict]
    assert found.verdict == verdict


def test_a_few_actions_say_nothing_about_the_slowest_of_them(gated):
    found = gated(timed(1.0, count=50), timed(1.0, count=50), policy(latency={"p95": 2.0}))
    check = found.checks[1]
    assert check.verdict == "INCONCLUSIVE"
    assert 72 <= 50 + check.needed <= 75


def test_actions_whose_costs_are_not_known_settle_nothing(gated):
    other = timed(1.0)
    other[:20] = [record(one.task, seconds=1.0, dollars=None) for one in other[:20]]
    found = gated(timed(1.0), other, policy(dollars={"ratio": 2.0}))
    assert found.checks[1].why == "the costs of 20 of 200 actions are not known"
    assert found.verdict == "INCONCLUSIVE"


def test_a_sequential_gate_passes_before_all_tasks_are_in(gated):
    found = gated("+" * 1000, "+" * 300, sequential=True, tasks=names(1000))
    assert found.verdict == "PASS"
    assert found.tasks <= 200


def test_a_sequential_gate_that_has_seen_too_little_asks_for_more(gated):
    found = gated("+" * 1000, "+" * 50, sequential=True, tasks=names(1000))
    assert found.verdict == "INCONCLUSIVE"
    assert 0 < found.needed < 200


def test_a_sequential_gate_fails_at_the_first_bound_that_is_broken(gated):
    found = gated("+" * 500, "+" * 500, policy(dollars={"mean": 0.0005}), sequential=True)
    assert found.verdict == "FAIL"


def test_a_sequential_gate_refuses_clusters(gated):
    with pytest.raises(SpecError, match="is for tasks, not for clusters"):
        gated("++", "++", policy(population="clusters"), sequential=True)


def test_alike_runs_seldom_fail(gated, tmp_path):
    chance = np.random.default_rng(7)
    (side,) = arms(run(tmp_path / "x", outcomes("+" * 400)))
    failed = 0
    for _ in range(100):
        base, other = (
            "".join("+" if solved else "-" for solved in np.where(chance.random(400) < 0.1, draw, True))
            for draw in chance.random((2, 400)) < 0.5
        )
        first, second = (
            replace(side, records=dict(zip(side.records, outcomes(letters), strict=True))) for letters in (base, other)
        )
        failed += gate(pair(first, second), policy(0.03)).verdict == "FAIL"
    assert failed <= 8


def write(tmp_path, text):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    return path


def test_the_guides_policy_can_be_read(tmp_path):
    (text,) = re.findall(r"^```yaml title=gate.yaml\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    found = load(write(tmp_path, text))
    assert (found.quality.margin, found.latency.ratio) == (0.03, 1.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quality: {margin: 0.03}\nlatncy: {p95: 3}\n", r"gate.yaml:2: latncy: unknown key; did you mean 'latency'"),
        ("quality:\n  margin: 3\n", r"gate.yaml:2: quality.margin: Expected `float` < 1"),
        ("quality:\n  margin: 0\n", r"gate.yaml:2: quality.margin: Expected `float` > 0"),
        ("quality: {margin: 0.03}\ndollars:\n  ratio: -1\n", r"gate.yaml:3: dollars.ratio"),
        ("quality: {margin: 0.03}\npopulation: people\n", r"gate.yaml:2: population"),
        ("latency: {p95: 3}\n", r"the key 'quality' is missing"),
        ("", "the file is empty"),
        ("quality: [", "not YAML"),
        ("quality: {margin: .nan}\n", r"gate.yaml:1: quality.margin"),
    ],
)
def test_a_policy_that_cannot_hold_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(ConfigErrors, match=message):
        load(write(tmp_path, text))


def test_a_policy_that_is_not_there_is_missed(tmp_path):
    with pytest.raises(NotFound, match="there is no policy"):
        load(tmp_path / "gate.yaml")


def test_junit_has_a_case_for_each_bound_and_no_doubt_looks_passed(gated):
    found = gated("+" * 300, "-" * 30 + "+" * 270, policy(latency={"p95": 2.0}))
    suite = ET.fromstring(gating.as_junit(found))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert suite.find("testcase/failure").get("message").startswith("wanted > -5.0 points, found -10.0 [")
    few = ET.fromstring(gating.as_junit(gated_few(found)))
    assert few.find("testcase/error").get("type") == "INCONCLUSIVE"


def gated_few(found):
    return replace(found, checks=[replace(check, verdict="INCONCLUSIVE") for check in found.checks])


def test_names_cannot_break_the_summary_of_a_pull_request(gated):
    base = [record(name, tier="<b>|") for name in [*names(100), "a`|b"]]
    other = [record(name, tier="<b>|") for name in names(100)] + [record("a`|b", "incorrect", tier="<b>|")]
    text = gating.as_markdown(gated(base, other))
    assert "a\\`\\|b" in text
    assert "<b>" not in text
