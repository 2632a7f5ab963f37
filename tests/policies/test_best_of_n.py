"""Best of n lets a verifier pick, and the engine's own confidence break the ties."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.ledger.records import Check
from tierwise.policies import BestOfN
from tierwise.spec.ask import Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.errors import BudgetError, Garbled
from tierwise.spec.prompt import Prompt
from tierwise.testing import Reply, solve
from tierwise.verifiers import BaseVerifier, Exact, JsonSchema, Number, Regex

from .acting import ByDraw, run_action

DIGITS = Regex(pattern=r"^\d+$")


class Graded(BaseVerifier):
    """Sees degrees: the score is the number that the candidate says."""

    kind = "graded"

    def key(self, completion):
        return completion.text

    async def verify(self, completion):
        return Verdict(ok=float(completion.text) >= 0.5, score=float(completion.text))


def test_a_decisive_verifier_ends_the_search_at_the_first_candidate_that_it_accepts():
    answer, trace = solve(BestOfN(n=5), "3", "5", "4", "4", verifier=Number(equals=4), slots=1)
    assert (answer.completion.text, answer.chosen, len(trace.passes)) == ("4", 2, 3)


def test_the_first_to_finish_is_enough_and_the_others_are_aborted():
    slow = Reply(text="4 " * 100)
    answer, trace = solve(BestOfN(n=3), slow, "4", slow, verifier=Exact(equals="4"))
    assert answer.chosen == 1
    assert [done.outcome for done in trace.passes] == ["aborted", "finished", "aborted"]


@pytest.mark.parametrize("verifier", [DIGITS, JsonSchema(schema=True), Number()])
def test_one_that_only_sees_the_form_lets_all_compete(verifier):
    answer, trace = solve(
        BestOfN(n=3), Reply(text="1", logprob=-2.0), Reply(text="2", logprob=-1.0), Reply(text="3", logprob=-3.0),
        verifier=verifier, slots=1,
    )  # fmt: skip
    assert (answer.completion.text, len(trace.passes)) == ("2", 3)


def test_an_accepted_candidate_beats_a_likelier_one_that_is_not():
    answer, _ = solve(BestOfN(n=2), Reply(text="four", logprob=-0.1), Reply(text="4", logprob=-9.0), verifier=DIGITS)
    assert (answer.completion.text, answer.verdict.ok) == ("4", True)


def test_scores_come_before_likelihood():
    replies = [Reply(text="0.6", logprob=-0.1), Reply(text="0.9", logprob=-9.0), Reply(text="0.7", logprob=-0.1)]
    answer, _ = solve(BestOfN(n=3), *replies, verifier=Graded())
    assert answer.completion.text == "0.9"


def test_without_a_verifier_the_likeliest_wins_and_the_reason_says_so():
    answer, trace = solve(BestOfN(n=2), Reply(text="a", logprob=-2.0), Reply(text="b", logprob=-1.0), slots=1)
    assert (answer.completion.text, answer.verdict) == ("b", None)
    assert answer.why == "most likely of 2: no verifier"
    assert not any(isinstance(event, Check) for event in trace.events)


def test_likelihood_is_the_mean_over_tokens_not_the_sum():
    long, short = Reply(text="a b c d e f", logprob=-1.0), Reply(text="g", logprob=-2.0)
    answer, _ = solve(BestOfN(n=2), short, long)
    assert answer.completion.text == long.text


def test_a_candidate_without_likelihoods_loses_ties():
    answer, _ = solve(BestOfN(n=2), Reply(text="a"), Reply(text="b", logprob=-9.0))
    assert answer.completion.text == "b"


def test_where_nothing_tells_them_apart_the_first_drawn_wins():
    engine = ByDraw([Reply(text="a", step=2), Reply(text="b", step=1)])
    assert run_action(BestOfN(n=2), engine).answer.completion.text == "a"


@given(
    st.lists(st.tuples(st.sampled_from(["7", "no"]), st.sampled_from([None, -2.0, -1.0])), min_size=2, max_size=6),
    st.integers(1, 6),
    st.data(),
)
def test_the_pick_does_not_depend_on_who_finishes_first(said, slots, data):
    waits = data.draw(st.permutations(range(len(said))))
    replies = [
        Reply(text=text, logprob=chance, step=float(wait)) for (text, chance), wait in zip(said, waits, strict=True)
    ]
    ended = run_action(BestOfN(n=len(said)), ByDraw(replies), slots=slots, verifier=DIGITS)
    ranks = [
        (text == "7", float("-inf") if chance is None else chance, -draw) for draw, (text, chance) in enumerate(said)
    ]
    assert ended.answer.chosen is not None
    assert ended.trace.passes[ended.answer.chosen].call.draw == -max(ranks)[2]


def test_every_verdict_is_on_the_trace_with_the_pass_that_it_is_about():
    _, trace = solve(BestOfN(n=3), "3", "5", "4", verifier=Number(equals=4), slots=1)
    checks = [event for event in trace.events if isinstance(event, Check)]
    assert [(one.number, one.verdict.ok, one.kind) for one in checks] == [
        (0, False, "number"),
        (1, False, "number"),
        (2, True, "number"),
    ]


def test_none_accepted_is_said():
    answer, _ = solve(BestOfN(n=2), "3", "5", verifier=Number(equals=4), slots=1)
    assert (answer.verdict.ok, answer.why) == (False, "none of 2 accepted: 3 instead of 4")


def test_a_candidate_that_failed_does_not_spoil_the_others():
    answer, _ = solve(BestOfN(n=3), Reply(error=Garbled("what?")), "4", slots=1, verifier=Number(equals=4))
    assert answer.completion.text == "4"


def test_when_all_fail_the_engine_is_to_blame():
    with pytest.raises(Garbled, match="what"):
        solve(BestOfN(n=3), Reply(error=Garbled("what?")))


def test_the_best_so_far_is_the_answer_when_the_time_is_up():
    answer, _ = solve(BestOfN(n=3), "7", Reply(text="8 " * 99, logprob=-0.1), budget=Budget(seconds=0.5))
    assert answer.completion.text == "7"


def test_half_a_candidate_is_better_than_none():
    answer, _ = solve(BestOfN(n=3), "a b c d e f", budget=Budget(completion_tokens=6))
    assert (answer.completion.text, answer.completion.finish) == ("a b", "length")


def test_nothing_said_in_time_is_no_answer():
    with pytest.raises(BudgetError):
        solve(BestOfN(n=3), Reply(text="4", step=9), budget=Budget(seconds=1))


def test_a_verifier_that_takes_too_long_is_stopped_at_the_deadline():
    class Slow(Graded):
        async def verify(self, completion):
            await asyncio.sleep(100)
            raise AssertionError

    ended = run_action(BestOfN(n=3), ByDraw(["0.9"]), verifier=Slow(), budget=Budget(seconds=2))
    assert (ended.answer.completion.text, ended.answer.verdict.ok, ended.seconds) == ("0.9", False, 2)
    assert "out of time" in ended.answer.why


def test_temperatures_are_spread_over_the_draws_and_replace_the_clients():
    engine = ByDraw(["3", "5", "6", "7", "8"])
    prompt = Prompt(messages=({"role": "user", "content": "?"},), fields={"temperature": 0.1, "top_p": 0.9})
    ended = run_action(BestOfN(n=5, temperatures=(0.0, 1.0)), engine, slots=1, prompt=prompt)
    fields = [done.call.prompt.fields for done in ended.trace.passes]
    assert [one["temperature"] for one in fields] == [0.0, 1.0, 0.0, 1.0, 0.0]
    assert all(one["top_p"] == 0.9 for one in fields)
