"""A route climbs its tiers, cheapest first, until an answer is accepted."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tierwise.ledger.records import Decision
from tierwise.policies import Cascade, Majority, PolicyChoice, Single
from tierwise.run import Action, Tier, discard
from tierwise.spec.ask import Verdict
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken, Overloaded, PolicyError, Refused
from tierwise.testing import (
    RecordingSink,
    Reply,
    ScriptedEngine,
    ask_user,
    cascade,
    frozen,
    new_trace,
    solve_cascade,
    tier,
    tiers_of,
)
from tierwise.verifiers import BaseVerifier, Exact, Number

FOUR = Number(equals=4)
DEAD = Reply(text="half an", error=Broken("it died"))


def outcomes(trace):
    return [done.outcome for done in trace.passes]


def completions(trace):
    return [done.completion.text for done in trace.passes]


def tiers(*engines, budgets=(), **settings):
    names = ("fast", "standard", "max")
    budgets = [*budgets, *[Budget()] * 3]
    made = [
        tier(Single(), engine, budget=budget, name=name)
        for name, engine, budget in zip(names, engines, budgets, strict=False)
    ]
    return [
        Tier(name=one.name, deployment=one.deployment, policy=one.policy, budget=one.budget, **settings) for one in made
    ]  # fmt: skip


def climbing(climb, trace, **settings) -> Action:
    return Action(cascade(climb), trace, tiers=tiers_of(climb), **settings)


def decisions(trace):
    return [(one.reason, one.signal, one.level) for one in trace.events if isinstance(one, Decision)]


def test_a_cheaper_answer_is_kept_when_the_verifier_accepts_it():
    strong, shown = ScriptedEngine("4"), RecordingSink()

    async def main():
        action = climbing(tiers(ScriptedEngine("It is 4"), strong), new_trace(), verifier=FOUR)
        return (await action.solve(ask_user("2+2?"), shown)).completion.text, action.tier

    assert frozen(main()) == ("It is 4", "fast")
    assert (shown.text, strong.calls) == ("It is 4", [])


def test_a_cheaper_answer_that_is_not_accepted_is_never_shown():
    async def main():
        shown, trace = RecordingSink(), new_trace()
        action = climbing(tiers(ScriptedEngine("3"), ScriptedEngine("5")), trace, verifier=FOUR)
        answer = await action.solve(ask_user("2+2?"), shown)
        return answer.completion.text, shown.text, action.tier, [done.tier for done in trace.passes]

    assert frozen(main()) == ("5", "5", "standard", ["fast", "standard"])


def test_a_tiers_own_verifier_judges_where_the_request_brings_none():
    climb = tiers(ScriptedEngine("4"), ScriptedEngine("5"), verifier=FOUR)
    assert solve_cascade(climb, ask_user("2+2?"))[0].completion.text == "4"
    assert solve_cascade(climb, ask_user("2+2?"), verifier=Number(equals=5))[0].completion.text == "5"


def test_a_cheaper_tier_that_fails_or_runs_out_is_climbed_over():
    broken, slow = ScriptedEngine(Reply(error=Refused("no"))), ScriptedEngine(Reply(text="4", step=9))
    climb = tiers(broken, slow, ScriptedEngine("4"), budgets=[Budget(), Budget(seconds=1)])
    answer, trace = solve_cascade(climb, ask_user("2+2?"), verifier=FOUR)
    assert (answer.completion.text, outcomes(trace)) == ("4", ["failed", "cut", "finished"])


@pytest.mark.parametrize("last", [Reply(text="4", step=9), Reply(error=Overloaded("no room"))])
def test_the_best_earlier_answer_is_what_is_left_when_the_last_tier_has_none(last):
    class Close(BaseVerifier):
        """The nearer to four, the better."""

        kind = "close"

        async def verify(self, completion):
            return Verdict(ok=False, score=1 / (1 + abs(4 - int(completion.text))))

    async def main():
        shown = RecordingSink()
        climb = tiers(
            ScriptedEngine("5"), ScriptedEngine("7"), ScriptedEngine(last), budgets=[Budget()] * 2 + [Budget(seconds=1)]
        )
        action = climbing(climb, new_trace(), verifier=Close())
        return (await action.solve(ask_user("2+2?"), shown)).completion.text, shown.text, action.tier

    assert frozen(main()) == ("5", "5", "fast")


def test_of_equally_bad_earlier_answers_the_stronger_tiers_is_kept():
    climb = tiers(ScriptedEngine("5"), ScriptedEngine("7"), ScriptedEngine(Reply(error=Overloaded("no room"))))
    assert solve_cascade(climb, ask_user("2+2?"), verifier=FOUR)[0].completion.text == "7"


def test_an_earlier_answer_is_no_way_out_once_the_user_has_seen_a_part_of_the_last():
    async def main():
        climb = tiers(ScriptedEngine("3"), ScriptedEngine(DEAD))
        await climbing(climb, new_trace(), verifier=FOUR).solve(ask_user("2+2?"), RecordingSink())

    with pytest.raises(Broken):
        frozen(main())


def test_when_no_tier_can_answer_the_last_one_is_to_blame():
    climb = tiers(ScriptedEngine(Reply(error=Refused("no"))), ScriptedEngine(Reply(error=Overloaded("no room"))))
    with pytest.raises(Overloaded):
        solve_cascade(climb, ask_user("2+2?"), verifier=FOUR)


def test_every_tier_has_its_own_budget_and_all_watch_the_same_clock():
    climb = tiers(
        ScriptedEngine("a b c"), ScriptedEngine("a b c"), budgets=[Budget(completion_tokens=2, seconds=9)] * 2
    )
    answer, trace = solve_cascade(climb, ask_user("2+2?"), verifier=Exact(equals="nothing"))
    assert (answer.completion.text, trace.usage.completion) == ("a b", 4)
    climb = tiers(
        ScriptedEngine(Reply(text="a", step=0.6)),
        ScriptedEngine(Reply(text="b", step=0.6)),
        budgets=[Budget(seconds=1)] * 2,
    )
    assert solve_cascade(climb, ask_user("2+2?"), verifier=Exact(equals="b"))[0].completion.text == "a"


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [(Budget(passes=2), ["fast", "max"]), (Budget(completion_tokens=2), ["fast", "standard"])],
    ids=["one of two passes is kept for the last tier", "tokens are not"],
)
def test_a_caller_s_budget_holds_for_all_tiers_of_a_climb_together(allowed, asked):
    climb = tiers(ScriptedEngine("3"), ScriptedEngine("5"), last := ScriptedEngine("4"))

    async def main():
        action = climbing(climb, trace := new_trace(), budget=allowed, verifier=FOUR)
        await action.solve(ask_user("2+2?"))
        return trace

    assert [done.tier for done in frozen(main()).passes] == asked
    assert len(last.calls) == asked.count("max")


# ── what is decided is written down ──────────────────────────────────────


def test_every_step_of_a_climb_is_on_the_trace():
    _, trace = solve_cascade(tiers(ScriptedEngine("3"), ScriptedEngine("4")), ask_user("2+2?"), verifier=FOUR)
    assert decisions(trace) == [
        ("escalates until number accepts", "", None),
        ("fast not accepted: 3 instead of 4", "verifier", 0.0),
    ]


def test_a_tier_that_fails_is_named_with_its_reason():
    climb = tiers(ScriptedEngine(Reply(error=Refused("no tools here"))), ScriptedEngine("4"))
    _, trace = solve_cascade(climb, ask_user("2+2?"), verifier=FOUR)
    assert ("fast failed: no tools here", "failed", None) in decisions(trace)


@pytest.mark.parametrize(
    ("engines", "verifier", "reason"),
    [
        ("44", FOUR, "auto: fast by verifier"),
        ("44", None, "auto: fast by agreement"),
        ("34", FOUR, "auto: standard after fast: verifier"),
        ("334", FOUR, "auto: max after fast: verifier, standard: verifier"),
        ("4", FOUR, "auto: its only tier"),
        ("4", None, "auto: its only tier"),
    ],
)
def test_the_reason_of_an_action_is_the_signal_that_kept_its_answer_or_those_that_refused_others(
    engines, verifier, reason
):
    async def main():
        action = climbing(tiers(*map(ScriptedEngine, engines)), new_trace(), verifier=verifier)
        before = action.reason
        await action.solve(ask_user("2+2?"))
        return before, action.reason

    assert frozen(main()) == ("auto: nothing was asked", reason)


def test_without_a_verifier_and_without_signals_the_strongest_tier_answers_alone():
    weak = ScriptedEngine("4")
    climb = tiers(weak, ScriptedEngine("5"))
    route = replace(cascade(climb), policy=Cascade(ladder=("fast", "standard"), signals=()))

    async def main():
        trace = new_trace()
        return await Action(route, trace, tiers=tiers_of(climb)).solve(ask_user("2+2?")), trace

    answer, trace = frozen(main())
    assert (answer.completion.text, answer.tier, weak.calls) == ("5", "standard", [])
    assert decisions(trace) == [("no verifier and no signals, so the strongest tier", "", None)]


# ── draws ────────────────────────────────────────────────────────────────


def test_tiers_that_share_a_deployment_never_draw_with_the_same_seed():
    """Else the strong tier's first draw would be the weak one's answer again."""
    engine = ScriptedEngine("3")
    weak = tier(Single(), engine, name="fast")
    strong = Tier(name="max", deployment=weak.deployment, policy=Majority(n=3))
    solve_cascade([weak, strong], ask_user("2+2?"), verifier=FOUR)
    assert [call.draw for call in engine.calls] == [0, 1, 2, 3]
    assert len({call.seed for call in engine.calls}) == 4


def test_each_deployment_draws_from_its_own_first():
    engines = ScriptedEngine("3"), ScriptedEngine("4")
    climb = [replace(one, deployment=replace(one.deployment, name=one.name)) for one in tiers(*engines)]
    solve_cascade(climb, ask_user("2+2?"), verifier=FOUR)
    assert [call.draw for engine in engines for call in engine.calls] == [0, 0]


# ── a route is a tier ────────────────────────────────────────────────────


def test_a_route_can_be_a_step_of_another_route():
    climb = tiers(ScriptedEngine("3"), ScriptedEngine("3"), ScriptedEngine("4"))
    inner = cascade(climb[:2], "inner")

    async def main():
        trace = new_trace()
        action = Action(cascade([inner, climb[2]]), trace, tiers=tiers_of([*climb, inner]), verifier=FOUR)
        return await action.solve(ask_user("2+2?")), trace

    answer, trace = frozen(main())
    assert (answer.completion.text, answer.tier) == ("4", "max")
    assert [done.tier for done in trace.passes] == ["fast", "standard", "max"]


def test_a_route_that_leads_back_to_itself_is_stopped_and_named():
    async def main():
        one = tier(Cascade(ladder=("b",)), ScriptedEngine(), name="a")
        other = tier(Cascade(ladder=("a",)), ScriptedEngine(), name="b")
        await Action(one, new_trace(), tiers=tiers_of([one, other])).solve(ask_user("2+2?"))

    with pytest.raises(PolicyError, match="tier 'a' asks itself: a → b → a"):
        frozen(main())


def test_it_spends_at_most_what_all_its_tiers_may():
    amounts = {"fast": Budget(passes=1, completion_tokens=5), "max": Budget(passes=8)}
    assert Cascade(ladder=("fast", "max"), signals=()).most(amounts.__getitem__) == Budget(passes=9)
    assert Cascade(ladder=("fast", "max")).most(amounts.__getitem__) == Budget(passes=10)
    assert Cascade(ladder=("fast",)).most(amounts.__getitem__) == amounts["fast"]


def test_it_is_written_with_the_names_of_its_tiers():
    choice = msgspec.convert({"cascade": {"tiers": ["fast", "max"]}}, PolicyChoice)
    assert choice.member.tiers() == ("fast", "max")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"cascade": {"tiers": []}}, PolicyChoice)


def test_an_earlier_whole_answer_is_better_than_one_of_the_last_tier_that_is_cut_unseen():
    climb = tiers(ScriptedEngine("3"), ScriptedEngine("5"), ScriptedEngine("it is hard to say", step=1.0))

    async def main(sink):
        action = climbing(climb, new_trace(), budget=Budget(seconds=2.5), verifier=FOUR)
        return await action.solve(ask_user("2+2?"), sink)

    assert frozen(main(discard)).completion.text == "5"
    assert frozen(main(RecordingSink())).completion.text == "it is"
