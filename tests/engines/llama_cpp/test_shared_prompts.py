"""A prompt is computed once by a real llama.cpp, by its own counts, and every pass stays a pass of its own."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached_shares import assert_mostly_cached, uncached_tokens
from engines.asking import begun, call, completed, text_of
from tierwise.engines.llama_cpp.prompt_text import prompt_text
from tierwise.engines.llama_cpp.saved_prompts import SavedPrompt, SavedPrompts, make_folder, prefill_pays, restore_pays
from tierwise.ledger.records import Decision
from tierwise.policies import BestOfN, Fusion, Majority, Refine
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
@pytest.mark.parametrize("select", [False, True])
def test_fusion_and_comparisons_have_all_of_the_users_prompt_cached(llama, select):
    async def main() -> None:
        policy = Fusion(n=4, select=select)
        _, trace = await act(llama.engine, policy, story(f"Nine {select}", max_tokens=80, stop=[",", ".", " the"]))
        assert_mostly_cached(trace, "draft", 0.99)
        own = trace.passes[0].usage.prompt
        last = [done for done in trace.passes if done.call.role in ("fuse", "select")]
        assert len(last) == (3 if select else 1)
        assert all(done.usage.cached >= own - 1 for done in last)  # the drafts and the task follow it

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
            assert [file.name for file in folder.iterdir()] == ["0-0.bin"]
        finally:
            await engine.stop()
        assert not folder.exists()

    asyncio.run(main())


@pytest.mark.model
@pytest.mark.parametrize("damage", ["removed", "truncated", "replaced"])
def test_a_damaged_file_costs_time_and_never_an_answer(new_llama_cpp, damage):
    async def main() -> None:
        engine = new_llama_cpp(slots=2)
        await engine.start()
        try:
            prompts = [story(name, temperature=0) for name in ("One", "Two", "Three")]
            alone = [await text_of(engine, Call(prompt=prompt.setting(cache_prompt=False))) for prompt in prompts]
            for prompt in prompts:
                await act(engine, BestOfN(n=2), prompt, slots=2)
            files = sorted(folder_of(engine).iterdir())
            assert len(files) == 3
            for file in files[:2]:  # the slots hold the third
                whole = file.read_bytes()
                file.unlink()
                if damage != "removed":
                    file.write_bytes(whole[: len(whole) // 2] if damage == "truncated" else b"not a slot" * 999)
            for prompt, text in zip(prompts[:2], alone[:2], strict=True):
                answer, trace = await act(engine, BestOfN(n=2), prompt, slots=2)
                assert answer.completion.text == text
                assert {done.completion.text for done in trace.passes if done.call.role == "draft"} == {text}
                assert any("did not restore" in one.reason for one in trace.events if isinstance(one, Decision))
        finally:
            await engine.stop()

    asyncio.run(main())


@pytest.mark.model
def test_a_full_disk_costs_time_and_no_answer_and_prompts_are_no_longer_shared(new_llama_cpp):
    async def main() -> None:
        engine = new_llama_cpp(slots=2)
        await engine.start()
        try:
            assert engine.supervisor.pid is not None
            resource.prlimit(engine.supervisor.pid, resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))  # writing more fails
            notes: list[str] = []
            for number in range(5):
                _, trace = await act(engine, BestOfN(n=2), story(f"Number {number}"), slots=2)
                assert all(done.outcome == "finished" for done in trace.passes)
                notes += [one.reason for one in trace.events if isinstance(one, Decision) and one.signal]
            assert len([note for note in notes if "could not save a slot" in note]) == 1
            assert [done.call.role for done in trace.passes] == ["draft", "draft"]
            assert not list(folder_of(engine).iterdir())
        finally:
            await engine.stop()

    asyncio.run(main())


@pytest.mark.model
def test_an_engine_that_dies_under_a_group_is_restarted_and_every_candidate_is_answered(new_llama_cpp):
    async def main() -> None:
        engine = new_llama_cpp(slots=2)
        await engine.start()
        try:
            before = folder_of(engine)
            task = asyncio.create_task(act(engine, BestOfN(n=5), story("One", max_tokens=60), slots=2))
            while not list(before.iterdir()):  # noqa: ASYNC110 - llama.cpp writes it
                await asyncio.sleep(0.01)
            assert engine.supervisor.pid is not None
            os.kill(engine.supervisor.pid, signal.SIGKILL)
            _, trace = await task
            assert sum(done.outcome == "finished" and done.call.candidate for done in trace.passes) == 5
            assert not before.exists()
            _, trace = await act(engine, BestOfN(n=4), story("Two"), slots=2)
            assert_mostly_cached(trace, "draft", 0.99)  # the new process shares prompts too
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(main(), 60))


@pytest.mark.model
def test_an_answer_in_a_given_form_shares_its_prompt_and_keeps_its_form(llama):
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}

    async def main() -> None:
        _, trace = await act(llama.engine, BestOfN(n=4), story("Seven", response_format=form, max_tokens=40))
        assert_mostly_cached(trace, "draft", 0.99)
        assert all(done.completion.text.lstrip().startswith("{") for done in trace.passes[1:])

    llama.run(main())


@pytest.mark.model
def test_a_single_pass_is_served_while_a_group_computes_its_prompt_and_while_the_group_runs(llama):
    async def main() -> None:
        group = asyncio.create_task(act(llama.engine, BestOfN(n=8), story("Eight", max_tokens=24, ignore_eos=True)))
        loop, ends = asyncio.get_running_loop(), []
        for wait in (0.05, 0.5):
            await asyncio.sleep(wait)
            await completed(llama.engine, call("Say it.", max_tokens=1))
            ends.append(loop.time())
        _, trace = await group
        drafts = sorted(trace.began + done.started + done.seconds for done in trace.passes if done.call.candidate)
        assert ends[0] < drafts[0]
        assert ends[1] < drafts[5]  # four run at once: it came before the last of those that waited

    llama.run(main())


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
    store.add(kept[0])
    store.add(kept[1])
    store.touch(kept[0])
    store.add(kept[2])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0.bin", "2.bin"]
    assert store.exact(kept[1].prompt) is None
    assert store.best(kept[0].prompt)[1] is kept[0]


def test_a_state_that_is_larger_than_all_is_not_kept_and_not_tried_again(tmp_path):
    store = SavedPrompts(tmp_path, 100)
    larger, other = saved("a" * 50, 101, 0), saved("b" * 50, 60, 1)
    store.add(larger)
    store.add(other)
    assert store.exact(larger.prompt) is None
    assert store.exact(other.prompt) is other
    assert store.next_file(prompt_text(Call(prompt=ask_user("b" * 500)))) is None


def test_a_file_is_restored_if_it_brings_enough_for_its_length():
    assert [restore_pays(shared, held) for shared, held in ((63, 0), (64, 0), (240, 180), (240, 170))] == [
        False, True, False, True,
    ]  # fmt: skip
    assert [restore_pays(9000, held) for held in (8744, 8745)] == [True, False]


@pytest.mark.parametrize(
    ("characters", "passes", "known", "pays"),
    [(240, 6, 0.0, True), (240, 6, 0.75, False), (140, 6, 0.0, False), (140, 9, 0.0, True), (5000, 1, 0.0, False)],
)
def test_a_prefill_pays_if_sharing_saves_enough_over_all_passes(characters, passes, known, pays):
    asked = Call(prompt=ask_user("a" * (characters - len("{}user\n"))))
    assert sum(map(len, prompt_text(asked))) == characters
    assert prefill_pays(asked, passes, known) is pays
    assert not prefill_pays(Call(prompt=asked.prompt.setting(cache_prompt=False)), passes, known)


@pytest.mark.model
def test_short_prompts_that_begin_alike_compute_only_what_differs(new_llama_cpp):
    """The first group saves its prompt; the votes of the next one find in it what both begin with."""

    async def main() -> None:
        engine = new_llama_cpp(slots=4, context=1024)
        await engine.start()
        try:
            begin = "You are asked for one number, and say it with a unit of measure and no other word. " * 2
            roles = []
            for question in (f"{begin} How far is the sun?", STORY, f"{begin} How deep is the sea?"):
                _, last = await act(engine, BestOfN(n=8), ask_user(question, max_tokens=3, temperature=1))
                roles.append(next(done.call.role for done in last.passes))
            assert roles == ["prefill", "prefill", "draft"]
            drafts = last.passes
            assert all(done.usage.prompt - done.usage.cached <= 16 for done in drafts)
        finally:
            await engine.stop()

    asyncio.run(main())


def test_without_its_folder_nothing_is_saved(tmp_path):
    assert SavedPrompts(tmp_path / "gone", 100).next_file(("a",)) is None


def test_the_size_of_a_file_is_known_once_one_was_written_even_if_it_was_too_large(tmp_path):
    store = SavedPrompts(tmp_path, 100)
    prompt = prompt_text(Call(prompt=ask_user("a" * 50)))
    assert store.fits(prompt)
    store.add(saved("a" * 50, 101, 0))
    assert not store.fits(prompt)
    assert store.fits(prompt_text(Call(prompt=ask_user("a"))))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 140)), max_size=12))
def test_the_files_never_take_more_than_their_size_whatever_is_saved(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("slots")
    store, sizes = SavedPrompts(folder, 100), {}
    for length, size in files:
        one = saved("a" * length, size, len(sizes))
        if store.next_file(one.prompt) is None:
            continue
        (folder / one.file).touch()
        sizes[one.file] = size
        store.add(one)
        assert sum(sizes[file.name] for file in folder.iterdir()) <= 100


@pytest.mark.parametrize(("most_bytes", "is_in_memory"), [(1 << 10, True), (1 << 60, False)])
def test_a_folder_is_private_to_the_user_and_in_memory_only_if_there_is_room(tmp_path, most_bytes, is_in_memory):
    folder = make_folder(most_bytes, memory=tmp_path)
    assert folder is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert (folder.parent == tmp_path) is is_in_memory
    folder.rmdir()


def test_a_machine_without_a_file_system_in_memory_has_a_folder_too(tmp_path):
    folder = make_folder(1, memory=tmp_path / "none")
    assert folder is not None
    folder.rmdir()


@pytest.mark.model
@pytest.mark.parametrize(("pivots", "passes"), [(0, 8), (2, 8)])
def test_a_judge_of_eight_candidates_has_most_of_its_prompts_cached_by_the_engines_own_count(llama, pivots, passes):
    async def main() -> None:
        policy = BestOfN(n=8, scorer=ScorerChoice(judge=LetterJudge(tier="strong", pivots=pivots)))
        drafts = ScriptedEngine(
            *(f"It runs {number} miles, because it is a quick and brown fox." for number in range(8))
        )
        before, trace = await llama.metric("prompt_tokens_total"), new_trace()
        strong = tier(policy, llama.engine, slots=4, name="strong")
        await Action(tier(policy, drafts), trace, tiers={"strong": strong}).solve(
            story(f"Judged {pivots}", max_tokens=64)
        )
        judged = [done for done in trace.passes if done.call.role == "judge"]
        assert len(judged) >= passes
        assert_mostly_cached(trace, "judge", 0.9)
        computed = sum(done.usage.prompt - done.usage.cached for done in trace.passes if done.tier == "strong")
        assert computed <= 0.25 * sum(done.usage.prompt for done in judged)  # even with the prefill
        assert await llama.metric("prompt_tokens_total") - before == computed

    llama.run(main())
