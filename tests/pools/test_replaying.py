"""Settings on a pool: what is shared between them changes nothing, and what the pool lacks is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from made_pools import CONFIG, Said, make, pool, question
from pools.test_live_path import setting
from tierwise.policies import Single
from tierwise.pools.choice import Choice, TooFewDraws
from tierwise.pools.grid import Setting
from tierwise.pools.reading import Pool, read_pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.spec.clock import now
from tierwise.spec.errors import PolicyError, SpecError
from tierwise.spec.prompt import Prompt
from tierwise.verifiers import VerifierChoice

ANSWERS = ["4", "7", "4", "9", "4", "4", "7", "4"]


def said(task: int, tier: str, draw: int) -> Said:
    """Draws of different lengths, one after the other, so that the speed of a draw alone is measured."""
    index = (task * 5 + draw * 3) % 8
    tokens = 5 + 3 * ((task + 2 * draw) % 4)
    return Said(
        text=ANSWERS[index],
        tokens=tokens,
        first=0.1,
        seconds=0.1 + 0.02 * (tokens - 1),
        outcome="correct" if ANSWERS[index] == "4" else "incorrect",
        prompt=30,
        logprob=-0.1 * (index + 1),
        began=1000.0 * task + 10 * draw + (500 if tier == "best" else 0),
    )


@pytest.fixture
def made(tmp_path: Any) -> Pool:
    return pool(tmp_path / "pool", [question(number) for number in range(6)], said, draws=8)


def replay(one: Pool, *tried: Setting, **more: Any) -> list[list[Replayed]]:
    with Replayer(one, one.plan.file.prices) as replayer:
        return replayer.run(tried, **more)


GRID = [
    setting("fast", {"single": {}}, name="one"),
    *(setting("fast", {"majority": {"n": n}}, name=f"vote {n}") for n in (2, 5, 8)),
    setting("fast", {"majority": {"n": 8, "equality": "number"}}, Budget(seconds=60), name="timed"),
    setting("fast", {"majority": {"n": 8}}, Budget(seconds=0.3), name="hurried"),
    setting("fast", {"majority": {"n": 8}}, Budget(completion_tokens=30), name="short"),
    setting("best", {"best_of_n": {"n": 5, "verifier": {"number": {"equals": 4}}}}, name="picked"),
    setting("best", {"best_of_n": {"n": 5}}, name="likely"),
    setting("auto", {"cascade": {"tiers": ["picked", "vote 5"]}}, name="ladder"),
]


@pytest.mark.parametrize("timing", ["load", "recorded"])
def test_settings_that_share_a_walk_get_what_each_gets_alone(made, monkeypatch, timing):
    together = replay(made, *GRID, timing=timing, orders=3)
    started = Choice.__init__

    def alone(self: Choice, *given: Any, may_share: bool) -> None:
        started(self, *given, may_share=False)

    monkeypatch.setattr(Choice, "__init__", alone)
    for tried, shared, simulated in zip(GRID, together, replay(made, *GRID, timing=timing, orders=3), strict=True):
        for one, other in zip(shared, simulated, strict=True):
            assert one[:7] == other[:7], tried.name
            assert (one.seconds, one.dollars) == pytest.approx((other.seconds, other.dollars)), tried.name
            assert (one.answer and one.answer.text, one.why) == (other.answer and other.answer.text, other.why)


def test_an_action_says_how_far_up_a_route_went(made):
    first, always, never = (
        replay(made, one)[0]
        for one in (
            setting("fast", {"single": {}}),
            setting("best", {"cascade": {"tiers": ["fast", "best"], "signals": [{"length": 1000}]}}),
            setting("best", {"cascade": {"tiers": ["fast", "best"], "signals": [{"length": 1}]}}),
        )
    )
    assert {one.asked for one in first} == {""}
    assert {one.asked for one in always} == {"fast"}
    assert {one.asked for one in never} == {"best"}


def test_a_shared_walk_ends_at_the_deadline_of_each_setting(made):
    vote = {"majority": {"n": 8}}
    deadlines = [None, 600, 0.5, 0.3, 0.2, 0.6, 0.15, 10]
    tried = [
        setting("fast", vote, Budget() if one is None else Budget(seconds=one), name=f"{one}") for one in deadlines
    ]
    together = replay(made, *tried, orders=2)
    assert together == [replay(made, one, orders=2)[0] for one in tried]
    assert together[0] == together[1] != together[4], "one deadline matters and the other does not"


def test_a_policy_that_looks_at_its_budget_shares_no_walk(made):
    class Hasty(Single):
        async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
            answer = await super().solve(prompt, ask)
            return replace(answer, why=f"{ask.left.seconds}")

    policy, plain = Hasty(), setting("fast", {"single": {}})
    tried = [replace(plain, name=f"{one}", policy=policy, budget=Budget(seconds=one)) for one in (50, 90)]
    soon, late = (found[0].why for found in replay(made, *tried))
    assert float(late) - float(soon) == pytest.approx(40)


def test_the_first_order_is_the_recorded_one_and_the_others_use_the_same_draws(made):
    one = setting("fast", {"single": {}})
    (found,) = replay(made, one, orders=40)
    first = [done for done in found if done.order == 0]
    assert [done.correct for done in first] == [said(task, "fast", 0).outcome == "correct" for task in range(6)]
    drawn = {done.answer.text for done in found if done.task == 0 and done.answer is not None}
    assert drawn == set(ANSWERS)
    assert found == replay(made, one, orders=40)[0]
    assert found != replay(made, one, orders=40, seed=1)[0]


def test_a_cascade_over_other_settings_does_what_it_does_over_the_tiers_that_they_are(made):
    def ladder(*tiers: str) -> Setting:
        return setting("fast", {"cascade": {"tiers": list(tiers), "signals": [{"agreement": 2}]}}, name="-".join(tiers))

    alias = setting("fast", {"single": {}}, name="one")
    _, by_alias, by_tier = replay(made, alias, ladder("one", "best"), ladder("fast", "best"))
    assert [(one.passes, one.completion) for one in by_alias] == [(one.passes, one.completion) for one in by_tier]
    assert {one.passes for one in by_tier} - {1 + 3}, "draws for agreement are taken"


def test_all_votes_in_any_order_elect_the_same_answer_as_the_recorded_order(made):
    (found,) = replay(made, setting("fast", {"majority": {"n": 8}}), orders=5)
    for task in range(6):
        texts = [said(task, "fast", draw).text for draw in range(8)]
        most = max(map(texts.count, texts))
        assert {texts.count(one.answer.text) for one in found if one.task == task and one.answer} == {most}


def test_more_actions_at_once_take_longer_and_cost_the_same_tokens(made):
    vote = setting("fast", {"best_of_n": {"n": 6}})
    (alone,), (busy,) = replay(made, vote), replay(made, vote, concurrency=4)
    assert sum(one.completion for one in alone) == sum(one.completion for one in busy)
    assert sum(one.seconds for one in busy) > 1.5 * sum(one.seconds for one in alone)
    assert sorted(one.task for one in busy) == list(range(6))


@pytest.mark.parametrize("name", ["one", "picked", "ladder", "short"])
def test_a_closed_loop_of_one_is_one_action_at_a_time(made, name):
    tried = [one for one in GRID if one.name in (name, "picked", "vote 5")]
    with Replayer(made, made.plan.file.prices) as replayer:
        together = replayer.run(tried)
    index = [one.name for one in tried].index(name)
    single = replay(made, tried[index], *(one for one in tried if one.name != name))[0]
    assert together[index] == single


def test_too_few_draws_are_refused_with_both_numbers(made):
    with pytest.raises(SpecError, match=r"draws 9 passes .*the pool has 8 draws .*--draws 9"):
        replay(made, setting("fast", {"majority": {"n": 9}}))
    bounded = setting("fast", {"majority": {"n": 9}}, Budget(passes=8))
    assert len(replay(made, bounded)[0]) == 6


def test_a_draw_that_is_missed_later_is_named(made):
    ladder = setting("auto", {"cascade": {"tiers": ["fast", "more"]}})
    more = setting("fast", {"majority": {"n": 8}}, name="more")
    made_with = replay(made, setting("fast", {"single": {}}), more)
    assert len(made_with) == 2
    verified = with_verifier(made)
    with pytest.raises(SpecError, match=r"has 8 draws of deployment 'small' .*draw 9 is needed"):
        replay(verified, ladder, more)


def with_verifier(one: Pool) -> Pool:
    """The same pool, with a verifier in every request that accepts nothing."""
    never = msgspec.convert({"number": {"equals": 123456}}, VerifierChoice)
    tasks = tuple(replace(task, task=msgspec.structs.replace(task.task, verifier=never)) for task in one.tasks)
    return replace(one, tasks=tasks)


def test_a_policy_that_continues_passes_is_refused_by_name(made):
    with pytest.raises(SpecError, match=r"policy Refine of tier 'tried' asks for a pass with the role 'critique'"):
        replay(made, setting("fast", {"refine": {}}))


def test_a_policy_with_a_reward_model_is_refused_by_name(made):
    policy = {"best_of_n": {"n": 4, "scorer": {"reward": {"deployment": "grader"}}}}
    with pytest.raises(SpecError, match=r"graded by the reward model 'grader', and a pool has no rewards"):
        replay(made, setting("fast", policy))


def test_a_policy_that_ends_thinking_is_refused_by_name(made):
    with pytest.raises(SpecError, match=r"policy Thinking of tier 'tried' ends thinking while a pass runs"):
        replay(made, setting("fast", {"thinking": {"tokens": 100}}))


def test_another_sampling_than_the_recorded_one_is_refused(made):
    class Hot(Single, frozen=True):
        async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
            return await Single.solve(self, prompt.setting(temperature=1.5), ask)

    with pytest.raises(SpecError, match=r"samples from deployment 'small' with settings of which the pool has no"):
        replay(made, Setting(name="hot", tier="fast", policy=Hot(), verifier=None, budget=Budget()))


def test_a_tier_that_was_not_recorded_is_refused(tmp_path):
    one = pool(tmp_path / "pool", [question(0)], said, draws=2, tiers={"fast": 1})
    with pytest.raises(SpecError, match="sampling of tier 'best', which was not recorded"):
        replay(one, setting("best", {"majority": {"n": 2}}))


def test_a_larger_limit_than_the_recorded_one_is_refused(tmp_path):
    def cut(task: int, tier: str, draw: int) -> Said:
        return Said(tokens=40, finish="length")

    one = pool(tmp_path / "pool", [question(0)], cut, draws=2)

    class Longer(Single, frozen=True):
        async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
            return await Single.solve(self, prompt.setting(max_tokens=80), ask)

    with pytest.raises(SpecError, match=r"recorded with a limit of 40 tokens and reached it, and .* has 80 tokens"):
        replay(one, Setting(name="longer", tier="best", policy=Longer(), verifier=None, budget=Budget()))
    assert len(replay(one, setting("best", {"single": {}}))[0]) == 1


def test_a_draw_without_an_answer_counts_as_wrong(tmp_path):
    def failing(task: int, tier: str, draw: int) -> Said:
        failed = task == 1
        return Said(outcome="no_answer" if failed else "correct", why="the prompt is too long" if failed else "")

    one = pool(tmp_path / "pool", [question(0), question(1)], failing, draws=3)
    (found,) = replay(one, setting("fast", {"majority": {"n": 3}}))
    assert [(done.correct, done.passes) for done in found] == [(True, 3), (False, 3)]
    assert found[1].why == "the prompt is too long"


# ── policies of others ──────────────────────────────────────────────────
class Custom(Single, frozen=True):
    """Solves with a function."""

    how: Any = None

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        answer: Answer = await self.how(prompt, ask)
        return answer


def custom(one: Pool, how: Callable[[Prompt, Ask], Any], **more: Any) -> list[Replayed]:
    (found,) = replay(
        one, Setting(name="own", tier="fast", policy=Custom(how=how), verifier=None, budget=Budget()), **more
    )
    return found


def answer_of(done: Any) -> Answer:
    return Answer(completion=done.completion, chosen=done.number)


def test_a_policy_may_wait_for_simulated_time(made):
    async def slow(prompt: Prompt, ask: Ask) -> Answer:
        began = now()
        await asyncio.sleep(2.5)
        async with asyncio.timeout(5):
            done = await ask(Call(prompt=prompt))
        assert now() - began == pytest.approx(2.5 + done.seconds)
        return answer_of(done)

    assert all(done.seconds > 2.5 for done in custom(made, slow))


def test_a_timeout_of_a_policy_ends_its_pass_in_simulated_time(made):
    async def impatient(prompt: Prompt, ask: Ask) -> Answer:
        try:
            async with asyncio.timeout(0.11):
                await ask(Call(prompt=prompt), watch=lambda _: None)
        except TimeoutError:
            pass
        assert [done.outcome for done in ask.drawn] == ["aborted"]
        return answer_of(ask.drawn[0])

    for done in custom(made, impatient, timing="recorded"):
        assert (done.seconds, done.completion) == (pytest.approx(0.11), 1)


def test_a_pass_can_be_watched_and_cut(made):
    async def cut(prompt: Prompt, ask: Ask) -> Answer:
        seen: list[Any] = []

        def watch(chunk: Any) -> Any:
            seen.append(chunk)
            return "cut" if len(seen) == 3 else None

        done = await ask(Call(prompt=prompt.setting(logprobs=True)), watch=watch)
        assert (done.outcome, done.usage.completion) == ("cut", 3)
        assert all(chunk.logprobs["content"][0]["logprob"] < 0 for chunk in seen)
        return answer_of(done)

    assert {done.completion for done in custom(made, cut)} == {3}


def test_passes_beside_an_open_panel_are_simulated(made):
    async def judged(prompt: Prompt, ask: Ask) -> Answer:
        async with ask.panel([Call(prompt=prompt)] * 3, order="draw") as arrivals:
            first = await anext(arrivals)
            beside = await ask(Call(prompt=prompt))
        assert first is not None
        assert (beside.call.draw, ask.load) == (3, 0.0)
        return answer_of(first)

    assert {done.passes for done in custom(made, judged)} == {4}


def test_what_a_policy_cannot_do_here_is_its_error(made):
    async def tasks(prompt: Prompt, ask: Ask) -> Answer:
        pending: Any = ask(Call(prompt=prompt))
        return answer_of(await asyncio.create_task(pending))

    with pytest.raises(PolicyError, match=r"run passes concurrently with `ask\.panel`"):
        custom(made, tasks)


def test_a_policy_that_waits_forever_is_its_error(made):
    async def stuck(prompt: Prompt, ask: Ask) -> Answer:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    with pytest.raises(PolicyError, match="waits for what never comes"):
        custom(made, stuck)


def test_the_config_of_the_pool_is_the_one_in_it(made):
    assert list(made.plan.tiers) == ["fast", "best", "auto"]
    assert made.manifest.config.text == CONFIG


def test_a_draw_that_was_lost_to_thinking_is_lost_in_every_way_of_replaying_it(tmp_path):
    """One pass and a shared panel see it, it wins no vote, and the pool says what a replay cannot do."""
    lost = Said(text="", thinking="so", outcome="lost_to_thinking", finish="length")
    one = pool(tmp_path / "pool", [question(0)], lambda _, __, draw: lost if draw < 2 else Said())
    (voted,) = replay(one, setting("fast", {"majority": {"n": 4}}))[0]
    assert (voted.correct, voted.passes) == (True, 4)
    seen: list[str] = []

    async def how(prompt: Prompt, ask: Ask) -> Answer:
        seen.append((await ask(Call(prompt=prompt), watch=lambda _: None)).outcome)
        seen.append((await ask(Call(prompt=prompt))).outcome)
        return answer_of(ask.drawn[0])

    custom(one, how)
    assert seen == ["lost_to_thinking", "lost_to_thinking"]
    (single,) = replay(one, setting("fast", {"single": {}}))[0]
    assert single.correct is False
    assert any("4 draws were lost to thinking: a replay answers 0 of them" in note for note in one.notes)
    assert any("2 were asked for one pass" in note for note in one.notes)


RECOVERED = Said(text="4", thinking="so two", tokens=2, lost=(9, 0.1, 0.9), first=0.05, seconds=0.2)
LOST = Said(text="", thinking="so", outcome="lost_to_thinking", finish="length")


def test_a_draw_that_was_recovered_answers_with_the_tokens_and_time_of_both_passes(tmp_path):
    one = pool(tmp_path / "pool", [question(0)], lambda *_: RECOVERED)
    (single,), (votes,) = replay(
        one, setting("fast", {"single": {}}), setting("fast", {"majority": {"n": 2}}, name="votes"), timing="recorded"
    )
    assert (single.correct, single.passes, single.completion) == (True, 2, 11)
    assert single.seconds == pytest.approx(0.9 + 0.2)
    assert single.answer is not None
    assert (single.answer.text, single.answer.reasoning) == ("4", "")
    assert (votes.correct, votes.passes, votes.completion) == (True, 3, 20)  # once, of all votes
    draw = next(iter(one.tasks[0].draws.values()))[0]
    assert (draw.is_lost, draw.correct, draw.served.correct) == (True, False, True)


def test_a_tier_is_recovered_once_in_an_action(tmp_path):
    one = pool(tmp_path / "pool", [question(0)], lambda *_: RECOVERED)
    seen: list[str] = []

    async def twice(prompt: Prompt, ask: Ask) -> Answer:
        seen.extend([(await ask(Call(prompt=prompt))).outcome for _ in range(2)])
        return answer_of(ask.drawn[1])

    custom(one, twice)
    assert seen == ["finished", "lost_to_thinking"]


def test_a_lost_draw_is_refused_where_its_recovery_was_not_recorded_and_the_budget_allows_one(tmp_path):
    one = pool(tmp_path / "pool", [question(0)], lambda *_: LOST)
    with pytest.raises(TooFewDraws, match="no pass is recorded that would answer in its place"):
        replay(one, setting("best", {"majority": {"n": 2}}))
    (bounded,) = replay(one, setting("best", {"majority": {"n": 2}}, Budget(passes=2)))[0]
    assert (bounded.correct, bounded.passes) == (False, 2)
    with Replayer(one, {}) as replayer:
        kept, why = replayer.answerable([setting("best", {"best_of_n": {"n": 2}}), setting("fast", {"single": {}})])
    assert [each.tier for each in kept] == ["fast"]
    assert "was lost to thinking" in why[0]


def test_a_draw_that_was_asked_again_after_a_failure_is_what_answered(tmp_path):
    directory = make(tmp_path / "pool", [question(0)], lambda *_: Said())
    records = []
    for record in directory.read_records():
        (done,) = record.passes
        failed = msgspec.structs.replace(done, outcome="failed", completion_tokens=3)
        again = msgspec.structs.replace(done, number=1)
        total = record.completion_tokens + 3
        records.append(msgspec.structs.replace(record, passes=[failed, again], completion_tokens=total))
    directory.write_records(records)
    (single,) = replay(read_pool(directory), setting("fast", {"single": {}}))[0]
    assert (single.correct, single.passes, single.completion) == (True, 1, 5)


def test_draws_at_the_limit_of_the_tier_come_before_those_of_a_larger_one(tmp_path):
    config = CONFIG.replace(
        "  best:", "  short: {deployment: small, policy: single, sampling: {temperature: 0.7, max_tokens: 3}}\n  best:"
    )
    whole = lambda _, tier, __: Said(text="4", tokens=3) if tier == "short" else Said(text="7 or 4", tokens=9)  # noqa: E731
    one = pool(tmp_path / "pool", [question(0)], whole, config=config, tiers={"fast": 1, "short": 1})
    (short,) = replay(one, setting("short", {"single": {}}))[0]
    assert short.answer is not None
    assert short.answer.text == "4"


LLAMA = """
checkpoints:
  model: {source: "file:/made/up.gguf"}
deployments:
  small: {engine: llama.cpp, checkpoint: model, slots: 4, SHARED}
tiers:
  fast: {deployment: small, policy: {majority: {n: 4}}, sampling: {temperature: 0.7}}
"""


@pytest.mark.parametrize(
    ("setting_", "words", "shares"),
    [("prompt_cache_mib: 512", 8, False), ("prompt_cache_mib: 512", 400, True), ("prompt_cache_mib: 0", 400, False)],
    ids=["short prompt", "long prompt", "long prompt without room to save it"],
)
def test_passes_on_llama_cpp_share_a_prompt_where_it_is_long_enough_and_can_be_saved(tmp_path, setting_, words, shares):
    tasks = [question(0, messages=[{"role": "user", "content": "word " * words}])]

    def drawn(task: int, tier: str, draw: int) -> Said:
        return Said(text=str(draw), prompt=100, cached=99 if draw else 10, tokens=5, began=10.0 * draw)

    one = pool(tmp_path / "pool", tasks, drawn, config=LLAMA.replace("SHARED", setting_), tiers={"fast": 1})
    assert one.shares_prompt("small", one.tasks[0], 4) is shares
    assert not one.shares_prompt("small", one.tasks[0], 1)
    ((votes,),) = replay(one, setting("fast", {"majority": {"n": 4}}))
    assert votes.prompt - votes.cached == (90 + 3 * 1 if shares else 4 * 90)
    ((alone,),) = replay(one, setting("fast", {"single": {}}))
    assert votes.seconds > alone.seconds


def test_a_prompt_that_was_shared_is_there_for_a_later_pass(tmp_path):
    tasks = [question(0, messages=[{"role": "user", "content": "word " * 400}])]

    def drawn(task: int, tier: str, draw: int) -> Said:
        return Said(text=str(draw), prompt=100, cached=99 if draw else 10, tokens=5, began=10.0 * draw)

    config = LLAMA.replace("SHARED", "prompt_cache_mib: 512")
    one = pool(tmp_path / "pool", tasks, drawn, draws=6, config=config, tiers={"fast": 1})
    several = setting("fast", {"best_of_n": {"n": 4, "verifier": {"number": {"equals": 9}}}}, name="several")
    last = setting("fast", {"single": {}}, name="last")
    ladder = setting("fast", {"cascade": {"tiers": ["several", "last"]}}, name="ladder")
    (climbed,), *_ = replay(one, ladder, several, last)
    assert (climbed.passes, climbed.prompt - climbed.cached) == (5, 90 + 4)
