"""Majority elects what all n votes would elect, and stops paying for them as soon as that is certain."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.policies import Majority
from tierwise.spec.budget import Budget
from tierwise.spec.errors import BudgetError, Garbled, Overloaded
from tierwise.testing import Reply, solve
from tierwise.verifiers import Choice, JsonSchema, Number, Regex

from .acting import ByDraw, run_action

FAILED, ABSTAINED = "failed", "abstained"
VOTES = st.lists(st.sampled_from(["A", "A", "B", "B", "C", FAILED, ABSTAINED]), min_size=2, max_size=9)


def engine_of(votes: list[str], seconds: list[float]) -> ByDraw:
    replies = {FAILED: {"error": Garbled("on purpose")}, ABSTAINED: {"text": ""}}
    return ByDraw(
        [Reply(step=wait, **replies.get(vote, {"text": vote})) for vote, wait in zip(votes, seconds, strict=True)]
    )


def elected(votes: list[str]) -> str | None:
    """The oracle: all votes counted; of those that are tied, the one that was drawn first."""
    counted = [vote for vote in votes if vote not in (FAILED, ABSTAINED)]
    most = max(map(counted.count, counted), default=0)
    return next((vote for vote in counted if counted.count(vote) == most), None)


def decided_at(votes: list[str], order: list[int]) -> int:
    """The oracle: how many must be in before the answer is the same whatever the rest say.

    It is enough to try the rest in a row for one answer: of those seen, and a new one.
    """
    for seen in range(1, len(votes)):
        now = [vote if place < seen else None for vote, place in zip(votes, order, strict=True)]
        if len({elected([rest if vote is None else vote for vote in now]) for rest in "ABCD"}) == 1:
            return seen
    return len(votes)


@given(VOTES, st.data())
def test_the_answer_is_that_of_all_votes_in_whatever_order_they_finish(votes, data):
    order = data.draw(st.permutations(range(len(votes))))
    engine = engine_of(votes, [float(place + 1) for place in order])
    ended = run_action(Majority(n=len(votes), equality="text"), engine)
    if (right := elected(votes)) is not None:
        assert ended.answer.completion.text == right
    elif ABSTAINED in votes:
        assert (ended.answer.completion.text, ended.answer.agreement) == ("", 0)
    else:
        assert isinstance(ended.error, Garbled)


@given(VOTES, st.data())
def test_it_stops_the_moment_the_rest_cannot_change_the_answer(votes, data):
    order = data.draw(st.permutations(range(len(votes))))
    ended = run_action(Majority(n=len(votes), equality="text"), engine_of(votes, [float(place + 1) for place in order]))
    assert ended.seconds == decided_at(votes, order)


@given(VOTES, st.integers(1, 4), st.data())
def test_the_answer_does_not_depend_on_how_many_votes_run_side_by_side(votes, slots, data):
    seconds = data.draw(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=len(votes), max_size=len(votes)))
    ended = run_action(Majority(n=len(votes), equality="text"), engine_of(votes, seconds), slots=slots)
    if (right := elected(votes)) is not None:
        assert ended.answer.completion.text == right


def test_it_stops_paying_once_the_vote_is_settled():
    answer, trace = solve(Majority(n=5), "4", "4", "4", slots=1)
    assert (answer.completion.text, len(trace.passes)) == ("4", 3)


def test_the_slow_losers_are_aborted_and_paid_as_far_as_they_came():
    slow = Reply(text="5 " * 500)
    answer, trace = solve(Majority(n=5), "4", "4", "4", slow, slow)
    assert answer.completion.text == "4"
    assert Counter(done.outcome for done in trace.passes) == {"finished": 3, "aborted": 2}
    assert (trace.usage.prompt, trace.usage.completion) == (15, 5)


def test_agreement_is_the_share_of_the_votes_that_were_cast():
    answer, _ = solve(Majority(n=4), "4", "5", "", "4", slots=1)
    assert (answer.agreement, answer.why) == (0.5, "2 of 4 votes")


def test_passes_that_failed_are_no_votes():
    answer, _ = solve(Majority(n=4), "4", Reply(error=Overloaded("no room")), "4", slots=1)
    assert (answer.agreement, answer.why) == (1.0, "2 of 2 votes")


def test_the_votes_that_are_in_decide_when_the_time_is_up():
    answer, trace = solve(Majority(n=3), "4", Reply(text="5 " * 99), budget=Budget(seconds=0.5))
    assert (answer.completion.text, trace.passes[-1].outcome) == ("4", "cut")


def test_half_a_vote_is_an_answer_only_where_there_is_no_whole_one():
    answer, _ = solve(Majority(n=3), Reply(text="5 " * 99), budget=Budget(seconds=0.5))
    assert (answer.completion.finish, answer.chosen, answer.agreement) == ("length", 0, 0)


def test_nothing_said_in_time_is_no_answer():
    with pytest.raises(BudgetError, match=r"within the budget of 0\.5 seconds"):
        solve(Majority(n=3), Reply(text="4", step=9), budget=Budget(seconds=0.5))


def test_votes_are_independent_draws_of_one_prompt():
    engine = ByDraw(["4", "5", "6"])
    run_action(Majority(n=3), engine)
    assert len({call.seed for call in engine.calls}) == 3
    assert len({id(call.prompt) for call in engine.calls}) == 1


@pytest.mark.parametrize(
    ("verifier", "votes"),
    [
        (Number(), ["the answer is 4", "5", "It makes 4.0 apples"]),
        (Choice(options=("yes", "no")), ["Yes, it is", "no", "I say yes"]),
        (JsonSchema(schema=True), ['{"a": 1, "b": 2}', "[]", '```json\n{"b": 2, "a": 1.0}\n```']),
        (Regex(pattern=r"[A-Z]{3}-\d"), ["it is ABC-1", "DEF-2", "abc? ABC-1!"]),
    ],
)
def test_two_votes_are_the_same_where_the_requests_verifier_says_so(verifier, votes):
    answer, _ = solve(Majority(n=3), *votes, verifier=verifier, slots=1)
    assert (answer.completion.text, answer.agreement) == (votes[0], pytest.approx(2 / 3))


def test_a_stated_equality_wins_over_the_requests_verifier():
    answer, _ = solve(Majority(n=3, equality="text"), "4.0", "4", "4", verifier=Number(), slots=1)
    assert answer.completion.text == "4"


def test_votes_for_the_same_tool_call_are_the_same_vote():
    def call(arguments: str) -> Reply:
        return Reply(
            delta={"tool_calls": [{"index": 0, "id": "x", "function": {"name": "add", "arguments": arguments}}]}
        )

    answer, _ = solve(Majority(n=3), call('{"a":1,"b":2}'), call('{"a":9}'), call('{"b": 2, "a": 1}'), slots=1)
    assert (answer.chosen, answer.agreement) == (0, pytest.approx(2 / 3))
