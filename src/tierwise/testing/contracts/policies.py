"""The contract of policies, for any behaviour of the engine: they keep their budget, pass on the client's fields, and
leave complete traces.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st

from tierwise.ledger.records import Check, Trace
from tierwise.policies import Majority, Policy, Single
from tierwise.run import Action, Tier
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Usage
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, BudgetError, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.spec.prompt import Prompt
from tierwise.testing.contracts.contract import Contract, with_data
from tierwise.testing.fakes import FlakyEngine, Reply, ScriptedEngine, ask_user, frozen, new_trace, tier
from tierwise.verifiers import Number, Regex, Verifier

KINDS: tuple[type[EngineError], ...] = (Broken, Garbled, Overloaded, Refused, TimedOut, TooLong)
STRONG_PASSES = 3
"""Maximum passes of the last tier that a policy asks; the others spend one pass."""


class ByDraw(ScriptedEngine):
    """Answers draw i with reply i of the script, in any order, and records the maximum number of concurrent calls."""

    def __init__(self, replies: Sequence[str | Reply], **settings: Any) -> None:
        super().__init__(*replies, **settings)
        self.widest = 0

    def reply_to(self, number: int, call: Call) -> Reply:  # noqa: ARG002 - by draw, not by number
        self.widest = max(self.widest, self.running + 1)
        return super().reply_to(call.draw, call)


@dataclass(frozen=True, kw_only=True)
class ActionOutcome:
    """How an action ended."""

    answer: Answer | None
    error: BudgetError | EngineError | None
    trace: Trace
    seconds: float


def run_action(
    policy: Policy,
    engine: ScriptedEngine,
    *,
    slots: int = 64,
    budget: Budget | None = None,
    verifier: Verifier | None = None,
    prompt: Prompt | None = None,
    cancel_after: float | None = None,
    steps: int = 0,
) -> ActionOutcome:
    """Run one action until it ends. A cancelled action must stop at once.

    The reward models and the other tiers that the policy asks run on the same deployment: the last tier with
    `majority`, the others with `single`.

    Args:
        policy: the policy of the tier.
        engine: the engine of every tier.
        slots: the deployment's maximum number of concurrent passes.
        budget: the budget of the tier.
        verifier: the request's verifier.
        prompt: the prompt; a short question if None.
        cancel_after: seconds until the action is cancelled; None to let it finish.
        steps: event loop iterations between those seconds and the cancellation.
    """

    async def main() -> ActionOutcome:
        trace = new_trace()
        asked = tier(policy, engine, slots=slots, budget=budget)
        asked = replace(asked, graders=dict.fromkeys(asked.graders, asked.deployment))
        *others, last = policy.tiers() or ("",)
        policies: dict[str, Policy] = {**dict.fromkeys(others, Single()), last: Majority(n=STRONG_PASSES)}
        tiers = {name: Tier(name=name, deployment=asked.deployment, policy=one) for name, one in policies.items()}
        action = Action(asked, trace, tiers=tiers, verifier=verifier)
        task = asyncio.create_task(action.solve(prompt or ask_user("2+2?")))
        answer, error = None, None
        if cancel_after is not None:
            await asyncio.sleep(cancel_after)
            for _ in range(steps):
                await asyncio.sleep(0)
        began, started = now(), len(engine.calls)
        if cancel_after is not None:
            task.cancel()
        try:
            answer = await task
        except (BudgetError, EngineError) as caught:
            error = caught
        except asyncio.CancelledError:
            assert now() == began, "the action did not stop at once"
            assert len(engine.calls) == started, "a pass was started after the cancellation"
        assert engine.running == 0, "a pass outlived its action"
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task outlived its action"
        return ActionOutcome(answer=answer, error=error, trace=trace, seconds=now() - trace.began)

    return frozen(main())


def max_passes(policy: Policy) -> int | None:
    """The maximum passes that a policy spends on one prompt with the tiers of `run_action`."""
    others = policy.tiers()
    return policy.most(lambda name: Budget(passes=STRONG_PASSES if name == others[-1] else 1)).passes


def is_consistent(trace: Trace, engine: ScriptedEngine) -> bool:
    """Whether every started pass is recorded once, and the recorded usage is what the engine produced."""
    counted = trace.usage
    return (
        [done.number for done in trace.passes] == list(range(len(engine.calls))) == list(range(trace.started))
        and sum(done.outcome == "failed" for done in trace.passes) == sum(bool(done.error) for done in trace.passes)
        and Usage(prompt=counted.prompt, completion=counted.completion) == engine.produced
    )


def union_seconds(trace: Trace) -> float:
    """Seconds in which at least one pass ran: the time that a deployment was busy."""
    total, reached = 0.0, 0.0
    for done in sorted(trace.passes, key=lambda one: one.started):
        end = done.started + done.seconds
        total += max(0.0, end - max(reached, done.started))
        reached = max(reached, end)
    return total


verifiers: st.SearchStrategy[Verifier | None] = st.sampled_from(
    [None, None, Number(equals=4), Regex(pattern="[abc]"), Regex(pattern="never")]
)
replies = st.builds(
    Reply,
    text=st.lists(st.sampled_from("abc4"), max_size=6).map(" ".join),
    step=st.sampled_from([0.0, 0.01, 0.05, 1.0]),
    logprob=st.sampled_from([None, -1.0, -2.0]),
    finish=st.sampled_from(["stop", "length"]),
    error=st.sampled_from([None, None, *KINDS]).map(lambda kind: kind and kind("on purpose")),
)
scripts = st.lists(replies, min_size=1, max_size=6)
budgets = st.builds(
    Budget,
    passes=st.none() | st.integers(1, 6),
    completion_tokens=st.none() | st.integers(1, 20),
    seconds=st.none() | st.sampled_from([0.005, 0.01, 0.03, 0.2, 1.5]),
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = (
    "temperature top_p top_k stop logprobs top_logprobs max_tokens max_completion_tokens tools tool_choice "
    "response_format parallel_tool_calls reasoning_effort logit_bias user metadata chat_template_kwargs"
)
prompts = st.builds(
    Prompt,
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "tool"]), "content": json_values}, optional={"name": st.text()}
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    fields=st.dictionaries(st.sampled_from(KNOWN.split()) | st.text(min_size=1, max_size=8), json_values, max_size=6),
    seed=st.integers(0, 2**31 - 1),
)


class PolicyContract(Contract):
    """Subclass it and set `policies` to some of yours, with different settings."""

    policies: ClassVar[Sequence[Policy]]
    actions: ClassVar[int] = 500
    """Number of actions per policy in the test with random failures."""

    @with_data
    def test_it_keeps_its_budget_and_its_trace_is_consistent_under_every_script(self, data: st.DataObject) -> None:
        policy = data.draw(st.sampled_from(self.policies))
        budget, slots = data.draw(budgets), data.draw(st.integers(1, 5))
        script = data.draw(scripts)
        engine = ByDraw(script)
        ended = run_action(policy, engine, slots=slots, budget=budget, verifier=data.draw(verifiers))
        passes = ended.trace.passes
        charged = [done for done in passes if done.retry_of is None]
        assert is_consistent(ended.trace, engine)
        most = min((bound for bound in (max_passes(policy), budget.passes) if bound is not None), default=None)
        assert most is None or len(charged) <= most
        assert engine.widest <= slots
        if budget.completion_tokens is not None:
            assert ended.trace.usage.completion <= budget.completion_tokens + engine.widest - 1
        if budget.seconds is not None:
            assert ended.seconds <= budget.seconds + 1e-9
        assert sum(done.busy_seconds for done in passes) == pytest.approx(union_seconds(ended.trace))
        by_number = {done.number: done for done in passes}
        assert all(by_number[done.retry_of].outcome == "failed" for done in passes if done.retry_of is not None)
        assert all(event.number in by_number for event in ended.trace.events if isinstance(event, Check))
        if ended.answer is not None and ended.answer.chosen is not None:
            assert ended.answer.completion == by_number[ended.answer.chosen].completion
            assert by_number[ended.answer.chosen].call.candidate
        if isinstance(ended.error, BudgetError):
            assert not any(done.outcome == "finished" for done in passes)
            assert budget != Budget()
        if isinstance(ended.error, EngineError):
            assert ended.error in [reply.error for reply in script]

    def test_its_trace_is_consistent_after_failures(self) -> None:
        """A third of the passes fail, at any point; half of the actions are limited by a budget or cancelled."""
        for rank, policy in enumerate(self.policies):
            chance = random.Random(rank)  # noqa: S311 - faults, not secrets
            endings: Counter[str] = Counter()
            for action in range(self.actions):
                engine = FlakyEngine("the answer is 4 I am quite sure", seed=action)
                budget = Budget(
                    passes=chance.choice([None, None, 2]),
                    completion_tokens=chance.choice([None, None, 5, 15]),
                    seconds=chance.choice([None, None, 0.02, 0.1]),
                )
                ended = run_action(
                    policy,
                    engine,
                    slots=chance.choice([1, 2, 64]),
                    budget=budget,
                    verifier=chance.choice([None, Number(equals=4), Number(equals=5)]),
                    cancel_after=chance.choice([None, None, 0.0, chance.uniform(0, 0.3)]),
                )
                assert is_consistent(ended.trace, engine)
                kind = BudgetError if isinstance(ended.error, BudgetError) else EngineError
                endings[kind.__name__ if ended.error else "answered" if ended.answer else "cancelled"] += 1
            assert {"answered", "BudgetError", "EngineError", "cancelled"} == set(endings), "some outcome did not occur"

    @with_data
    def test_cancelling_it_at_any_moment_stops_every_pass_at_that_moment(self, data: st.DataObject) -> None:
        policy, engine = data.draw(st.sampled_from(self.policies)), ByDraw(data.draw(scripts))
        slots, moment = data.draw(st.integers(1, 5)), data.draw(st.floats(0, 2))
        ended = run_action(
            policy, engine, slots=slots, verifier=data.draw(verifiers), cancel_after=moment
        )  # asserts that it stops
        assert is_consistent(ended.trace, engine)

    def test_cancelling_it_after_any_number_of_loop_steps_stops_it_too(self) -> None:
        for policy in self.policies:
            for steps in range(60):
                engine = ScriptedEngine(
                    Reply(text="a b", step=0.0), Reply(text="c", step=0.0, error=Broken("on purpose"))
                )
                ended = run_action(policy, engine, slots=2, cancel_after=0, steps=steps)
                assert is_consistent(ended.trace, engine)

    @with_data
    def test_every_field_of_the_client_reaches_the_engine_unless_it_declares_it_in_sets(
        self, data: st.DataObject
    ) -> None:
        policy, prompt = data.draw(st.sampled_from(self.policies)), data.draw(prompts)
        engine = ScriptedEngine("a", "b", "4")
        run_action(policy, engine, prompt=prompt, verifier=data.draw(verifiers))
        assert engine.calls
        for call in engine.calls:
            untouched = prompt.fields.keys() - policy.sets
            assert {name: call.prompt.fields[name] for name in untouched} == {
                name: prompt.fields[name] for name in untouched
            }
            assert call.prompt.fields.keys() - prompt.fields.keys() <= policy.sets
            assert call.prompt.messages[: len(prompt.messages)] == prompt.messages
            assert call.prompt.messages == prompt.messages or "messages" in policy.sets
            assert call.seed == prompt.seed or "seed" in policy.sets or policy.tiers()

    def test_images_and_tools_are_passed_on_as_they_are(self) -> None:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
        messages: Any = ({"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]},)
        tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        prompt = Prompt(messages=messages, fields={"tools": tools, "x_unknown": {"deep": [1, None]}})
        for policy in self.policies:
            engine = ScriptedEngine("a", "b", "c")
            run_action(policy, engine, prompt=prompt)
            assert all(call.prompt.messages[0] is messages[0] for call in engine.calls)
            assert all(call.prompt.fields["tools"] is tools for call in engine.calls if call.candidate)

    def test_every_draw_of_a_prompt_has_its_own_seed_which_is_the_same_in_a_repetition(self) -> None:
        prompt = Prompt(messages=({"role": "user", "content": "2+2?"},), seed=11)
        for policy in self.policies:
            seeds = []
            for _ in range(2):
                engine = ScriptedEngine("a", "b", "c", "d", "e")
                run_action(policy, engine, prompt=prompt)
                seeds.append([call.seed for call in engine.calls])
            assert seeds[0] == seeds[1]
            assert len(set(seeds[0])) == len(seeds[0])
            assert seeds[0][0] == 11

    def test_it_holds_settings_and_no_state(self) -> None:
        for policy in self.policies:
            first = run_action(policy, ScriptedEngine("a", "b", "a"))
            assert run_action(policy, ScriptedEngine("a", "b", "a")).answer == first.answer
            with pytest.raises(AttributeError):
                policy.n = 3  # type: ignore[attr-defined]

    @pytest.mark.parametrize("kind", KINDS)
    def test_errors_of_the_engine_keep_their_type(self, kind: type[EngineError]) -> None:
        for policy in self.policies:
            assert type(run_action(policy, ScriptedEngine(Reply(error=kind("on purpose")))).error) is kind
