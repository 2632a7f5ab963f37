"""What every policy keeps to, whatever its engine does: its budget, the client's fields, and clean books."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.ledger.records import Check
from tierwise.policies import PolicyChoice
from tierwise.spec.budget import Budget
from tierwise.spec.call import Usage
from tierwise.spec.errors import Broken, BudgetError, EngineError, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.spec.prompt import Prompt
from tierwise.testing import FlakyEngine, Reply, ScriptedEngine
from tierwise.verifiers import Number, Regex

from .acting import ByDraw, act, most_passes, named

NAMES = PolicyChoice.__struct_fields__
KINDS = (Broken, Garbled, Overloaded, Refused, TimedOut, TooLong)

policies = st.sampled_from([named(name) for name in NAMES])
verifiers = st.sampled_from([None, None, Number(equals=4), Regex(pattern="[abc]"), Regex(pattern="never")])
errors = st.sampled_from([None, None, *KINDS]).map(lambda kind: kind and kind("on purpose"))
replies = st.builds(
    Reply,
    text=st.lists(st.sampled_from("abc4"), max_size=6).map(" ".join),
    step=st.sampled_from([0.0, 0.01, 0.05, 1.0]),
    logprob=st.sampled_from([None, -1.0, -2.0]),
    finish=st.sampled_from(["stop", "length"]),
    error=errors,
)
budgets = st.builds(
    Budget,
    passes=st.none() | st.integers(1, 6),
    completion_tokens=st.none() | st.integers(1, 20),
    seconds=st.none() | st.sampled_from([0.005, 0.01, 0.03, 0.2, 1.5]),
)


def is_clean(trace, engine) -> bool:
    """Every pass that started is there once, and what was paid is what was produced."""
    counted, made = trace.usage, engine.produced
    return (
        [done.number for done in trace.passes] == list(range(len(engine.calls))) == list(range(trace.started))
        and sum(done.outcome == "failed" for done in trace.passes) == sum(bool(done.error) for done in trace.passes)
        and Usage(prompt=counted.prompt, completion=counted.completion) == made
    )


def covered(trace) -> float:
    """Seconds in which any pass ran, which is what occupies a deployment."""
    total, reached = 0.0, 0.0
    for done in sorted(trace.passes, key=lambda one: one.started):
        end = done.started + done.seconds
        total += max(0.0, end - max(reached, done.started))
        reached = max(reached, end)
    return total


@given(policies, st.lists(replies, min_size=1, max_size=6), budgets, verifiers, st.integers(1, 5))
def test_every_policy_keeps_its_budget_and_its_books_under_every_script(policy, script, budget, verifier, slots):
    engine = ByDraw(script)
    ended = act(policy, engine, slots=slots, budget=budget, verifier=verifier)
    passes = ended.trace.passes
    charged = [done for done in passes if done.retry_of is None]
    assert is_clean(ended.trace, engine)
    assert len(charged) <= min(most_passes(policy), budget.passes or most_passes(policy))
    assert engine.widest <= slots
    if budget.completion_tokens is not None:
        assert ended.trace.usage.completion <= budget.completion_tokens + engine.widest - 1
    if budget.seconds is not None:
        assert ended.seconds <= budget.seconds + 1e-9
    assert sum(done.busy_seconds for done in passes) == pytest.approx(covered(ended.trace))
    by_number = {done.number: done for done in passes}
    assert all(by_number[done.retry_of].outcome == "failed" for done in passes if done.retry_of is not None)
    assert all(event.number in by_number for event in ended.trace.events if isinstance(event, Check))
    if ended.answer is not None and ended.answer.chosen is not None:
        assert ended.answer.completion == by_number[ended.answer.chosen].completion
    if isinstance(ended.error, BudgetError):
        assert not any(done.outcome == "finished" for done in passes)
        assert budget != Budget()
    if isinstance(ended.error, EngineError):
        assert ended.error in [reply.error for reply in script]


@pytest.mark.parametrize("name", NAMES)
def test_every_policy_leaves_clean_books_behind_two_thousand_bad_days(name):
    """A third of the passes fail, at any point; half of the actions are cut short by their budget or their user."""
    policy = named(name)
    chance = random.Random(name)
    endings = Counter()
    for day in range(2000 // len(NAMES)):
        engine = FlakyEngine("the answer is 4 I am quite sure", seed=day)
        budget = Budget(
            passes=chance.choice([None, None, 2]),
            completion_tokens=chance.choice([None, None, 5, 15]),
            seconds=chance.choice([None, None, 0.02, 0.1]),
        )
        ended = act(
            policy,
            engine,
            slots=chance.choice([1, 2, 64]),
            budget=budget,
            verifier=chance.choice([None, Number(equals=4), Number(equals=5)]),
            cancel_after=chance.choice([None, None, 0.0, chance.uniform(0, 0.3)]),
        )
        assert is_clean(ended.trace, engine)
        ending = ended.error and (BudgetError if isinstance(ended.error, BudgetError) else EngineError).__name__
        endings[ending or ("answered" if ended.answer else "cancelled")] += 1
    assert {"answered", "BudgetError", "EngineError", "cancelled"} == set(endings), "some ending was never tried"


@given(policies, st.lists(replies, min_size=1, max_size=6), verifiers, st.integers(1, 5), st.floats(0, 2))
def test_cancelling_an_action_at_any_moment_stops_every_pass_at_that_moment(policy, script, verifier, slots, moment):
    engine = ByDraw(script)
    ended = act(policy, engine, slots=slots, verifier=verifier, cancel_after=moment)  # which asserts it
    assert is_clean(ended.trace, engine)


@pytest.mark.parametrize("name", NAMES)
def test_cancelling_after_any_number_of_loop_steps_stops_it_too(name):
    policy = named(name)
    for steps in range(60):
        engine = ScriptedEngine(Reply(text="a b", step=0.0), Reply(text="c", step=0.0, error=Broken("on purpose")))
        ended = act(policy, engine, slots=2, cancel_after=0, steps=steps)
        assert is_clean(ended.trace, engine)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KNOWN = (
    "temperature top_p top_k stop logprobs top_logprobs max_tokens max_completion_tokens tools tool_choice "
    "response_format parallel_tool_calls reasoning_effort logit_bias user metadata chat_template_kwargs"
)
known = st.sampled_from(KNOWN.split())
prompts = st.builds(
    Prompt,
    messages=st.lists(
        st.fixed_dictionaries(
            {"role": st.sampled_from(["system", "user", "tool"]), "content": json_values}, optional={"name": st.text()}
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    fields=st.dictionaries(known | st.text(min_size=1, max_size=8), json_values, max_size=6),
    seed=st.integers(0, 2**31 - 1),
)


@given(policies, prompts, verifiers)
def test_every_field_of_the_client_reaches_the_engine_unless_the_policy_says_that_it_sets_it(policy, prompt, verifier):
    engine = ScriptedEngine("a", "b", "4")
    act(policy, engine, prompt=prompt, verifier=verifier)
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


@pytest.mark.parametrize("name", NAMES)
def test_images_tools_and_schemas_are_passed_on_as_they_are(name):
    policy = named(name)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    messages = ({"role": "user", "content": [{"type": "text", "text": "what is it?"}, image]},)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    engine = ScriptedEngine("a", "b", "c")
    act(policy, engine, prompt=Prompt(messages=messages, fields={"tools": tools, "x_unknown": {"deep": [1, None]}}))
    answering = [call for call in engine.calls if call.role != "critique"]
    assert all(call.prompt.messages[0] is messages[0] for call in engine.calls)
    assert all(call.prompt.fields["tools"] is tools for call in answering)


@pytest.mark.parametrize("name", NAMES)
def test_every_draw_of_one_prompt_has_a_seed_of_its_own_and_the_same_one_again(name):
    policy = named(name)
    prompt = Prompt(messages=({"role": "user", "content": "2+2?"},), seed=11)
    seeds = []
    for _ in range(2):
        engine = ScriptedEngine("a", "b", "c", "d", "e")
        act(policy, engine, prompt=prompt)
        seeds.append([call.seed for call in engine.calls])
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == len(seeds[0])
    assert seeds[0][0] == 11


@pytest.mark.parametrize("name", NAMES)
def test_a_policy_holds_settings_and_no_state(name):
    policy = named(name)
    first = act(policy, ScriptedEngine("a", "b", "a"))
    assert act(policy, ScriptedEngine("a", "b", "a")).answer == first.answer
    with pytest.raises(AttributeError):
        policy.n = 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_the_engine_raises_arrives_as_what_it_is(name, kind):
    policy = named(name)
    assert type(act(policy, ScriptedEngine(Reply(error=kind("on purpose")))).error) is kind
