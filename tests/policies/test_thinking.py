"""Thinking is capped, and ends early once trial answers agree, from outside where the engine does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.engine import Deployment
from tierwise.ledger.records import Decision
from tierwise.policies import Thinking
from tierwise.run import Action, Tier
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Broken, BudgetError
from tierwise.testing import RecordingSink, Reply, ScriptedEngine, ask_user, frozen, new_trace
from tierwise.testing.contracts.policies import is_consistent

CONTINUES = Capabilities(continues=True)
CONTROLS = Capabilities(continues=True, thinking_control=True)
LONG = " ".join(f"step {n}" for n in range(100))  # 200 tokens of thinking


class Thinks(ScriptedEngine):
    """Thinks at length before an answer, gives trial answers, and answers after thinking that was closed for it.

    Attributes:
        ended: ids of the passes whose thinking was ended by a control.
    """

    def __init__(
        self,
        *trials: str,
        final: str | Reply = "so 4",
        thinking: str = LONG,
        obeys: bool = True,
        off: dict[str, bool] | None = None,
    ) -> None:
        super().__init__(thinking_off=off)
        self._trials, self._final, self._thinking = trials or ("4",), final, thinking
        self._obeys = obeys
        self.ended: list[str] = []
        self.tried = 0

    def reply_to(self, number: int, call: Call) -> Reply:
        if call.role == "trial":
            self.tried += 1
            return Reply(text=self._trials[min(self.tried, len(self._trials)) - 1])
        if call.role == "answer":
            return self._final if isinstance(self._final, Reply) else Reply(text=self._final)
        if call.role == "recovery":
            return Reply(text="it is 4") if call.prompt.fields.get("enable_thinking") is False else self._lost
        return Reply(thinking=self._thinking, text="it is 4")

    _lost = Reply(thinking="hm", finish="stop")

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        name = f"pass {len(self.calls)}"
        async with aclosing(super().stream(call)) as chunks:
            async for chunk in chunks:
                if name in self.ended and chunk.delta.get("reasoning_content"):
                    yield Chunk(delta={"content": "4, then"}, usage=chunk.usage)
                    yield Chunk(finish="stop", usage=chunk.usage)
                    return
                yield msgspec.structs.replace(chunk, completion_id=name)

    async def end_thinking(self, completion_id: str) -> bool:
        if self._obeys:
            self.ended.append(completion_id)
        return self._obeys


def act(policy: Thinking, engine: ScriptedEngine, able: Capabilities, *, budget=None, sink=None, prompt=None):
    async def main():
        deployment = Deployment(name="fake", engine=engine, capabilities=able)
        one = Tier(name="tier", deployment=deployment, policy=policy, budget=budget or Budget())
        trace = new_trace()
        answer = await Action(one, trace).solve(prompt or ask_user("2+2?"), *([] if sink is None else [sink]))
        assert engine.running == 0
        return answer, trace

    return frozen(main())


def roles(trace) -> list[str]:
    return [done.call.role for done in trace.passes]


def notes(trace) -> list[str]:
    return [one.reason for one in trace.events if isinstance(one, Decision)]


def test_thinking_ends_once_trial_answers_agree_and_the_pass_goes_on_with_its_answer():
    engine = Thinks("4", "4", "4")
    answer, trace = act(Thinking(every=16, agree=3), engine, CONTROLS)
    assert answer.completion.text == "4, then"
    assert answer.why == "thinking ended early: 3 trial answers in a row agree"
    assert roles(trace) == ["draft", "trial", "trial", "trial"]
    assert engine.ended == ["pass 0"]
    assert trace.passes[0].usage.completion < 80  # of 203


def test_without_a_control_the_pass_is_cut_and_sent_again_with_its_thinking_closed():
    engine = Thinks("4")
    answer, trace = act(Thinking(every=16, agree=2, trials=4), engine, CONTINUES)
    assert (answer.completion.text, answer.chosen) == ("so 4", trace.passes[-1].number)
    assert roles(trace) == ["draft", "trial", "trial", "answer"]
    *_, message = engine.calls[-1].prompt.messages
    cut = trace.passes[0]
    assert cut.outcome == "cut"
    assert cut.completion.reasoning.startswith(message["reasoning_content"])
    assert message["role"] == "assistant"
    assert engine.calls[-1].prompt.fields == {"continue_final_message": True, "add_generation_prompt": False}
    assert (trace.passes[-1].call.after, trace.passes[-1].call.continues) == ((0,), 0)
    assert is_consistent(trace, engine)


def test_a_control_that_fails_is_replaced_by_a_resent_pass():
    answer, trace = act(Thinking(every=16, agree=2, trials=4), Thinks("4", obeys=False), CONTROLS, sink=RecordingSink())
    assert answer.completion.text == "so 4"
    assert roles(trace)[-1] == "answer"


@pytest.mark.parametrize("able", [CONTINUES, CONTROLS])
def test_a_stream_shows_thinking_as_it_comes_then_one_answer_and_one_end(able):
    sink = RecordingSink()
    answer, _ = act(Thinking(every=16, agree=2, trials=4), Thinks("4"), able, sink=sink)
    thought = "".join(str(chunk.delta.get("reasoning_content") or "") for chunk in sink.chunks)
    assert thought.startswith("step 0 step 1")
    assert (sink.text, answer.completion.text) == (answer.completion.text, sink.text)
    assert answer.completion.reasoning == thought
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["stop"]


@pytest.mark.parametrize("sink", [None, RecordingSink()])
def test_an_answer_that_is_lost_after_its_thinking_was_closed_is_recovered(sink):
    engine = Thinks("4", final=Reply(thinking="still hm", finish="stop"), off={"enable_thinking": False})
    answer, trace = act(Thinking(tokens=20, trials=0), engine, CONTINUES, sink=sink)
    assert roles(trace) == ["draft", "answer", "recovery", "recovery"]
    assert answer.completion.text == "it is 4"
    assert answer.completion.reasoning.startswith("step 0 step 1")
    assert "still hm" in answer.completion.reasoning
    if sink is not None:
        thought = "".join(str(chunk.delta.get("reasoning_content") or "") for chunk in sink.chunks)
        assert (sink.text, thought) == ("it is 4", answer.completion.reasoning)
        assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["stop"]


def test_a_continuation_that_breaks_before_its_first_token_is_tried_once_more():
    sink = RecordingSink()

    class BreaksOnce(Thinks):
        def reply_to(self, number: int, call: Call) -> Reply:
            breaks = call.role == "answer" and not any(one.role == "answer" for one in self.calls[:number])
            return Reply(error=Broken("gone")) if breaks else super().reply_to(number, call)

    answer, trace = act(Thinking(tokens=20, trials=0), BreaksOnce(), CONTINUES, sink=sink)
    assert roles(trace) == ["draft", "answer", "answer"]
    assert (answer.completion.text, sink.text) == ("so 4", "so 4")


def test_a_lost_trial_answer_does_not_use_up_the_recovery_of_the_answer():
    class Loses(Thinks):
        def reply_to(self, number: int, call: Call) -> Reply:
            if call.role == "trial":
                return Reply(thinking="hm", finish="stop")
            if call.role == "draft":
                return Reply(thinking=LONG, finish="stop")
            return Reply(text="it is 4")

    answer, trace = act(Thinking(every=16), Loses(off={"enable_thinking": False}), CONTROLS)
    assert answer.completion.text == "it is 4"
    assert roles(trace).count("recovery") == 1


def test_trial_answers_that_differ_end_nothing():
    answer, trace = act(Thinking(every=16, agree=2, trials=3), Thinks("4", "5", "6"), CONTROLS)
    assert (answer.completion.text, answer.why) == ("it is 4", "thought to its end")
    assert roles(trace) == ["draft", *["trial"] * 3]


def test_only_consecutive_trial_answers_agree():
    answer, trace = act(Thinking(every=16, agree=2, trials=8), Thinks("4", "5", "4", "5", "5"), CONTROLS)
    assert roles(trace).count("trial") == 5
    assert answer.completion.text == "4, then"


def test_trial_answers_are_short_greedy_lines_and_no_candidates():
    engine = Thinks("4")
    _, trace = act(Thinking(every=16, agree=2, trial_tokens=9), engine, CONTROLS)
    trial = next(done for done in trace.passes if done.call.role == "trial")
    assert not trial.call.candidate
    fields = trial.call.prompt.fields
    assert (fields["temperature"], fields["stop"], fields["max_tokens"]) == (0, ["\n"], 9)
    assert trial.call.prompt.messages[-1]["content"] == "The final answer is"


def test_a_model_that_thinks_little_is_one_pass():
    answer, trace = act(Thinking(every=16), Thinks(thinking="so"), CONTROLS)
    assert (answer.completion.text, roles(trace)) == ("it is 4", ["draft"])


def test_what_an_engine_does_not_cap_is_capped_from_outside():
    for able in (CONTINUES, CONTROLS):
        answer, trace = act(Thinking(tokens=50, trials=0), Thinks(), able)
        assert answer.why == "thinking ended at its cap, after 50 tokens"
        assert trace.passes[0].usage.completion <= 52
        assert answer.completion.text in ("so 4", "4, then")


def test_an_engine_gets_its_own_cap_first_and_is_ended_a_little_later_if_it_ignores_it():
    engine = Thinks()
    _, trace = act(Thinking(tokens=50, trials=0), engine, replace(CONTROLS, thinking_end=True))
    assert engine.calls[0].prompt.fields["thinking_tokens"] == 50
    assert "after 71 tokens" in notes(trace)[0]


def test_a_client_may_lower_the_cap_and_not_raise_it():
    for own, ended in ((20, 20), (90, 50)):
        prompt = ask_user("2+2?", thinking_tokens=own)
        answer, _ = act(Thinking(tokens=50, trials=0), Thinks(), CONTROLS, prompt=prompt)
        assert answer.why == f"thinking ended at its cap, after {ended} tokens"


@pytest.mark.parametrize(("own", "sent"), [(10, 10), (20, 20), (5000, 20), (-1, 20), (None, 20)])
def test_the_cap_that_an_engine_is_sent_is_never_above_that_of_the_tier(own, sent):
    engine = Thinks()
    act(
        Thinking(tokens=20, trials=0),
        engine,
        Capabilities(thinking_end=True),
        prompt=ask_user("?", thinking_tokens=own),
    )
    assert engine.calls[0].prompt.fields["thinking_tokens"] == sent


def test_where_nothing_can_end_thinking_the_trace_says_so():
    answer, trace = act(Thinking(tokens=50), Thinks(), Capabilities())
    assert (answer.completion.text, roles(trace)) == ("it is 4", ["draft"])
    assert "cannot end thinking from outside" in notes(trace)[0]


def test_an_answer_with_a_form_is_not_continued_from_a_beginning_of_ours():
    prompt = ask_user("2+2?", response_format={"type": "json_object"})
    answer, trace = act(Thinking(tokens=50), Thinks(), CONTINUES, prompt=prompt)
    assert roles(trace) == ["draft"]
    answer, trace = act(Thinking(tokens=50), Thinks(), CONTROLS, prompt=prompt)
    assert (roles(trace), answer.completion.text) == (["draft"], "4, then")


def test_a_control_without_effect_is_followed_by_a_cut():
    class Pretends(Thinks):
        async def end_thinking(self, completion_id: str) -> bool:
            return True

    answer, trace = act(Thinking(tokens=50, trials=0), Pretends(), CONTROLS)
    assert (roles(trace), answer.completion.text) == (["draft", "answer"], "so 4")
    assert trace.passes[0].usage.completion <= 50 + 18


def test_a_control_that_fails_under_a_form_is_replaced_by_a_pass_with_thinking_off():
    prompt = ask_user("2+2?", response_format={"type": "json_object"})
    engine = Thinks(final="{}", obeys=False)
    answer, trace = act(Thinking(tokens=50), engine, CONTROLS, prompt=prompt)
    assert (roles(trace), answer.completion.text) == (["draft", "answer"], "{}")
    assert engine.calls[1].prompt.fields["thinking"] is False


def test_a_failed_trial_ends_the_trials_and_not_the_pass():
    class Fails(Thinks):
        def reply_to(self, number, call):
            return Reply(error=Broken("on purpose")) if call.role == "trial" else super().reply_to(number, call)

    answer, trace = act(Thinking(every=16), Fails(), CONTROLS)
    assert answer.completion.text == "it is 4"
    assert any("no further trial answers" in note for note in notes(trace))


def test_the_last_pass_of_a_budget_is_kept_for_the_answer():
    policy = Thinking(tokens=90, every=16, agree=2, trials=8)
    answer, trace = act(policy, Thinks("4", "5", "6", "7"), CONTINUES, budget=Budget(passes=3))
    assert roles(trace) == ["draft", "trial", "answer"]
    assert answer.completion.text == "so 4"


@pytest.mark.parametrize("final", ["so 4", Reply(error=Broken("on purpose"))])
def test_a_budget_without_a_pass_for_the_answer_returns_what_there_is(final):
    answer, trace = act(Thinking(tokens=50, trials=0), Thinks(final=final), CONTINUES, budget=Budget(passes=1))
    assert (answer.completion.finish, answer.chosen, len(trace.passes)) == ("length", 0, 1)
    assert "no budget for its answer" in answer.why


def test_settings_that_do_nothing_are_refused():
    with pytest.raises(ValueError, match="set `tokens`"):
        Thinking(trials=0)
    with pytest.raises(ValueError, match="raise `trials`"):
        Thinking(trials=2, agree=3)


@given(
    st.sampled_from([Capabilities(), CONTINUES, CONTROLS, replace(CONTROLS, thinking_end=True)]),
    st.lists(st.sampled_from(["4", "5", "", "x y z"]), min_size=1, max_size=4),
    st.builds(
        Budget,
        passes=st.none() | st.integers(1, 5),
        completion_tokens=st.none() | st.integers(1, 150),
        seconds=st.none() | st.sampled_from([0.01, 0.3, 1.0]),
    ),
    st.booleans(),
    st.sampled_from([Thinking(tokens=40), Thinking(tokens=30, trials=0), Thinking(every=16, agree=2, trials=3)]),
)
def test_budgets_hold_and_the_trace_is_whole(able, trials, budget, obeys, policy):
    engine = Thinks(*trials, obeys=obeys)
    try:
        _, trace = act(policy, engine, able, budget=budget)
    except BudgetError:
        return
    assert is_consistent(trace, engine)
    assert len(trace.passes) <= policy.most(lambda _: Budget()).passes
    assert budget.passes is None or len(trace.passes) <= budget.passes
    assert budget.completion_tokens is None or trace.usage.completion <= budget.completion_tokens + 1


@pytest.mark.parametrize("able", [CONTINUES, CONTROLS])
@pytest.mark.parametrize("steps", range(0, 40, 3))
def test_cancelling_it_at_any_moment_stops_every_pass_and_task(able, steps):
    async def main():
        engine = Thinks("4", "5")
        deployment = Deployment(name="fake", engine=engine, capabilities=able)
        one = Tier(name="tier", deployment=deployment, policy=Thinking(tokens=150, every=16, agree=2))
        trace = new_trace()
        task = asyncio.create_task(Action(one, trace).solve(ask_user("2+2?")))
        await asyncio.sleep(0.17)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert engine.running == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert is_consistent(trace, engine)

    frozen(main())
