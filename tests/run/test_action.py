"""The heart: budgets, blame, timing and the books, once for every policy."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.engine import Deployment
from tierwise.ledger.records import Check, Decision
from tierwise.policies import BestOfN, Majority, Single
from tierwise.run import Action, BudgetTracker, Tier
from tierwise.spec import limits
from tierwise.spec.ask import Answer, OutOfBudget, Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Chunk, Completion, Usage
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, BudgetError, EngineError, Garbled, Overloaded, PolicyError, Refused, SpecError
from tierwise.spec.prompt import Prompt
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
from tierwise.verifiers import BaseVerifier, Number

FOUR = Number(equals=4)
DEAD = Reply(text="half an", error=Broken("it died"))


class Writes:
    """A policy that does what a test tells it to."""

    sets = frozenset()

    def most(self, at):
        return Budget(passes=9)

    def tiers(self):
        return ()

    def __init__(self, solve) -> None:
        self.solve = solve


def outcomes(trace):
    return [done.outcome for done in trace.passes]


def completions(trace):
    return [done.completion.text for done in trace.passes]


def tiers(*engines, budgets=(), policy=None, **settings):
    names = ("fast", "standard", "max")
    budgets = [*budgets, *[Budget()] * 3]
    made = [
        tier(policy or Single(), engine, budget=budget, name=name)
        for name, engine, budget in zip(names, engines, budgets, strict=False)
    ]
    return [
        Tier(name=one.name, deployment=one.deployment, policy=one.policy, budget=one.budget, **settings) for one in made
    ]  # fmt: skip


# ── a second attempt ─────────────────────────────────────────────────────


def test_an_engine_that_died_unseen_is_asked_once_more():
    answer, trace = solve(Single(), DEAD, "four")
    assert (answer.completion.text, answer.chosen) == ("four", 1)
    assert [(done.outcome, done.retry_of, done.error) for done in trace.passes] == [
        ("failed", None, "it died"),
        ("finished", 0, ""),
    ]


def test_the_second_attempt_asks_for_the_same_draw():
    engine = ScriptedEngine(DEAD, "four")
    solve(Single(), engine=engine)
    assert engine.calls[0] == engine.calls[1]


def test_there_is_no_third_attempt():
    with pytest.raises(Broken, match="it died"):
        solve(Single(), DEAD, DEAD, "four")


@pytest.mark.parametrize("kind", [Garbled, Overloaded, Refused])
def test_only_a_death_is_worth_a_second_attempt(kind):
    engine = ScriptedEngine(Reply(error=kind("on purpose")), "four")
    with pytest.raises(kind):
        solve(Single(), engine=engine)
    assert len(engine.calls) == 1


def test_what_the_user_saw_is_not_said_again():
    shown = RecordingSink()
    engine = ScriptedEngine(DEAD, "four")
    with pytest.raises(Broken) as caught:
        solve(Single(), engine=engine, sink=shown)
    assert (shown.text, len(engine.calls), caught.value.was_shown) == ("half an", 1, True)


def test_a_user_who_has_seen_nothing_yet_can_have_a_second_attempt():
    shown = RecordingSink()
    answer, _ = solve(Single(), Reply(error=Broken("it died at once")), "four", sink=shown)
    assert shown.text == answer.completion.text == "four"


def test_each_pass_of_a_panel_repeats_itself_and_no_other():
    _, trace = solve(BestOfN(n=3), "a b c d", DEAD, "e f g h", "i")
    assert [(done.number, done.retry_of, done.call.draw) for done in trace.passes if done.retry_of is not None] == [
        (3, 1, 1)
    ]


def test_a_second_attempt_is_not_charged_as_a_pass_but_its_tokens_are():
    answer, trace = solve(Single(), DEAD, "a b c d e", budget=Budget(passes=1, completion_tokens=5))
    assert (answer.completion.text, answer.completion.finish) == ("a b c", "length")
    assert trace.usage == Usage(prompt=6, completion=5)


def test_nothing_is_repeated_once_the_tokens_are_spent_or_the_time_is_up():
    class Thinking(ScriptedEngine):
        async def _say(self, call, reply):
            async for chunk in super()._say(call, reply):
                yield chunk
            asyncio.get_running_loop().skip(5)
            raise Broken("it died")

    for engine, budget in (
        (ScriptedEngine(Reply(text="a b", error=Broken("it died"))), Budget(completion_tokens=2)),
        (Thinking("a b"), Budget(seconds=4)),
    ):
        with pytest.raises(Broken):
            solve(Single(), engine=engine, budget=budget)
        assert len(engine.calls) == 1


# ── budgets ──────────────────────────────────────────────────────────────


def test_nothing_at_all_within_the_budget_names_the_bounds():
    budget = Budget(passes=3, completion_tokens=16_000_000, seconds=0.5)
    with pytest.raises(
        BudgetError, match=r"the budget of 3 passes, 16000000 completion tokens, 0\.5 seconds; allow more"
    ):
        solve(Single(), Reply(text="4", step=9), budget=budget)


def test_a_policy_that_gives_up_without_any_budget_says_something_that_can_be_read():
    async def give_up(prompt, ask):
        raise OutOfBudget

    with pytest.raises(BudgetError, match="the policy itself"):
        solve(Writes(give_up))


def test_all_choices_of_one_action_share_the_budget():
    async def main():
        action = Action(tier(Single(), ScriptedEngine("4"), budget=Budget(passes=2)), trace := new_trace())
        ends = await asyncio.gather(*(action.solve(ask_user("2+2?")) for _ in range(3)), return_exceptions=True)
        return [type(end) for end in ends], len(trace.passes)

    assert frozen(main()) == ([Answer, Answer, BudgetError], 2)


def test_the_callers_budget_can_only_lower_the_tiers_own():
    async def main(mine, theirs):
        engine = ScriptedEngine("a b c d e f g h")
        action = Action(tier(Single(), engine, budget=mine), new_trace(), budget=theirs)
        return len((await action.solve(ask_user("2+2?"))).completion.text.split())

    assert frozen(main(Budget(completion_tokens=3), Budget(completion_tokens=5))) == 3
    assert frozen(main(Budget(completion_tokens=5), Budget(completion_tokens=3))) == 3
    assert frozen(main(Budget(), Budget(completion_tokens=3))) == 3


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, {"max_tokens": 7}),
        ({"max_tokens": 3}, {"max_tokens": 3}),
        ({"max_tokens": 30}, {"max_tokens": 7}),
        ({"max_tokens": None}, {"max_tokens": 7}),
        ({"max_completion_tokens": 30}, {"max_completion_tokens": 7}),
        ({"max_completion_tokens": 3}, {"max_completion_tokens": 3}),
        ({"max_completion_tokens": 30, "max_tokens": 5}, {"max_completion_tokens": 5, "max_tokens": 5}),
    ],
)
def test_the_engine_is_told_what_is_left_under_the_name_that_the_client_uses(fields, sent):
    engine = ScriptedEngine("a")
    prompt = Prompt(messages=({"role": "user", "content": "hi"},), fields=fields)
    _, trace = solve(Single(), engine=engine, prompt=prompt, budget=Budget(completion_tokens=7))
    assert dict(engine.calls[0].prompt.fields) == sent
    assert trace.passes[0].call.prompt.fields == fields, (
        "the ledger keeps what was asked, for a replay without a budget"
    )


def test_an_engine_that_ignores_its_cap_is_stopped_one_chunk_behind_it_and_named():
    class Deaf(ScriptedEngine):
        async def _say(self, call, reply):
            async for chunk in super()._say(Call(prompt=call.prompt.without("max_tokens")), reply):
                yield chunk

    answer, trace = solve(Single(), engine=Deaf("a " * 1000), budget=Budget(completion_tokens=5))
    assert (trace.usage.completion, outcomes(trace), answer.completion.finish) == (6, ["cut"], "length")
    assert [one.reason for one in trace.events if isinstance(one, Decision)] == [
        "fake went on after its limit of 5 tokens, and was cut",
        "the budget of 5 completion tokens is used up: the answer is the best so far",
    ]


def test_the_count_that_an_engine_sends_after_its_last_word_is_waited_for():
    class Late(ScriptedEngine):
        async def _say(self, call, reply):
            yield Chunk(delta={"content": "a"})
            yield Chunk(
                delta={"content": "b c"}, logprobs={"content": [{"token": "b"}, {"token": " c"}]}, finish="stop"
            )
            yield Chunk(usage=Usage(prompt=5, completion=3))

    _, trace = solve(Single(), engine=Late(), budget=Budget(completion_tokens=2))
    assert trace.usage == Usage(prompt=5, completion=3)


def test_a_pass_that_was_complete_when_the_time_was_up_has_finished():
    class Lingering(ScriptedEngine):
        async def _say(self, call, reply):
            yield Chunk(delta={"content": "four"}, finish="stop", usage=Usage(completion=1))
            await asyncio.sleep(100)

    answer, trace = solve(Single(), engine=Lingering(), budget=Budget(seconds=1))
    assert (outcomes(trace), answer.completion.finish) == (["finished"], "stop")


@given(
    st.builds(Budget, passes=st.none() | st.integers(1, 4), completion_tokens=st.none() | st.integers(1, 9)),
    st.lists(st.integers(0, 5), max_size=8),
)
def test_a_tracker_admits_passes_while_there_is_something_of_everything(budget, tokens):
    tracker, spent, admitted = BudgetTracker(budget, began=0.0), 0, 0
    for count in tokens:
        is_allowed = admitted < (budget.passes or 99) and spent < (budget.completion_tokens or 99)
        try:
            tracker.admit(now=0.0)
        except OutOfBudget:
            assert not is_allowed
            continue
        assert is_allowed
        admitted, spent = admitted + 1, spent + count
        tracker.pay(count)
    assert tracker.is_empty == (budget.completion_tokens is not None and spent >= budget.completion_tokens)


def test_a_tracker_closes_at_its_deadline_and_not_before():
    tracker = BudgetTracker(Budget(seconds=2), began=10.0)
    tracker.admit(11.999)
    for late in (12.0, 13.0):
        with pytest.raises(OutOfBudget):
            tracker.admit(late)


def test_the_tighter_of_two_budgets_holds_bound_by_bound():
    one, other = Budget(passes=3, seconds=5), Budget(passes=4, completion_tokens=9, seconds=1.5)
    assert one.within(other) == other.within(one) == Budget(passes=3, completion_tokens=9, seconds=1.5)
    assert Budget().within(Budget()) == Budget()


@pytest.mark.parametrize(
    "bounds", [{"passes": 0}, {"completion_tokens": 0}, {"seconds": 0}, {"seconds": -1}, {"tokens": 3}]
)
def test_a_budget_that_allows_nothing_is_no_budget(bounds):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bounds, Budget)


# ── blame ────────────────────────────────────────────────────────────────


def test_a_bug_in_a_policy_gets_the_policys_name():
    async def divide(prompt, ask):
        return 1 / 0

    with pytest.raises(PolicyError, match="policy Writes of tier 'tier' broke: ZeroDivisionError") as caught:
        solve(Writes(divide))
    assert (caught.value.policy, type(caught.value.__cause__)) == ("Writes", ZeroDivisionError)


def test_a_bug_in_a_verifier_is_ours_too_and_not_the_engines():
    class Buggy(BaseVerifier):
        kind = "buggy"

        async def verify(self, completion):
            raise KeyError("ours")

    for climb in (tiers(ScriptedEngine("4"), policy=BestOfN(n=2)), tiers(ScriptedEngine("4"), ScriptedEngine("4"))):
        with pytest.raises(PolicyError, match="KeyError"):
            solve_cascade(climb, ask_user("2+2?"), verifier=Buggy())


def test_a_bug_in_an_engine_leaves_a_failed_pass_with_the_reason_behind():
    class Buggy(ScriptedEngine):
        async def _say(self, call, reply):
            yield Chunk(delta={"content": "a"}, usage=Usage(completion=1))
            raise TimeoutError

    async def main():
        trace = new_trace()
        with pytest.raises(PolicyError, match="TimeoutError"):
            await Action(tier(Single(), Buggy(), budget=Budget(seconds=9)), trace).solve(ask_user("2+2?"))
        return trace

    trace = frozen(main())
    assert [(done.outcome, done.error, done.usage.completion) for done in trace.passes] == [
        ("failed", "TimeoutError()", 1)
    ]


def test_an_engine_that_ends_without_saying_why_is_garbled():
    class Mute(ScriptedEngine):
        async def _say(self, call, reply):
            yield Chunk(delta={"content": "a"})

    with pytest.raises(Garbled, match="deployment 'fake' ended its answer without a finish reason"):
        solve(Single(), engine=Mute())


def test_an_action_runs_the_code_of_so_many_candidates_and_no_more(monkeypatch):
    class Counts(Number, frozen=True):
        runs_code = True
        seen: ClassVar[list[str]] = []

        async def verify(self, completion):
            self.seen.append(completion.text)
            return Verdict(ok=False, score=0.0)

    monkeypatch.setattr(limits, "CODE_RUNS", 3)
    answer = solve(BestOfN(n=5), "4", slots=1, verifier=Counts(equals=4))[0]
    assert len(Counts.seen) == 3
    assert not answer.verdict.ok


def test_checks_at_the_same_time_do_not_run_more_code_than_an_action_may(monkeypatch):
    class Slow(Number, frozen=True):
        runs_code = True
        seen: ClassVar[list[str]] = []

        async def verify(self, completion):
            self.seen.append(completion.text)
            await asyncio.sleep(1)
            return Verdict(ok=False, score=0.0)

    monkeypatch.setattr(limits, "CODE_RUNS", 3)

    async def main():
        action = Action(tier(BestOfN(n=4), ScriptedEngine("4")), trace := new_trace(), verifier=Slow(equals=4))
        await asyncio.gather(*(action.solve(ask_user("2+2?")) for _ in range(4)))
        return len(trace.passes)

    assert frozen(main()) == 16
    assert len(Slow.seen) == 3


def test_the_code_of_an_actions_candidates_runs_for_so_long_and_no_longer(monkeypatch):
    class Endless(Number, frozen=True):
        runs_code = True

        async def verify(self, completion):
            await asyncio.sleep(1e9)

    monkeypatch.setattr(limits, "CODE_SECONDS_IN_ALL", 20)
    answer, trace = solve(BestOfN(n=3), "4", verifier=Endless(equals=4))
    assert not answer.verdict.ok
    assert "for 20 s in all, at most" in answer.verdict.why
    assert trace.passes


def test_a_refusal_of_a_verifier_passes_through_as_what_it_is():
    class Unable(BaseVerifier):
        kind = "unable"

        async def verify(self, completion):
            raise SpecError("no sandbox here")

    with pytest.raises(SpecError, match="no sandbox here"):
        solve(BestOfN(n=3), "4", verifier=Unable())
    with pytest.raises(SpecError, match="no sandbox here"):
        solve_cascade(tiers(ScriptedEngine("3"), ScriptedEngine("4")), ask_user("2+2?"), verifier=Unable())


# ── showing ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", [Single(), Majority(n=3), BestOfN(n=2)])
def test_the_answer_is_shown_once_however_it_came_about(policy):
    shown = RecordingSink()
    answer, _ = solve(policy, "it is four", sink=shown)
    assert shown.text == answer.completion.text == "it is four"
    assert [chunk.finish for chunk in shown.chunks if chunk.finish] == ["stop"]


def test_a_user_who_takes_his_time_at_the_deadline_is_not_told_everything_again():
    shown = []

    async def slow(chunks):
        shown.extend(chunks)
        await asyncio.sleep(100)
        return True

    solve(Single(), "a b c", sink=slow, budget=Budget(seconds=1))
    assert "".join(str(chunk.delta.get("content", "")) for chunk in shown) == "a"


def test_nothing_but_an_unknown_field_is_still_an_answer():
    shown = RecordingSink()
    answer, _ = solve(Single(), Reply(delta={"refusal": "I will not"}, step=0.5), budget=Budget(seconds=1), sink=shown)
    assert answer.completion.extra == {"refusal": "I will not"}


def test_a_tiers_sampling_fills_in_where_the_client_is_silent():
    engine = ScriptedEngine("4")
    climb = tiers(engine, sampling={"temperature": 0.7, "top_p": 0.9, "max_tokens": 50})
    prompt = Prompt(
        messages=({"role": "user", "content": "hi"},), fields={"temperature": 0, "max_completion_tokens": 9}
    )
    solve_cascade(climb, prompt)
    assert dict(engine.calls[0].prompt.fields) == {"temperature": 0, "max_completion_tokens": 9, "top_p": 0.9}


# ── the books ────────────────────────────────────────────────────────────


def test_times_are_read_from_one_clock():
    async def main():
        await asyncio.sleep(5)
        trace = new_trace()
        await asyncio.sleep(1)
        await Action(tier(Single(), ScriptedEngine("a b c", step=0.5)), trace).solve(ask_user("2+2?"))
        return trace.passes[0]

    done = frozen(main())
    assert (done.started, done.first_token, done.seconds, done.busy_seconds) == (1.0, 0.5, 1.5, 1.5)


def test_side_by_side_passes_share_the_deployment():
    _, trace = solve(Majority(n=4), Reply(text="a b", step=1.0))
    assert [done.busy_seconds for done in trace.passes] == [0.5] * 4


def test_a_verdict_is_on_the_trace_with_the_time_that_it_took():
    class Slow(BaseVerifier):
        kind, decisive = "slow", True

        async def verify(self, completion):
            await asyncio.sleep(0.5)
            return Verdict(ok=True, score=1.0)

    _, trace = solve(BestOfN(n=2), "4", slots=1, verifier=Slow())
    assert [event for event in trace.events if isinstance(event, Check)] == [
        Check(number=0, kind="slow", verdict=Verdict(ok=True, score=1.0), seconds=pytest.approx(0.5))
    ]


def test_what_an_engine_did_not_count_is_counted_from_its_words_and_said_to_be_so():
    class Silent(ScriptedEngine):
        async def _say(self, call, reply):
            for word in ("a", "b", "c"):
                yield Chunk(delta={"content": word})
            yield Chunk(finish="stop")

    _, trace = solve(Single(), engine=Silent())
    assert trace.usage == Usage(completion=3, exact=False)


def test_a_policy_may_catch_the_end_of_its_budget():
    async def stubborn(prompt, ask):
        said = []
        try:
            while True:
                said.append((await ask(Call(prompt=prompt))).completion.text)
        except OutOfBudget:
            return Answer(completion=Completion(text=" ".join(said)))

    assert solve(Writes(stubborn), "4", budget=Budget(passes=3))[0].completion.text == "4 4 4"


def test_a_cancelled_action_leaves_its_passes_on_the_trace_and_its_deployment_free():
    async def main():
        engine, trace = ScriptedEngine("a b c d", step=1.0), new_trace()
        one = tier(Majority(n=3), engine)
        task = asyncio.create_task(Action(one, trace).solve(ask_user("2+2?")))
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return trace, one.deployment.occupancy.running, now()

    trace, running, moment = frozen(main())
    assert (outcomes(trace), running, moment) == (["aborted"] * 3, 0, 2.5)
    assert trace.usage == Usage(prompt=9, completion=6)


def test_deployments_that_two_tiers_share_are_occupied_by_both():
    async def main():
        deployment = Deployment(name="small", engine=ScriptedEngine(Reply(text="a", step=1.0)))
        both = [Tier(name=name, deployment=deployment, policy=Single()) for name in ("fast", "max")]
        traces = [new_trace(), new_trace()]
        await asyncio.gather(
            *(Action(one, trace).solve(ask_user("hi")) for one, trace in zip(both, traces, strict=True))
        )
        return [trace.passes[0].busy_seconds for trace in traces]

    assert frozen(main()) == [0.5, 0.5]


def test_the_error_of_an_engine_is_never_an_answer():
    with pytest.raises(EngineError):
        solve(Single(), Reply(error=Garbled("what?")))
