"""What a policy prefers never costs the user an answer: fields that a deployment refuses are left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tierwise.ledger.records import Check, Decision
from tierwise.policies import BestOfN, Cascade, Majority, Single
from tierwise.run import Action
from tierwise.spec.call import Call
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Refused, TooLong
from tierwise.spec.prompt import Prompt
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, tier
from tierwise.verifiers import Number

TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
CALLS = {
    "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]
}


class Refuses(ScriptedEngine):
    """Refuses calls of which `why` has something to say, and answers the others by the script."""

    def __init__(self, why, *replies) -> None:
        super().__init__(*replies)
        self._why = why

    def reply_to(self, number: int, call: Call) -> Reply:
        if message := self._why(call):
            return Reply(error=Refused(message, engine="picky"))
        return super().reply_to(0, call)


def logprobs_beside_tools(call: Call) -> str:
    has_both = call.prompt.fields.get("logprobs") and call.prompt.has_tools and call.streamed
    return "logprobs is not supported with tools + stream" if has_both else ""


def seeds(call: Call) -> str:
    return "unsupported parameter: seed" if call.sends_seed else ""


def with_tools(**fields) -> Prompt:
    return ask_user("Weather?").setting(tools=TOOLS, **fields)


def act(policy, engine, prompt=None, *, times=1, capabilities=None, verifier=None):
    """The answers and traces of actions on one tier, one after the other."""

    async def main():
        own = tier(policy, engine)
        own = replace(own, deployment=replace(own.deployment, capabilities=capabilities or Capabilities()))
        done = []
        for _ in range(times):
            trace = new_trace()
            answer = await Action(own, trace, verifier=verifier).solve(prompt or with_tools())
            done.append((answer, trace))
        return done

    return frozen(main())


def notes(trace) -> list[str]:
    return [event.reason for event in trace.events if isinstance(event, Decision)]


def test_best_of_n_answers_with_tools_where_logprobs_are_refused_beside_them():
    engine = Refuses(logprobs_beside_tools, Reply(delta=CALLS, finish="tool_calls"))
    ((answer, trace),) = act(BestOfN(n=3), engine)
    assert answer.completion.tool_calls
    assert [done.outcome for done in trace.passes].count("finished") == 3
    assert "fake refuses logprobs with tools: asked without" in notes(trace)


def test_a_refusal_is_remembered_so_that_the_next_action_has_no_failed_pass():
    engine = Refuses(logprobs_beside_tools, "Sunny")
    first, second = act(BestOfN(n=2), engine, times=2)
    assert {done.outcome for done in first[1].passes} == {"finished", "failed"}
    assert {done.outcome for done in second[1].passes} == {"finished"}
    assert "fake refuses logprobs with tools: asked without" in notes(second[1])


def test_what_the_engine_is_known_to_refuse_is_never_sent():
    engine = Refuses(logprobs_beside_tools, "Sunny")
    ((_, trace),) = act(BestOfN(n=3), engine, capabilities=Capabilities(logprobs_with_tools=False))
    assert [done.outcome for done in trace.passes] == ["finished"] * 3


def test_logprobs_refused_beside_tools_are_still_asked_for_without_tools():
    engine = Refuses(logprobs_beside_tools, "Sunny")
    act(BestOfN(n=2), engine)
    ((_, trace),) = act(BestOfN(n=2), engine, ask_user("Weather?"))
    assert all(done.call.prompt.fields["logprobs"] for done in trace.passes)


def test_the_clients_own_logprobs_beside_tools_are_asked_for_without_a_stream():
    engine = Refuses(logprobs_beside_tools, Reply(text="Sunny", logprob=-0.5))
    first, second = act(Single(), engine, with_tools(logprobs=True), times=2)
    assert [(done.outcome, done.call.streamed) for done in first[1].passes] == [("failed", True), ("finished", False)]
    assert [(done.outcome, done.call.streamed) for done in second[1].passes] == [("finished", False)]
    assert first[0].completion.logprobs


def test_a_server_that_refuses_seeds_answers_without_one():
    engine = Refuses(seeds, "Sunny")
    first, second = act(Majority(n=2), engine, times=2)
    assert first[0].completion.text == second[0].completion.text == "Sunny"
    assert {done.call.sends_seed for done in second[1].passes} == {False}
    assert "fake refuses seed: asked without" in notes(second[1])


def test_each_refused_field_is_left_out_in_turn():
    engine = Refuses(lambda call: logprobs_beside_tools(call) or seeds(call), "Sunny")
    ((answer, trace),) = act(BestOfN(n=2), engine)
    assert answer.completion.text == "Sunny"
    assert [done.retry_of for done in trace.passes if done.outcome == "finished"] != [None, None]


def test_a_refusal_that_names_no_field_drops_all_that_the_policy_preferred():
    engine = Refuses(lambda call: "bad request" if call.prompt.fields.get("logprobs") else "", "Sunny")
    ((answer, trace),) = act(BestOfN(n=2), engine)
    assert answer.completion.text == "Sunny"
    assert all(done.call.sends_seed for done in trace.passes)


def test_a_refusal_that_is_about_the_users_own_request_is_not_repeated():
    engine = Refuses(lambda _: "temperature must be at most 2", "never")
    with pytest.raises(Refused, match="temperature"):
        act(Single(), engine, ask_user("2+2?").setting(temperature=9))
    assert len(engine.calls) == 1


def test_a_refusal_that_stays_is_not_remembered():
    engine = Refuses(lambda _: "temperature must be at most 2", "never")
    own = tier(BestOfN(n=2), engine)

    async def main():
        await Action(own, new_trace()).solve(with_tools())

    with pytest.raises(Refused, match="temperature"):
        frozen(main())
    assert own.deployment.refused.names(has_tools=True) == frozenset()


def test_a_prompt_that_is_too_long_is_not_asked_again():
    engine = ScriptedEngine(Reply(error=TooLong("too long, says the engine")))
    with pytest.raises(TooLong):
        act(BestOfN(n=2), engine)
    assert len(engine.calls) == 2


# ── answers that call tools ──────────────────────────────────────────────


def test_an_answer_that_calls_a_tool_is_not_judged():
    engine = ScriptedEngine(Reply(delta=CALLS, finish="tool_calls"))
    ((answer, trace),) = act(BestOfN(n=2), engine, verifier=Number(equals=4))
    assert (answer.why, answer.verdict.judged) == ("calls a tool, of 2 drawn", False)
    assert not any(isinstance(event, Check) for event in trace.events)
    assert "not judged: number does not judge tool calls" in notes(trace)


def test_a_judged_answer_that_is_accepted_wins_over_one_that_calls_a_tool():
    engine = ScriptedEngine(Reply(delta=CALLS, finish="tool_calls"), "4")
    ((answer, _),) = act(BestOfN(n=2), engine, verifier=Number(equals=4))
    assert answer.completion.text == "4"


def test_a_tool_call_of_the_cheap_tier_does_not_climb():
    cheap = ScriptedEngine(Reply(delta=CALLS, finish="tool_calls"))
    strong = ScriptedEngine("never")

    async def main():
        one, two = tier(Single(), cheap, name="cheap"), tier(Single(), strong, name="strong")
        auto = tier(Cascade(ladder=("cheap", "strong")), cheap, name="auto")
        trace = new_trace()
        action = Action(auto, trace, tiers={"cheap": one, "strong": two}, verifier=Number(equals=4))
        return await action.solve(with_tools()), trace

    answer, trace = frozen(main())
    assert (answer.tier, strong.calls) == ("cheap", [])
    assert "not judged: number does not judge tool calls" in notes(trace)
    assert "cheap accepted: its tool calls match their schemas" in notes(trace)


# ── deployments that do not show tools to the model ──────────────────────


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_tools_that_the_model_does_not_see_are_named_on_the_trace_once(choice):
    engine = ScriptedEngine("Sunny")
    ((answer, trace),) = act(
        BestOfN(n=2), engine, with_tools(tool_choice=choice), capabilities=Capabilities(tools=False)
    )
    assert answer.completion.text == "Sunny"
    assert notes(trace) == ["fake did not show the tools to the model: its template has none"]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_required_tool_call_is_refused_where_the_model_does_not_see_the_tools(choice):
    engine = ScriptedEngine("never")
    with pytest.raises(Refused, match="has no tools, so no tool call can be required; allow a text answer"):
        act(Single(), engine, with_tools(tool_choice=choice), capabilities=Capabilities(tools=False))
    assert engine.calls == []


@pytest.mark.parametrize("capabilities", [Capabilities(), Capabilities(tools=True)])
def test_a_required_tool_call_is_passed_on_where_nothing_speaks_against_it(capabilities):
    engine = ScriptedEngine(Reply(delta=CALLS, finish="tool_calls"))
    ((answer, trace),) = act(Single(), engine, with_tools(tool_choice="required"), capabilities=capabilities)
    assert answer.completion.tool_calls
    assert notes(trace) == []


class Loaded(ScriptedEngine):
    """An engine that reports what it can do once it runs."""

    capabilities = Capabilities(tools=False)


def test_what_the_running_engine_reports_counts():
    ((_, trace),) = act(Single(), Loaded("Sunny"), capabilities=Capabilities(seed=True))
    assert notes(trace) == ["fake did not show the tools to the model: its template has none"]
