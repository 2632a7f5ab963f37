"""Draws end when the score of the best candidate makes another one not worth its cost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN
from tierwise.policies.judging import LetterJudge
from tierwise.policies.scoring import ScorerChoice
from tierwise.spec.budget import Budget
from tierwise.stopping import Reservation, ScoreStopChoice
from tierwise.testing import Reply, solve
from tierwise.testing.contracts import PolicyContract
from tierwise.verifiers import Regex

from .test_judging import NONE, Judging

GRADES = {"one": "K", "two": "B", "three": "A", "four": "A"}
KNOWN = (0.0, 0.25, 0.5, 0.75, 1.0)
"""With a cost of .05 a draw is worth it below a score of .75."""


def stopping(n=4, scores=KNOWN, cost=0.05):
    judge = ScorerChoice(judge=LetterJudge(pivots=0))
    return BestOfN(n=n, scorer=judge, stop=ScoreStopChoice(reservation=Reservation(cost=cost, scores=scores)))


class TestReservation(PolicyContract):
    policies = (stopping(), stopping(scores=()))


def roles(trace):
    return [done.call.role for done in trace.passes]


def notes(trace):
    return [event.reason for event in trace.events if isinstance(event, Decision)]


def test_the_draws_end_at_the_first_candidate_that_is_good_enough():
    answer, trace = solve(stopping(), engine=Judging(*GRADES, grades=GRADES), slots=1)
    assert answer.completion.text == "two"
    assert roles(trace).count("judge") == 2
    assert "reservation ends the draws after 2 of 4" in notes(trace)


def test_where_none_is_good_enough_all_are_drawn_and_the_best_is_the_answer():
    grades = {"one": "K", "two": "M", "three": "L", "four": "T"}
    answer, trace = solve(stopping(), engine=Judging(*grades, grades=grades), slots=1)
    assert answer.completion.text == "one"
    assert roles(trace) == ["draft", "judge"] * 4


def test_a_dearer_draw_ends_the_search_earlier():
    counts = []
    for cost in (0.01, 0.2, 0.9):
        _, trace = solve(stopping(cost=cost), engine=Judging(*GRADES, grades=GRADES), slots=1)
        counts.append(roles(trace).count("draft"))
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 1


def test_on_an_idle_deployment_all_start_at_once_and_on_a_busy_one_in_waves():
    slow = [Reply(text=f"{text} {text}", step=0.5) for text in GRADES]
    grades = {f"{text} {text}": letter for text, letter in GRADES.items()}
    started = []
    for slots in (64, 1):
        _, trace = solve(stopping(), engine=Judging(*slow, grades=grades), slots=slots)
        started.append(roles(trace).count("draft"))
    assert started == [4, 2]


def test_a_quick_candidate_does_not_end_the_draws_before_the_earlier_ones_are_there():
    replies = [Reply(text="one", step=3.0), Reply(text="two", step=0.01)]
    answer, _ = solve(stopping(n=2), engine=Judging(*replies, grades={"one": "A", "two": "B"}))
    assert answer.completion.text == "one"


def test_a_rejected_candidate_is_neither_judged_nor_a_reason_to_stop():
    engine = Judging(*GRADES, grades=GRADES)
    answer, trace = solve(stopping(), engine=engine, slots=1, verifier=Regex(pattern="^t"))
    assert (answer.completion.text, roles(trace).count("judge")) == ("two", 1)


def test_an_equal_answer_has_the_score_of_the_first_and_is_not_judged():
    _, trace = solve(stopping(), engine=Judging("4", "4", "4.0", "4", grades={"4": "M"}), slots=1)
    assert roles(trace).count("judge") == 1


def test_the_prompts_of_the_judge_only_grow():
    engine = Judging(*GRADES, grades=dict.fromkeys(GRADES, "T"))
    solve(stopping(), engine=engine, slots=1)
    blocks = [call.prompt.messages[-2]["content"] for call in engine.calls if call.role == "judge"]
    assert len(blocks) == 4
    assert all(later.startswith(earlier) for earlier, later in pairwise(blocks))


def test_a_judge_without_verdicts_stops_nothing_and_is_asked_once_for_each():
    drafts = [Reply(text=text, logprob=-float(len(text))) for text in GRADES]
    answer, trace = solve(stopping(), engine=Judging(*drafts, says=NONE), slots=1)
    assert answer.why == "most likely of 4: no verdict of the judge"
    assert answer.completion.text in ("one", "two")
    assert roles(trace) == ["draft", "judge"] * 4


def test_the_budget_ends_it_with_the_best_so_far():
    engine = Judging(*GRADES, grades={**GRADES, "two": "J"})
    answer, trace = solve(stopping(), engine=engine, slots=1, budget=Budget(passes=4))
    assert (answer.completion.text, len(trace.passes)) == ("two", 4)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 1))
def test_an_unknown_distribution_never_stops_earlier_than_its_own_scores_would(seen, cost):
    if Reservation(cost=cost).stops(seen):
        assert Reservation(cost=cost, scores=tuple(seen)).stops(seen)


def test_nothing_seen_stops_nothing():
    assert not Reservation(cost=1.0).stops([])


def test_a_comparison_is_no_score_to_stop_by():
    stop = ScoreStopChoice(reservation=Reservation(cost=0.1))
    with pytest.raises(ValueError, match="`pivots: 0`"):
        BestOfN(scorer=ScorerChoice(judge=LetterJudge()), stop=stop)
    with pytest.raises(ValueError, match="needs the score"):
        BestOfN(stop=stop)
