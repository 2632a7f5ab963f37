"""Single spends one pass, and shows it as it comes."""

from __future__ import annotations

from tierwise.policies import Single
from tierwise.spec.budget import Budget
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, solve


def test_one_pass_is_the_answer():
    answer, trace = solve(Single(), "four")
    assert (answer.completion.text, answer.chosen, len(trace.passes)) == ("four", 0, 1)


def test_every_word_is_shown_as_it_comes_and_once():
    shown = RecordingSink()
    solve(Single(), "it is four", sink=shown)
    assert [chunk.delta.get("content") for chunk in shown.chunks if chunk.is_output] == ["it", " is", " four"]
    assert [chunk.finish for chunk in shown.chunks if chunk.finish] == ["stop"]


def test_the_clients_own_seed_goes_to_the_engine():
    engine = ScriptedEngine("4")
    solve(Single(), engine=engine)
    assert engine.calls[0].seed == engine.calls[0].prompt.seed


def test_a_deadline_leaves_what_was_said_so_far_and_calls_it_cut_for_length():
    shown = RecordingSink()
    answer, trace = solve(Single(), "a b c d e f", budget=Budget(seconds=0.035), sink=shown)
    assert (answer.completion.text, answer.completion.finish, trace.passes[0].outcome) == ("a b c", "length", "cut")
    assert (shown.text, shown.chunks[-1].finish) == ("a b c", "length")


def test_the_token_budget_is_handed_to_the_engine_which_stops_by_itself():
    answer, trace = solve(Single(), "a b c d e f", budget=Budget(completion_tokens=2))
    assert (answer.completion.text, answer.completion.finish, trace.passes[0].outcome) == ("a b", "length", "finished")


def test_it_lives_with_an_answer_that_says_nothing():
    answer, _ = solve(Single(), Reply(text=""))
    assert (answer.completion.text, answer.completion.finish) == ("", "stop")
