"""Refine drafts, criticises and writes anew; a verifier is the gate, and the draft stays where the new one fails it."""

from __future__ import annotations

import pytest

from tierwise.policies import Refine
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken, BudgetError, Garbled, Overloaded
from tierwise.spec.prompt import Prompt
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, ask_user, solve
from tierwise.verifiers import Number

FOUR = Number(equals=4)


def roles(trace):
    return [done.call.role for done in trace.passes]


def test_without_a_verifier_the_refinement_is_the_answer():
    answer, trace = solve(Refine(), "3", "It is wrong.", "4")
    assert (answer.completion.text, roles(trace)) == ("4", ["draft", "critique", "refine"])


def test_without_a_verifier_the_refinement_streams_and_nothing_else_does():
    shown = RecordingSink()
    solve(Refine(), "3", "It is wrong.", "it is 4", sink=shown)
    assert shown.text == "it is 4"
    assert len([chunk for chunk in shown.chunks if chunk.is_output]) == 3


def test_a_draft_that_the_verifier_accepts_is_the_answer_at_once():
    answer, trace = solve(Refine(), "4", verifier=FOUR)
    assert (answer.why, answer.verdict.ok, len(trace.passes)) == ("draft accepted", True, 1)


def test_a_refinement_that_the_verifier_accepts_replaces_the_draft():
    answer, trace = solve(Refine(), "3", "It is wrong.", "4", verifier=FOUR)
    assert (answer.completion.text, answer.chosen, answer.why) == ("4", 2, "refinement accepted")
    assert [event.number for event in trace.events if hasattr(event, "verdict")] == [0, 2]


def test_a_refinement_that_the_verifier_does_not_accept_is_thrown_away():
    shown = RecordingSink()
    answer, trace = solve(Refine(), "3", "Fine.", "5", verifier=FOUR, sink=shown)
    assert (answer.completion.text, answer.chosen, answer.why, answer.verdict.ok) == ("3", 0, "draft kept", False)
    assert (shown.text, len(trace.passes)) == ("3", 3)


def test_a_draft_that_calls_a_tool_is_not_argued_with():
    call = Reply(delta={"tool_calls": [{"index": 0, "id": "x", "function": {"name": "add", "arguments": "{}"}}]})
    for verifier in (None, FOUR):
        answer, trace = solve(Refine(), call, verifier=verifier)
        assert (answer.why, len(trace.passes)) == ("draft calls a tool", 1)


@pytest.mark.parametrize("verifier", [None, FOUR])
@pytest.mark.parametrize("passes", [1, 2])
def test_the_draft_is_kept_when_the_passes_run_out(verifier, passes):
    answer, trace = solve(Refine(), "3", "Wrong.", "4", verifier=verifier, budget=Budget(passes=passes))
    assert (answer.completion.text, answer.why, len(trace.passes)) == ("3", "draft kept", 1)  # no critique in vain


@pytest.mark.parametrize("verifier", [None, FOUR])
@pytest.mark.parametrize("failing", [1, 2])
def test_the_draft_is_kept_when_the_engine_fails_later(verifier, failing):
    replies = ["3", "Wrong.", "4"]
    replies[failing] = Reply(error=Overloaded("no room"))
    answer, _ = solve(Refine(), *replies, verifier=verifier)
    assert (answer.completion.text, answer.why) == ("3", "draft kept")


def test_the_draft_is_kept_when_the_refinement_has_not_begun_in_time():
    answer, _ = solve(Refine(), "3", "Wrong.", Reply(text="4", step=9), budget=Budget(seconds=1))
    assert (answer.completion.text, answer.why) == ("3", "draft kept")


def test_a_refinement_that_dies_after_a_part_of_it_was_shown_cannot_be_taken_back():
    with pytest.raises(Broken):
        solve(Refine(), "3", "Wrong.", Reply(text="it is", error=Broken("it died")), sink=RecordingSink())


def test_one_that_dies_unseen_leaves_the_draft():
    answer, _ = solve(Refine(), "3", "Wrong.", Reply(text="it is", error=Garbled("what?")))
    assert answer.completion.text == "3"


def test_when_not_even_the_draft_comes_there_is_no_answer():
    with pytest.raises(BudgetError):
        solve(Refine(), Reply(text="3", step=9), budget=Budget(seconds=1))
    with pytest.raises(Garbled):
        solve(Refine(), Reply(error=Garbled("what?")))


def test_each_pass_reads_what_the_ones_before_it_said():
    engine = ScriptedEngine("3", "Wrong.", "4")
    _, trace = solve(Refine(), engine=engine, prompt=ask_user("2+2?"))
    said = [[message["content"] for message in call.prompt.messages] for call in engine.calls]
    assert said[0] == ["2+2?"]
    assert said[1][:2] == ["2+2?", "3"]
    assert said[2][:4] == [*said[1], "Wrong."]
    assert [done.call.after for done in trace.passes] == [(), (0,), (0, 1)]


def test_the_critic_hears_what_the_check_found():
    engine = ScriptedEngine("3", "Wrong.", "4")
    solve(Refine(), engine=engine, verifier=FOUR)
    assert "3 instead of 4" in str(engine.calls[1].prompt.messages[-1]["content"])


def test_the_form_of_the_answer_binds_the_draft_and_the_refinement_but_not_the_critic():
    form = {
        "response_format": {"type": "json_object"},
        "tools": [{}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }
    engine = ScriptedEngine("3", "Wrong.", "4")
    prompt = Prompt(messages=({"role": "user", "content": "2+2?"},), fields={**form, "temperature": 0.5})
    solve(Refine(), engine=engine, prompt=prompt)
    draft, critique, refined = (dict(call.prompt.fields) for call in engine.calls)
    assert draft == refined == {**form, "temperature": 0.5}
    assert critique == {"temperature": 0.5}


# ── the refinement's share of the budget ────────────────────────────────


def test_a_critique_ends_when_the_refinement_needs_the_rest_of_the_budget():
    critique = Reply(text="it is wrong and also badly said", step=1.0)
    answer, trace = solve(Refine(), Reply(text="3 it", step=1.0), critique, "4", budget=Budget(seconds=6.5))
    assert (answer.completion.text, [done.outcome for done in trace.passes]) == ("4", ["finished", "cut", "finished"])
    assert trace.passes[1].seconds == pytest.approx(2.5)
    assert trace.limits == [], "the budget is divided, and not used up"


@pytest.mark.parametrize("budget", [Budget(passes=2), Budget(seconds=3.5), Budget(completion_tokens=3)])
def test_without_room_for_a_refinement_like_the_draft_there_is_no_critique(budget):
    answer, trace = solve(Refine(), Reply(text="3 it", step=1.0), "Wrong.", "4", budget=budget)
    assert (answer.completion.text, answer.why, len(trace.passes)) == ("3 it", "draft kept", 1)


def test_a_refinement_that_is_cut_unseen_leaves_the_draft():
    script = ["3", "Wrong.", Reply(text="so it is not", step=1.0)]
    unseen, trace = solve(Refine(), *script, budget=Budget(seconds=2.5))
    assert (unseen.completion.text, unseen.why, trace.limits) == ("3", "draft kept", ["seconds"])
    seen, _ = solve(Refine(), *script, budget=Budget(seconds=2.5), sink=RecordingSink())
    assert (seen.completion.text, seen.completion.finish) == ("so it", "length")
