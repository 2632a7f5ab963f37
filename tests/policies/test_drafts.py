"""What cheaper tiers drew is counted, scored or refined by the tiers after them."""

from __future__ import annotations

import msgspec
import pytest

from tierwise.policies import BestOfN, Majority, Refine
from tierwise.stopping import StopChoice
from tierwise.testing import Reply, ScriptedEngine
from tierwise.verifiers import Exact

from .acting import climb

OPEN = "The sea is calm today and the boats go out early with their nets"


def test_a_majority_counts_the_votes_of_the_cheap_tier():
    votes = ScriptedEngine("3", "4", "9")
    answer, trace = climb(ScriptedEngine("3", "4"), (votes, Majority(n=5)), signals=[{"agreement": 2}])
    assert len(votes.calls) == 3, "two of five votes are there already"
    assert (answer.why, len(trace.passes)) == ("2 of 5 votes", 5)
    assert answer.completion.text == "3"


def test_a_vote_that_a_verifier_rejected_does_not_count():
    votes = ScriptedEngine("5")
    climb(ScriptedEngine("3"), (votes, Majority(n=3)), verifier=Exact(equals="5"))
    assert len(votes.calls) == 3, "all of its own votes are drawn"


def test_the_own_draws_of_a_majority_outnumber_those_of_cheaper_tiers():
    votes = ScriptedEngine("5")
    steps = [ScriptedEngine("1", "2"), ScriptedEngine("3", "4"), (votes, Majority(n=3))]
    answer, _ = climb(*steps, signals=[{"agreement": 2}])
    assert (answer.completion.text, len(votes.calls)) == ("5", 2)


def test_a_refinement_starts_from_the_draft_of_the_cheap_tier():
    strong = ScriptedEngine("weak in places", "better")
    answer, trace = climb(ScriptedEngine(OPEN), (strong, Refine()))
    assert answer.completion.text == "better"
    assert [done.call.role for done in trace.passes] == ["draft", "critique", "refine"]
    assert trace.passes[1].call.after == (0,)
    assert strong.calls[0].prompt.messages[1]["content"] == OPEN


def test_a_vote_draws_only_what_cheap_tiers_of_the_same_deployment_have_not_drawn():
    model = ScriptedEngine("3", "4", "5", "6", "4")
    answer, _ = climb(model, (model, Majority(n=5)), signals=[{"agreement": 2}])
    assert (len(model.calls), answer.completion.text, answer.why) == (5, "4", "2 of 5 votes")


def test_a_ladder_of_one_deployment_never_draws_more_than_its_last_tier_and_one():
    model = ScriptedEngine(*"123456789")
    climb(model, (model, Majority(n=3)), (model, Majority(n=5)), signals=[{"agreement": 2}])
    assert len(model.calls) == 5


@pytest.mark.parametrize(
    ("votes", "why"),
    [
        (Majority(n=5), "3 of 4 votes"),
        (Majority(n=9, stop=msgspec.convert({"esc": {"window": 2}}, StopChoice)), "2 of 2 votes"),
    ],
)
def test_drafts_that_settle_a_vote_are_its_answer_without_a_pass(votes, why):
    model = ScriptedEngine("3", "3", "4", "3")
    answer, trace = climb(model, (model, votes), signals=[{"agreement": 4}])
    assert (answer.completion.text, answer.why) == ("3", why)
    assert [done.tier for done in trace.passes] == ["t0"] * 4


def test_candidates_of_cheap_tiers_are_candidates_of_best_of_n():
    model = ScriptedEngine(Reply(text="3", logprob=-0.1), Reply(text="4", logprob=-2.0))
    answer, _ = climb(model, (model, BestOfN(n=4)), signals=[{"span_probability": 0.95}, {"agreement": 2}])
    assert (len(model.calls), answer.completion.text) == (4, "3")
    other = ScriptedEngine("5")
    climb(ScriptedEngine("3", "4"), (other, BestOfN(n=4)), signals=[{"agreement": 2}])
    assert len(other.calls) == 4, "likelihoods of two models are not compared"


def test_in_a_tie_the_answer_of_the_stronger_deployment_wins():
    votes = ScriptedEngine("6", "7")
    answer, _ = climb(ScriptedEngine("3", "4"), (votes, Majority(n=4)), signals=[{"agreement": 2}])
    assert answer.completion.text == "6"
    early = Majority(n=4, stop=msgspec.convert({"esc": {"window": 2}}, StopChoice))
    votes = ScriptedEngine("6")
    answer, _ = climb(ScriptedEngine("3", "4"), (votes, early), signals=[{"agreement": 2}])
    assert answer.completion.text == "6"
