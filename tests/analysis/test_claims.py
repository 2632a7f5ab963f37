"""Published scores beside reproduced ones: every verdict, and why some cannot be given."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from fake_runs import manifest, record
from tierwise.analysis.claims import difference
from tierwise.analysis.summary import summarise
from tierwise.runs.claims import ClaimedTier, RunClaim
from tierwise.spec.claims import Claim
from tierwise.stats.estimates import rate
from tierwise.workloads.suites import SuitePart

MAX_ROWS = (("max", "average", 4), ("max", "max", 4))


def checked(
    claim,
    *,
    solved=60,
    of=100,
    errors=0,
    missing=0,
    rows=(),
    thinks=False,
    effort="",
    part=None,
    repeats=1,
    name="fast",
    runner="",
):
    """The checks of one claim, on a run of so many tasks."""
    names = [f"t{number:04}" for number in range(of + errors + missing)]
    made = manifest(names, *rows)
    made = structs.replace(
        made,
        suite=part or SuitePart(name="made"),
        settings=structs.replace(made.settings, repeats=repeats, runner=runner),
        claims=[
            RunClaim(
                claim=msgspec.convert({"suite": "made", "mode": "average", "source": "a card", **claim}, Claim),
                deployment="small",
                stands_in="tierwise.yaml",
                tiers=[ClaimedTier(tier=name, thinks=thinks, effort=effort)],
            )
        ],
    )
    records = [
        record(
            task,
            "error" if number >= of else "correct" if number < solved else "incorrect",
            tier=one.tier,
            mode=one.mode,
            repeat=repeat,
        )
        for one in made.variants
        for number, task in enumerate(names[: of + errors])
        for repeat in range(repeats)
    ]
    return summarise(made, records).claims


def only(claim, **run):
    (found,) = checked(claim, **run)
    return found


@pytest.mark.parametrize(
    ("score", "solved", "of", "verdict"),
    [
        (60, 600, 1000, "within"),
        (62.5, 600, 1000, "within"),
        (66, 600, 1000, "below"),
        (54, 600, 1000, "above"),
        (0, 0, 500, "within"),
        (100, 500, 500, "within"),
        (60, 18, 30, "not comparable"),
        (95, 12, 30, "below"),
    ],
)
def test_the_interval_of_the_difference_decides(score, solved, of, verdict):
    found = only({"score": score}, solved=solved, of=of)
    assert found.verdict == verdict
    assert found.reproduced.n == of
    assert found.difference.value == pytest.approx(solved / of - score / 100)


def test_n_too_small_says_what_could_not_be_told():
    assert (
        only({"score": 60}, solved=18, of=30).why == "n is too small: a difference of 10% could not be told from none"
    )


def test_the_claim_has_a_sampling_error_of_its_own_where_its_number_of_tasks_is_known():
    exact = only({"score": 64.5}, solved=600, of=1000)
    sampled = only({"score": 64.5, "tasks": 450}, solved=600, of=1000)
    assert (exact.verdict, sampled.verdict) == ("below", "within")
    assert sampled.difference.interval.low < exact.difference.interval.low
    assert sampled.difference.interval.high > exact.difference.interval.high


def test_the_number_of_tasks_of_a_whole_suite_is_known():
    part = SuitePart(name="gpqa-diamond")
    known = only({"suite": "gpqa-diamond", "score": 60}, part=part, solved=120, of=198)
    assert known.difference == difference(known.reproduced, 0.6, 198)


def test_the_interval_is_newcombe_s():
    found = difference(rate(56, 70), 48 / 80, 80)  # Newcombe 1998, table II: 56/70 against 48/80
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(
    ("claim", "run", "why"),
    [
        ({"mode": "unknown"}, {}, "other mode: the claim states no mode"),
        ({"mode": "max"}, {}, "other mode: claimed for max, run in average mode"),
        ({"mode": "think"}, {}, "other mode: claimed for think, and the tier does not think"),
        ({}, {"thinks": True}, "other mode: claimed for average, and the tier thinks"),
        ({"mode": "think"}, {"thinks": None}, "not known whether the tier thinks"),
        (
            {"mode": "think", "effort": "max"},
            {"thinks": True, "effort": "high"},
            "claimed for think, max, and the tier asks for high",
        ),
        ({"harness": "lm-eval"}, {}, "other harness: claimed with lm-eval, run by tierwise"),
        ({"release": "2026"}, {"part": SuitePart(name="made", release="2025")}, "claimed on 2026, run on 2025"),
        ({"release": "2026"}, {}, "run on one that the file's name does not tell"),
        ({}, {"part": SuitePart(name="made").first(50)}, "other subset: claimed on whole, run on first 50"),
        ({"subset": "first 50"}, {}, "other subset: claimed on first 50, run on whole"),
        ({}, {"missing": 1}, "other subset: 1 actions were not run"),
        ({}, {"errors": 3}, "3 of 103 actions ended in infrastructure errors"),
        ({}, {"of": 0, "errors": 2}, "infrastructure errors"),
    ],
)
def test_what_was_measured_otherwise_is_not_comparable_and_says_why(claim, run, why):
    found = only({"score": 60, **claim}, **run)
    assert (found.verdict, found.difference) == ("not comparable", None)
    assert why in found.why


def test_an_agents_suite_needs_a_harness():
    claim, part = {"suite": "swe-bench-pro", "score": 50}, SuitePart(name="swe-bench-pro")
    assert "an agent's harness is part of the score" in only(claim, part=part).why
    assert only({**claim, "harness": "Tierwise"}, part=part, solved=366, of=731).verdict == "within"


@pytest.mark.parametrize(
    ("runner", "harness", "why"),
    [
        ('{"harbor":{}}', "Terminus-2", ""),
        ('{"harbor":{"agent":"codex"}}', "Terminus-2", "claimed with Terminus-2, run by codex"),
        ('{"mini-swe-agent":{}}', "mini-swe-agent", ""),
        ('{"inspect":{}}', "tierwise", "claimed with tierwise, run by inspect"),
        ('{"command":"./agent"}', "unknown", "an agent's harness is part of the score"),
    ],
)
def test_the_harness_of_a_run_is_the_agent_that_worked_on_it(runner, harness, why):
    found = only({"score": 60, "harness": harness}, runner=runner, solved=600, of=1000)
    assert (found.verdict == "within") == (not why)
    assert why in found.why


def test_the_same_part_is_comparable_and_so_is_a_random_sample_of_it():
    for part in (SuitePart(name="made").first(400), SuitePart(name="made", subset="first 400", sampled=True)):
        assert only({"score": 60, "subset": "first 400"}, part=part, solved=240, of=400).verdict == "within"


def test_a_claim_is_compared_with_the_row_in_its_mode():
    rows = {"rows": MAX_ROWS, "name": "max", "solved": 300, "of": 500}
    for mode in ("average", "max"):
        found = only({"score": 60, "mode": mode}, **rows)
        assert (found.row, found.verdict) == (f"max · {mode}", "within")


def test_thinking_with_the_same_effort_is_comparable():
    claim = {"score": 60, "mode": "think", "effort": "high"}
    assert only(claim, thinks=True, effort="high", solved=300, of=500).verdict == "within"


def test_repeats_of_a_task_are_one_task():
    found = only({"score": 60}, solved=60, of=100, repeats=3)
    assert found.reproduced.n == 100
    assert found.difference.interval == only({"score": 60}).difference.interval


def test_what_is_not_known_of_a_claim_is_a_doubt():
    found = only({"score": 60, "doubts": ["read in a copy"]})
    assert found.doubts == ["read in a copy", "harness unknown", "date unknown"]
    stated = {"score": 60, "harness": "tierwise", "date": "2026-09"}
    assert only(stated).doubts == []
    assert only(stated, thinks=None).doubts == ["it is not known whether the tier thinks"]
