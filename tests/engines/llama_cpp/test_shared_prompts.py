"""A prompt is computed once by a real llama.cpp, by its own counts, and every pass stays a pass of its own."""

from __future__ import annotations

import asyncio
import shutil
import stat
from pathlib import Path

import pytest

from cached_shares import assert_mostly_cached, uncached_tokens
from engines.asking import begun, call, completed, text_of
from tierwise.engines.llama_cpp.prompt_text import prompt_text
from tierwise.engines.llama_cpp.saved_prompts import SavedPrompt, SavedPrompts, make_folder
from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.policies.judging import LetterJudge
from tierwise.policies.scoring import ScorerChoice
from tierwise.run import Action
from tierwise.spec.call import Call
from tierwise.testing import ScriptedEngine, ask_user, new_trace, tier

STORY = "The quick brown fox jumps over the lazy dog and runs along the river. " * 16


def story(name, **fields):
    return ask_user(f"{name}. {STORY} What does it do?", **{"max_tokens": 6, "temperature": 1, **fields})


async def act(engine, policy, prompt, slots=4):
    trace = new_trace()
    answer = await Action(tier(policy, engine, slots=slots), trace).solve(prompt)
    return answer, trace


def folder_of(engine) -> Path:
    assert engine.supervisor.launch is not None
    assert engine.supervisor.launch.scratch is not None
    return engine.supervisor.launch.scratch


@pytest.mark.model
def test_candidates_compute_their_prompt_once_by_the_engines_own_count(llama):
    async def main() -> None:
        before = await llama.metric("prompt_tokens_total")
        _, trace = await act(llama.engine, BestOfN(n=8), story("One"))
        prompt = trace.passes[0].usage.prompt
        assert [done.call.role for done in trace.passes] == ["prefill", *["draft"] * 8]
        assert {done.usage.cached for done in trace.passes[1:]} == {prompt - 1}
        assert uncached_tokens(trace) <= 1.05 * prompt
        assert await llama.metric("prompt_tokens_total") - before == uncached_tokens(trace)
        assert len({done.completion.text for done in trace.passes[1:]}) > 1  # each has a seed of its own

    llama.run(main())


@pytest.mark.model
def test_a_candidate_says_the_same_with_a_restored_prompt_as_with_a_computed_one(llama):
    async def main() -> None:
        _, trace = await act(llama.engine, BestOfN(n=3), story("Two", temperature=0))
        texts = {done.completion.text for done in trace.passes[1:]}
        alone = await text_of(llama.engine, Call(prompt=story("Two", temperature=0, cache_prompt=False)))
        assert texts == {alone}

    llama.run(main())


@pytest.mark.model
def test_a_prompt_that_is_saved_already_is_not_computed_again(llama):
    async def main() -> None:
        await act(llama.engine, BestOfN(n=2), story("Three"))
        _, trace = await act(llama.engine, BestOfN(n=4), story("Three"))
        assert [done.call.role for done in trace.passes] == ["draft"] * 4
        assert_mostly_cached(trace, "draft", 0.99)

    llama.run(main())


@pytest.mark.model
def test_groups_and_single_passes_side_by_side_are_all_answered_and_share_only_their_own_prompt(llama):
    async def main() -> None:
        groups = [act(llama.engine, BestOfN(n=5), story(f"Group {number}")) for number in range(3)]
        singles = [completed(llama.engine, call(f"Say {number}.", max_tokens=3)) for number in range(6)]
        done = await asyncio.gather(*groups, *singles)
        for _, trace in done[:3]:
            assert all(one.outcome == "finished" for one in trace.passes)
            assert_mostly_cached(trace, "draft", 0.99)
        assert all(usage.completion for _, usage in done[3:])

    llama.run(main())


@pytest.mark.model
def test_an_aborted_action_frees_its_slots(llama):
    async def main() -> None:
        for name in ("Four", "Five"):
            task = asyncio.create_task(act(llama.engine, BestOfN(n=4), story(name, max_tokens=200)))
            await asyncio.sleep(0.4 if name == "Four" else 3)
            task.cancel()
            await asyncio.wait({task})
        streams = [await begun(llama.engine, call(max_tokens=50)) for _ in range(4)]  # every slot
        for stream in streams:
            await stream.aclose()

    llama.run(main())


@pytest.mark.model
def test_critique_and_refinement_have_what_came_before_cached(llama):
    async def main() -> None:
        _, trace = await act(llama.engine, Refine(), story("Six", max_tokens=24))
        assert_mostly_cached(trace, "critique")
        assert_mostly_cached(trace, "refine")

    llama.run(main())


@pytest.mark.model
def test_files_are_private_and_go_with_the_process(new_llama_cpp):
    async def main() -> None:
        engine = new_llama_cpp(slots=2)
        await engine.start()
        try:
            folder = folder_of(engine)
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            await act(engine, BestOfN(n=2), story("One"), slots=2)
            assert [file.name for file in folder.iterdir()] == ["0.bin"]
        finally:
            await engine.stop()
        assert not folder.exists()

    asyncio.run(main())


@pytest.mark.model
def test_a_folder_that_cannot_be_written_costs_time_and_no_answer_and_the_trace_says_so_once(new_llama_cpp):
    async def main() -> None:
        engine = new_llama_cpp(slots=2)
        await engine.start()
        try:
            await act(engine, BestOfN(n=2), story("One"), slots=2)
            shutil.rmtree(folder_of(engine))
            notes = []
            for name in ("One", "Two", "Three"):
                # another prompt in between, so that no slot holds it any more
                answer, trace = await act(engine, Majority(n=2), story(name), slots=2)
                assert answer.completion.text
                assert all(done.outcome == "finished" for done in trace.passes)
                notes += [event.reason for event in trace.events if isinstance(event, Decision) and event.signal]
            assert len(notes) == len(set(notes))
            assert len(notes) <= 2
        finally:
            await engine.stop()

    asyncio.run(main())


# ── the store ───────────────────────────────────────────────────────────


def saved(said, size, number):
    prompt = prompt_text(Call(prompt=ask_user(said)))
    return SavedPrompt(file=f"{number}.bin", prompt=prompt, tokens=9, size=size)


def test_saved_prompts_stay_below_their_size_and_the_least_recently_used_goes_first(tmp_path):
    store = SavedPrompts(tmp_path, 100)
    kept = [saved(said, 40, number) for number, said in enumerate(["a" * 50, "b" * 50, "c" * 50])]
    for one in kept:
        (tmp_path / one.file).touch()
    assert store.add(kept[0])
    assert store.add(kept[1])
    store.touch(kept[0])
    assert store.add(kept[2])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.bin", "2.bin"]
    assert store.exact(kept[1].prompt) is None
    assert store.best(kept[0].prompt)[1] is kept[0]


def test_a_state_that_is_larger_than_all_is_not_kept_and_not_tried_again(tmp_path):
    store = SavedPrompts(tmp_path, 100)
    assert not store.add(saved("a" * 50, 101, 0))
    assert store.add(saved("a" * 50, 60, 1))
    assert store.next_file(prompt_text(Call(prompt=ask_user("b" * 500)))) is None


def test_without_its_folder_nothing_is_saved(tmp_path):
    assert SavedPrompts(tmp_path / "gone", 100).next_file(("a",)) is None


def test_a_folder_is_private_to_the_user():
    folder = make_folder()
    assert folder is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()


@pytest.mark.model
@pytest.mark.parametrize(("pivots", "passes"), [(0, 8), (2, 8)])
def test_a_judge_of_eight_candidates_has_most_of_its_prompts_cached_by_the_engines_own_count(llama, pivots, passes):
    async def main() -> None:
        policy = BestOfN(n=8, scorer=ScorerChoice(judge=LetterJudge(tier="strong", pivots=pivots)))
        drafts = ScriptedEngine(*(f"It runs {number} miles, because it is a quick and brown fox." for number in range(8)))
        before, trace = await llama.metric("prompt_tokens_total"), new_trace()
        strong = tier(policy, llama.engine, slots=4, name="strong")
        await Action(tier(policy, drafts), trace, tiers={"strong": strong}).solve(story(f"Judged {pivots}", max_tokens=64))
        judged = [done for done in trace.passes if done.call.role == "judge"]
        assert len(judged) >= passes
        assert_mostly_cached(trace, "judge", 0.9)
        computed = sum(done.usage.prompt - done.usage.cached for done in trace.passes if done.tier == "strong")
        assert computed <= 0.25 * sum(done.usage.prompt for done in judged)  # even with the prefill
        assert await llama.metric("prompt_tokens_total") - before == computed

    llama.run(main())
