"""An answer that was lost to thinking is given once more with thinking off, and everything is on the bill."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.engine import Deployment
from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN, Fusion, Majority, Refine, Single
from tierwise.run import Action, Tier
from tierwise.run.acceptable import notes_of
from tierwise.run.recovery import LOST
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Completion, Usage
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Broken, TooLong
from tierwise.testing import (
    RecordingSink,
    Reply,
    ScriptedEngine,
    ask_user,
    frozen,
    new_trace,
    solve,
    solve_cascade,
    tier,
)
from tierwise.testing.contracts.policies import budgets, is_consistent, run_action
from tierwise.verifiers import Number

OFF = {"chat_template_kwargs": {"enable_thinking": False}}
THINKS = Reply(thinking="well let me see", finish="length")
BOTH = Reply(thinking="so it is", text="4")


def thinker(*replies: str | Reply, off=OFF, **settings) -> ScriptedEngine:
    return ScriptedEngine(*replies, thinking_off=off, **settings)


def outcomes(trace) -> list[tuple[str, str]]:
    return [(done.call.role, done.outcome) for done in trace.passes]


def said_about(trace) -> list[str]:
    return [one.reason for one in trace.events if isinstance(one, Decision) and one.signal == LOST]


# ── what is lost ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("completion", "is_lost"),
    [
        (Completion(reasoning="hm"), True),
        (Completion(reasoning="hm", text="\n\n"), True),
        (Completion(reasoning="hm", extra={"reasoning_details": [{"text": "hm"}]}), True),
        (Completion(text="<think>\nhm"), True),
        (Completion(text="<think>hm</think>\n"), True),
        (Completion(text="<|channel|>analysis<|message|>hm"), True),
        (Completion(reasoning="hm", text="4"), False),
        (Completion(text="<think>hm</think>4"), False),
        (Completion(reasoning="hm", tool_calls=({"id": "1"},)), False),
        (Completion(reasoning="hm", extra={"refusal": "no"}), False),
        (Completion(), False),
        (Completion(text="4"), False),
    ],
)
def test_an_answer_is_lost_if_there_is_thinking_and_nothing_else(completion, is_lost):
    assert completion.is_only_thinking is is_lost


def test_thinking_that_a_server_counts_and_does_not_send_is_seen():
    class Hides(ScriptedEngine):
        async def _say(self, call, reply):
            async for chunk in super()._say(call, reply):
                yield (
                    chunk
                    if chunk.usage is None
                    else type(chunk)(usage=Usage(prompt=3, completion=5, reasoning=5), finish=chunk.finish)
                )

    _, trace = solve(Single(), engine=Hides(Reply(thinking="a b", finish="length")))
    assert outcomes(trace) == [("draft", LOST)]


# ── recovery ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("finish", ["length", "stop"])
def test_a_lost_answer_is_given_again_with_thinking_off_and_both_passes_are_counted(finish):
    engine = thinker(Reply(thinking="well let me see", finish=finish), "4")
    answer, trace = solve(Single(), engine=engine)
    assert (answer.completion.text, answer.completion.finish, answer.chosen) == ("4", "stop", 1)
    assert outcomes(trace) == [("draft", LOST), ("recovery", "finished")]
    assert trace.passes[1].retry_of == 0
    assert engine.calls[1].prompt.fields == OFF
    assert trace.usage.completion == 5
    assert len(said_about(trace)) == 1
    assert "pass 1 answered with thinking off" in notes_of(trace)[0]


def test_an_answer_that_is_not_lost_is_one_pass():
    _, trace = solve(Single(), engine=thinker(BOTH))
    assert outcomes(trace) == [("draft", "finished")]


def test_a_stream_shows_the_thinking_then_the_answer_and_one_end():
    sink = RecordingSink()
    answer, _ = solve(Single(), engine=thinker(THINKS, "it is 4"), sink=sink)
    thought = "".join(str(chunk.delta.get("reasoning_content") or "") for chunk in sink.chunks)
    assert (thought, sink.text) == ("well let me see", "it is 4")
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["stop"]
    assert sum("role" in chunk.delta for chunk in sink.chunks) == 1
    assert (answer.completion.reasoning, answer.completion.text) == (thought, sink.text)


def test_a_stream_and_a_whole_response_say_the_same():
    whole, _ = solve(Single(), engine=thinker(THINKS, "it is 4"))
    assert (whole.completion.reasoning, whole.completion.text) == ("well let me see", "it is 4")


def test_thinking_in_the_text_of_a_stream_is_closed_before_the_answer():
    sink = RecordingSink()
    solve(Single(), engine=thinker(Reply(text="<think> hm", finish="length"), "4"), sink=sink)
    assert sink.text == "<think> hm\n</think>\n\n4"


def test_an_answer_that_is_lost_again_ends_as_the_first_one_did():
    sink = RecordingSink()
    again = Reply(text="<think> still", finish="length")
    answer, trace = solve(Single(), engine=thinker(THINKS, again, "never asked"), sink=sink)
    assert (answer.chosen, answer.completion.text, answer.completion.finish) == (0, "", "length")
    assert outcomes(trace) == [("draft", LOST), ("recovery", LOST)]
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["length"]
    assert "has no answer either" in said_about(trace)[0]


@pytest.mark.parametrize("error", [Broken("on purpose"), TooLong("on purpose")])
def test_a_failed_recovery_leaves_the_first_answer(error):
    sink = RecordingSink()
    answer, trace = solve(Single(), engine=thinker(THINKS, Reply(error=error)), sink=sink)
    assert (answer.chosen, answer.completion.finish) == (0, "length")
    assert "failed: on purpose" in said_about(trace)[0]
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["length"]


def test_an_engine_that_breaks_during_a_shown_recovery_is_an_error():
    with pytest.raises(Broken):
        solve(Single(), engine=thinker(THINKS, Reply(text="it is", error=Broken("on purpose"))), sink=RecordingSink())


def test_without_a_switch_nothing_is_repeated_and_the_trace_says_why():
    answer, trace = solve(Single(), engine=thinker(THINKS, "4", off=None))
    assert (answer.completion.text, len(trace.passes)) == ("", 1)
    assert "no thinking switch of fake is known" in said_about(trace)[0]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"thinking": True}, "thinking"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, "chat_template_kwargs.enable_thinking"),
    ],
)
def test_a_client_that_sets_thinking_itself_gets_what_it_asked_for(fields, named):
    answer, trace = solve(Single(), engine=thinker(THINKS, "4"), prompt=ask_user("2+2?", **fields))
    assert (answer.completion.finish, len(trace.passes)) == ("length", 1)
    assert f"the request sets {named} itself" in said_about(trace)[0]


def test_other_variables_of_the_chat_template_are_kept():
    engine = thinker(THINKS, "4")
    solve(Single(), engine=engine, prompt=ask_user("2+2?", chat_template_kwargs={"language": "de"}, max_tokens=9))
    assert engine.calls[1].prompt.fields == {
        "chat_template_kwargs": {"language": "de", "enable_thinking": False},
        "max_tokens": 9,
    }


def test_a_model_that_thinks_although_thinking_is_off_is_not_asked_again():
    engine = thinker(Reply(text="<think> hm", finish="length"))
    _, trace = solve_cascade([replace(tier(Single(), engine), sampling=OFF)], ask_user("2+2?"))
    assert len(trace.passes) == 1
    assert "thinks although thinking is off" in said_about(trace)[0]


def test_defaults_of_a_tier_that_turn_thinking_on_do_not_come_back():
    class Direct(Single, frozen=True):
        def tiers(self):
            return ("other",)

        async def solve(self, prompt, ask):
            done = await ask.at("other")(Call(prompt=prompt))
            return Answer(completion=done.completion, chosen=done.number)

    engine = thinker(THINKS, "4")
    levers = {"thinking": True, "thinking_tokens": 9, "reasoning_effort": "high", "top_p": 0.5}
    other = replace(tier(Single(), engine, name="other"), sampling=levers)
    answer, _ = solve(Direct(), engine=engine, others=[other])
    assert answer.completion.text == "4"
    assert engine.calls[0].prompt.fields == levers
    assert engine.calls[1].prompt.fields == {"top_p": 0.5, **OFF}


def test_where_a_message_can_be_continued_the_answer_comes_from_the_thinking_closed():
    engine, sink = thinker(THINKS, "it is 4"), RecordingSink()
    answer, trace = continuing(engine, sink)
    assert (answer.completion.text, sink.text) == ("it is 4", "it is 4")
    assert answer.completion.reasoning == "well let me see"
    *_, message = engine.calls[1].prompt.messages
    assert (message["role"], message["reasoning_content"]) == ("assistant", "well let me see")
    assert (trace.passes[1].call.role, trace.passes[1].call.after) == ("recovery", (0,))
    assert "pass 1 answered with its thinking closed" in said_about(trace)[0]


def test_an_answer_that_is_lost_with_its_thinking_closed_is_given_with_thinking_off():
    engine, sink = thinker(THINKS, Reply(thinking="still", finish="length"), "it is 4"), RecordingSink()
    answer, trace = continuing(engine, sink)
    assert (answer.completion.text, sink.text, answer.chosen) == ("it is 4", "it is 4", 2)
    assert outcomes(trace) == [("draft", LOST), ("recovery", LOST), ("recovery", "finished")]
    assert engine.calls[2].prompt.fields == OFF
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["stop"]


def test_a_pass_that_was_cut_in_its_thinking_is_no_answer():
    engine = thinker(THINKS, Reply(thinking="on and on and on"), "it is 4")
    answer, trace = continuing(engine, RecordingSink(), budget=Budget(completion_tokens=6))
    assert answer.chosen == 0
    assert not any("answered" in one for one in said_about(trace))


def test_a_budget_of_thinking_that_is_used_up_leaves_a_pass_with_thinking_off():
    engine = thinker(THINKS, "it is 4")
    answer, _ = solve(Single(), engine=engine, budget=Budget(reasoning_tokens=4))
    assert answer.completion.text == "it is 4"


def test_an_answer_with_a_form_is_not_continued():
    engine = thinker(THINKS, "{}")
    answer, trace = continuing(engine, RecordingSink(), response_format={"type": "json_object"})
    assert (answer.completion.text, len(trace.passes)) == ("{}", 2)
    assert engine.calls[1].prompt.messages == engine.calls[0].prompt.messages


def continuing(engine, sink, *, budget=None, **fields):
    """One pass on a deployment that can continue a message."""

    async def main():
        deployment = Deployment(name="fake", engine=engine, capabilities=Capabilities(continues=True))
        trace = new_trace()
        action = Action(Tier(name="tier", deployment=deployment, policy=Single(), budget=budget or Budget()), trace)
        return await action.solve(ask_user("2+2?", **fields), sink), trace

    return frozen(main())


# ── budgets ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("budget", [Budget(passes=1), Budget(completion_tokens=4), Budget(seconds=0.04)])
def test_a_budget_that_is_used_up_leaves_the_first_answer(budget):
    answer, trace = solve(Single(), engine=thinker(THINKS, "4"), budget=budget)
    assert (answer.completion.text, answer.chosen, len(trace.passes)) == ("", 0, 1)
    assert all("the budget allows no pass" in one for one in said_about(trace))


def test_a_recovery_gets_what_is_left_of_the_tokens():
    answer, trace = solve(Single(), engine=thinker(THINKS, "it is four"), budget=Budget(completion_tokens=6))
    assert (answer.completion.text, answer.completion.finish) == ("it is", "length")
    assert trace.usage.completion == 6


@given(
    st.lists(
        st.sampled_from([THINKS, BOTH, Reply(text="4"), Reply(text="<think> a b c"), Reply(error=Broken("x"))]),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([Single(), Majority(n=3), BestOfN(n=2), Fusion(n=2), Refine()]),
    budgets,
    st.sampled_from([None, Number(equals=4)]),
)
def test_budgets_hold_whatever_is_lost(script, policy, budget, verifier):
    engine = thinker(*script)
    ended = run_action(policy, engine, budget=budget, verifier=verifier, slots=1)
    assert is_consistent(ended.trace, engine)
    lost = {one.number for one in ended.trace.passes if one.outcome == LOST}
    charged = [one for one in ended.trace.passes if one.retry_of is None or one.retry_of in lost]
    assert budget.passes is None or len(charged) <= budget.passes
    assert budget.completion_tokens is None or ended.trace.usage.completion <= budget.completion_tokens
    assert budget.seconds is None or ended.seconds <= budget.seconds + 1e-9
    assert sum(done.call.role == "recovery" and done.outcome != "failed" for done in ended.trace.passes) <= 1


# ── policies ─────────────────────────────────────────────────────────────


def test_a_lost_vote_is_not_recovered_while_other_votes_answer():
    answer, trace = solve(Majority(n=3), engine=thinker(THINKS, "4", "4"), slots=1)
    assert (answer.completion.text, answer.why) == ("4", "1 of 2 votes")
    assert outcomes(trace) == [("vote", LOST), ("vote", "finished")]


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=3), Fusion(n=3)])
def test_an_action_whose_candidates_are_all_lost_is_recovered_once(policy):
    sink = RecordingSink()
    answer, trace = solve(policy, engine=thinker(THINKS, THINKS, THINKS, "it is 4"), sink=sink)
    assert (answer.completion.text, sink.text) == ("it is 4", "it is 4")
    assert answer.why == "answered again, because pass 0 was lost to thinking"
    assert [done.outcome for done in trace.passes] == [LOST] * 3 + ["finished"]


def test_a_lost_draft_is_recovered_before_it_is_criticised():
    answer, trace = solve(Refine(), engine=thinker(THINKS, "5", "wrong", "4"))
    assert answer.completion.text == "4"
    assert [done.call.role for done in trace.passes] == ["draft", "recovery", "critique", "refine"]


@pytest.mark.parametrize("policy", [Fusion(n=2), Refine()])
def test_a_last_stage_that_was_lost_does_not_replace_a_whole_answer(policy):
    lost = Reply(thinking="hm", finish="stop")
    said = {"draft": ["one", "two"], "critique": ["so so"]}

    class Loses(ScriptedEngine):
        def reply_to(self, number, call):
            return Reply(text=said[call.role].pop(0)) if said.get(call.role) else lost

    answer, _ = solve(policy, engine=Loses())
    assert answer.completion.text == "one"


def test_a_tier_that_cannot_recover_says_so_once():
    _, trace = solve(Majority(n=2), engine=thinker(THINKS, off=None))
    assert len(said_about(trace)) == 1


def test_each_tier_of_a_cascade_recovers_once():
    cheap, strong = thinker(THINKS, "5"), thinker(THINKS, "4")
    tiers = [tier(Single(), cheap, name="cheap"), tier(Single(), strong, name="strong")]
    answer, trace = solve_cascade(tiers, ask_user("2+2?"), verifier=Number(equals=4))
    assert (answer.completion.text, answer.tier) == ("4", "strong")
    assert [(done.tier, done.outcome) for done in trace.passes] == [
        ("cheap", LOST), ("cheap", "finished"), ("strong", LOST), ("strong", "finished"),
    ]  # fmt: skip


def test_no_answer_of_an_engine_that_thinks_past_its_limit_is_empty():
    for action in range(300):
        engine = thinker(*[THINKS, "4"] if action % 2 else [BOTH])
        answer, trace = solve(Single(), engine=engine)
        assert answer.completion.text == "4"
        assert trace.usage.completion == engine.produced.completion
