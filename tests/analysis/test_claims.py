"""Published scores beside reproduced ones: every verdict, and why some cannot be given."""

from __future__ import annotations

import math

import msgspec
import pytest
from msgspec import structs

from fake_runs import manifest, record
from tierwise.analysis.summary import summarise
from tierwise.report import claim_table
from tierwise.runs.claims import ClaimedTier, RunClaim
from tierwise.spec.claims import Claim
from tierwise.stats.estimates import wilson
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
    greedy=False,
    solves=None,
):
    """The checks of one claim, on a run of so many tasks."""
    is_solved = solves or (lambda number, _: number < solved)
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
                tiers=[ClaimedTier(tier=name, thinks=thinks, effort=effort, greedy=greedy)],
            )
        ],
    )
    records = [
        record(
            task,
            "error" if number >= of else "correct" if is_solved(number, repeat) else "incorrect",
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
        (62.5, 600, 1000, "not comparable"),
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
    assert found.difference.population == "repeats", "these tasks, and no others"


GREEDY = {"samples": "greedy"}


@pytest.mark.parametrize(
    ("score", "verdict"), [(70.7, "within"), (67.1, "within"), (65.2, "above"), (75.6, "within"), (76.2, "below")]
)
def test_two_greedy_scores_differ_by_what_they_differ(score, verdict):
    """HumanEval asked once: 116 of 164."""
    found = only({"score": score, **GREEDY}, solved=116, of=164, greedy=True)
    assert found.verdict == verdict
    assert found.difference.interval.low == found.difference.interval.high == found.difference.value
    assert claim_table.difference(found)[1] == "both are greedy", "and no interval of width zero is shown"


@pytest.mark.parametrize(
    ("claim", "run"),
    [
        ({}, {}),
        ({"mode": "think"}, {"thinks": True}),
        ({}, {"greedy": False}),
        ({}, {"repeats": 2, "solves": lambda number, repeat: number < 116 + repeat}),
    ],
    ids=["samples of the claim unknown", "thinking", "sampled here", "answers that change"],
)
def test_what_may_be_otherwise_when_asked_again_is_not_exact(claim, run):
    sampled = GREEDY if run else {}
    found = only({"score": 70.7, **sampled, **claim}, **{"solved": 116, "of": 164, "greedy": True, **run})
    assert found.difference.interval.high - found.difference.interval.low > 0.06


def test_more_samples_of_the_claim_and_more_repeats_narrow_the_difference():
    once = only({"score": 60}, solved=18, of=30)
    often = only({"score": 60, "samples": 64}, solved=18, of=30, repeats=8)
    assert once.verdict == "not comparable"
    low, high = wilson(18 * 8, 30 * 8).low - 0.6, wilson(18 * 64, 30 * 64).high - 0.6
    assert often.difference.interval.low == pytest.approx(-math.hypot(low, high))
    assert often.reproduced.n == 30, "repeats of a task are one task of its own interval"


def test_from_ten_repeats_on_the_noise_is_the_measured_one():
    """Most tasks are always solved or never, which a bound for all cannot know."""
    half = {"solves": lambda number, repeat: number < 16 or (number < 20 and repeat % 2), "of": 30}
    found = only({"score": 60, "samples": 64}, **half, repeats=10)
    assert found.verdict == "within"
    assert only({"score": 60, "samples": 64}, **half, repeats=9).verdict == "not comparable"


@pytest.mark.parametrize(
    ("claim", "run", "why"),
    [
        ({}, {}, "the claim alone leaves so much open: state its `samples`, or a wider `margin`"),
        ({"samples": 64}, {}, "ask more often, with --repeats"),
        ({"margin": 1}, {"of": 1000, "solved": 600}, "a difference of 1 points from none"),
        ({}, {"part": SuitePart(name="made", sampled=True)}, "run all of the claim's tasks"),
    ],
)
def test_n_too_small_says_what_to_do(claim, run, why):
    found = only({"score": 60, **claim}, **{"solved": 18, "of": 30, **run})
    assert found.verdict == "not comparable"
    assert found.why.startswith("n is too small to tell a difference of")
    assert why in found.why


def test_the_margin_is_the_claims():
    run = {"solved": 60, "of": 100, "greedy": True}
    verdicts = [only({"score": 63, "margin": margin, **GREEDY}, **run).verdict for margin in (2, 3, 10)]
    assert verdicts == ["below", "within", "within"]


def test_tasks_without_an_outcome_may_have_been_solved_or_not():
    found = only({"score": 60, **GREEDY}, solved=60, of=100, errors=2, greedy=True)
    assert found.difference.interval.low == pytest.approx(60 / 102 - 0.6)
    assert found.difference.interval.high == pytest.approx(62 / 102 - 0.6)


def test_a_random_sample_has_the_error_of_choosing_its_tasks():
    part = SuitePart(name="made", sampled=True)
    sample = only({"score": 60, **GREEDY}, solved=60, of=100, greedy=True, part=part)
    assert (sample.verdict, sample.difference.population) == ("not comparable", "tasks")
    own = sample.reproduced.interval
    assert sample.difference.interval.low == pytest.approx(own.low - 0.6), "the claim's tasks are those it is about"


def test_other_numbers_of_tasks_count_as_samples_and_are_a_doubt():
    claim = {"score": 60, "tasks": 450, **GREEDY}
    found = only(claim, solved=600, of=1000, greedy=True)
    assert "claimed on 450 tasks, run on 1000: both count as samples" in found.doubts
    drawn, own = wilson(270, 450), found.reproduced.interval
    assert found.difference.interval.high == pytest.approx(math.hypot(own.high - 0.6, 0.6 - drawn.low))


def test_the_number_of_tasks_of_a_whole_suite_is_known():
    part = SuitePart(name="gpqa-diamond")
    same = only({"suite": "gpqa-diamond", "score": 60}, part=part, solved=120, of=198)
    cut = only({"suite": "gpqa-diamond", "score": 60}, part=part, solved=120, of=197)
    assert (same.difference.population, cut.difference.population) == ("repeats", "tasks")


@pytest.mark.parametrize(
    ("score", "tasks", "is_whole"),
    [
        (70.7, 164, True),
        (70.8, 164, False),
        (71, 164, True),
        (70.73, 164, True),
        (70.74, 164, False),
        (54.3, 2000, True),
    ],
)
def test_a_share_that_no_number_of_tasks_makes_is_a_doubt(score, tasks, is_whole):
    doubts = only({"score": score, "tasks": tasks, **GREEDY}, greedy=True).doubts
    assert any("no whole number" in one for one in doubts) != is_whole


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


def test_another_harness_gives_no_verdict_but_shows_the_difference():
    found = only({"score": 60, "harness": "evalplus"}, solved=500, of=1000)
    assert (found.verdict, found.why) == ("not comparable", "other harness: claimed with evalplus, run by tierwise")
    assert found.difference.value == pytest.approx(-0.1)


def test_an_agents_suite_needs_a_harness():
    claim, part = {"suite": "swe-bench-pro", "score": 50}, SuitePart(name="swe-bench-pro")
    assert "an agent's harness is part of the score" in only(claim, part=part).why
    assert only({**claim, "harness": "Tierwise"}, part=part, solved=366, of=731).verdict != "below"


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
        assert (
            only({"score": 60, "subset": "first 400", "margin": 10}, part=part, solved=240, of=400).verdict == "within"
        )


def test_a_claim_is_compared_with_the_row_in_its_mode():
    rows = {"rows": MAX_ROWS, "name": "max", "solved": 600, "of": 1000}
    for mode in ("average", "max"):
        found = only({"score": 60, "mode": mode}, **rows)
        assert (found.row, found.verdict) == (f"max · {mode}", "within")


def test_thinking_with_the_same_effort_is_comparable():
    claim = {"score": 60, "mode": "think", "effort": "high"}
    assert only(claim, thinks=True, effort="high", solved=600, of=1000).verdict == "within"


def test_what_is_not_known_of_a_claim_is_a_doubt():
    found = only({"score": 60, "doubts": ["read in a copy"]})
    assert found.doubts == ["read in a copy", "harness unknown", "date unknown"]
    stated = {"score": 60, "harness": "tierwise", "date": "2026-09"}
    assert only(stated).doubts == []
    assert only(stated, thinks=None).doubts == ["it is not known whether the tier thinks"]
