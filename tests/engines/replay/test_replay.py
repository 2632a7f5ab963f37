"""Recorded candidates: that they say what was said, and never pretend to have said anything else."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.asking import call, chunks, completed, in_time
from tierwise.engines.replay.engine import ReplayEngine, token_ends
from tierwise.engines.replay.launch import build, command
from tierwise.engines.replay.recording import Candidate, prompt_digest, read_recording, record
from tierwise.engines.replay.settings import Replay
from tierwise.engines.settings import LaunchContext
from tierwise.policies import Majority, Single
from tierwise.run import Action
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call, Completion, Usage
from tierwise.spec.clock import now
from tierwise.spec.errors import Broken, SpecError
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace, solve, tier

THOUGHT = Candidate(
    prompt=prompt_digest(call()),
    message={"role": "assistant", "content": "Four.", "reasoning_content": "2+2…", "refusal": "none"},
    logprobs=[{"token": token, "logprob": -0.1} for token in ("2+2", "…", "Fo", "ur", ".")],
    prompt_tokens=9,
    cached_tokens=4,
    completion_tokens=5,
    reasoning_tokens=2,
    first_token=0.02,
    seconds=0.1,
)


def replayed(one: Candidate = THOUGHT, of: Call | None = None, speed: float = 0.0) -> tuple[Completion, Usage]:
    done: tuple[Completion, Usage] = in_time(completed(ReplayEngine("pool", [one], speed=speed), of or call()))
    return done


@pytest.mark.parametrize("speed", [0.0, 1.0])
def test_a_candidate_is_said_as_it_was_recorded(speed):
    said, usage = replayed(speed=speed)
    assert (said.text, said.reasoning, said.extra) == ("Four.", "2+2…", {"refusal": "none"})
    assert said.logprobs == tuple(THOUGHT.logprobs)
    assert usage == Usage(prompt=9, cached=4, completion=5, reasoning=2)


def test_tool_calls_are_said_with_their_indices():
    calls = [{"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}} for id_ in ("1", "2")]
    one = Candidate(prompt=prompt_digest(call()), message={"content": None, "tool_calls": calls}, finish="tool_calls")
    first, last = in_time(chunks(ReplayEngine("pool", [one]), call()))
    assert [part["index"] for part in first.delta["tool_calls"]] == [0, 1]
    assert last.finish == "tool_calls"
    assert replayed(one)[0].tool_calls == tuple(calls)


def test_an_answer_of_which_no_tokens_were_counted_is_said_all_the_same():
    one = Candidate(prompt=prompt_digest(call()), message={"content": "Four."})
    assert replayed(one)[0].text == replayed(one, speed=1)[0].text == "Four."


def test_a_policy_spends_on_a_pool_what_it_spent_when_the_pool_was_recorded():
    script = ("4", "5 is my answer", "4", "4", "4")
    answer, trace = solve(Majority(n=5), *script, prompt=ask_user("2+2?"))
    pool = [record(done) for done in trace.passes]
    again, trace_again = frozen(on_a_pool(Majority(n=5), pool))
    assert again.completion.text == answer.completion.text
    assert trace_again.usage == trace.usage
    assert [done.call.draw for done in trace_again.passes] == [done.call.draw for done in trace.passes]


async def on_a_pool(policy: Any, pool: list[Candidate], **fields: Any) -> Any:
    trace = new_trace()
    engine = ReplayEngine("pool", pool)
    budget = fields.pop("budget", None)
    return await Action(tier(policy, engine, budget=budget), trace).solve(ask_user("2+2?", **fields)), trace


def test_a_token_budget_does_not_change_which_candidate_answers():
    _, trace = solve(Single(), "one two three four", prompt=ask_user("2+2?"))
    pool = [record(done) for done in trace.passes]
    for allowed, text in ((10, "one two three four"), (2, "one two th")):
        answer, spent = frozen(on_a_pool(Single(), pool, budget=Budget(completion_tokens=allowed)))
        assert answer.completion.text[:8] == text[:8]
        assert spent.usage.completion == min(4, allowed)


def test_a_shorter_answer_is_the_beginning_of_the_recorded_one_token_by_token():
    said, usage = replayed(of=call(max_tokens=3))
    assert (said.reasoning, said.text, said.finish) == ("2+2…", "Fo", "length")
    assert len(said.logprobs) == 3
    assert usage == Usage(prompt=9, cached=4, completion=3, reasoning=2)
    assert replayed(of=call(max_completion_tokens=1))[0].reasoning == "2+2"


def test_without_recorded_tokens_a_shorter_answer_is_cut_in_proportion():
    one = msgspec.structs.replace(THOUGHT, logprobs=[], message={"content": "0123456789"})
    assert replayed(one, of=call(max_tokens=2))[0].text == "0123"


def test_what_cannot_be_cut_is_left_out_of_a_shorter_answer():
    message = {"content": "Let me call.", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    one = msgspec.structs.replace(THOUGHT, logprobs=[], message=message)
    assert replayed(one, of=call(max_tokens=4))[0].tool_calls == ()
    assert len(replayed(one, of=call(max_tokens=5))[0].tool_calls) == 1


@pytest.mark.parametrize(
    ("finish", "bound", "asked", "answers"),
    [
        ("stop", 100, 1000, True),
        ("stop", 100, None, True),
        ("length", 100, 100, True),
        ("length", 100, 50, True),
        ("length", 100, 101, False),
        ("length", 100, None, False),
        ("length", None, 5000, True),
    ],
)
def test_a_candidate_that_was_cut_short_does_not_answer_for_a_longer_one(finish, bound, asked, answers):
    one = msgspec.structs.replace(THOUGHT, finish=finish, bound=bound)
    of = call() if asked is None else call(max_tokens=asked)
    if answers:
        assert replayed(one, of=of)[0].text == "Four."
    else:
        with pytest.raises(Broken, match=r"cut at 100 tokens; the call has (no limit|101 tokens)"):
            replayed(one, of=of)


def test_a_recording_remembers_what_it_was_bounded_by():
    _, trace = solve(Single(), "one two three", prompt=ask_user("2+2?", max_tokens=2))
    one = record(trace.passes[0])
    assert (one.bound, one.finish, one.completion_tokens) == (2, "length", 2)


@pytest.mark.parametrize(
    "other",
    [call("Say hello!"), call(temperature=0.5), call(role="vote"), call(stop=["x"]), call(draw=1)],
    ids=["prompt", "sampling", "role", "stop", "draw"],
)
def test_another_question_is_not_answered(other):
    with pytest.raises(Broken, match="recording 'pool' has no draw"):
        replayed(of=other)


def test_digests_do_not_depend_on_the_order_of_fields_or_on_the_seed():
    one = call(temperature=0.5, tools=[{"a": 1, "b": 2}], seed=1)
    other = call(tools=[{"b": 2, "a": 1}], temperature=0.5, seed=2, max_tokens=7)
    assert prompt_digest(one) == prompt_digest(other) == "10e82d2b5b74d68d6f823f27"


def test_a_replay_takes_as_long_as_the_recording_did_when_it_is_asked_to():
    async def main() -> None:
        loop = asyncio.get_running_loop()
        engine = ReplayEngine("pool", [THOUGHT], speed=100)
        began = loop.time()
        said = [(loop.time() - began, chunk.usage) async for chunk in engine.stream(call())]
        moments = [(round(moment, 6), usage.completion) for moment, usage in said if usage]
        assert moments == [(2.0, 1), (3.6, 2), (5.2, 3), (6.8, 4), (8.4, 5), (10.0, 5)]

    frozen(main())


def test_a_thousand_candidates_are_replayed_in_no_time():
    text = "word " * 2000
    pool = [Candidate(prompt=prompt_digest(call()), draw=draw, message={"content": text}) for draw in range(1000)]
    engine = ReplayEngine("pool", [msgspec.structs.replace(one, completion_tokens=2000) for one in pool])
    began = time.monotonic()
    done = in_time(all_of(engine))
    assert sum(usage.completion for _, usage in done) == 2_000_000
    assert time.monotonic() - began < 10


async def all_of(engine: ReplayEngine) -> list[tuple[Completion, Usage]]:
    return await asyncio.gather(*(completed(engine, replace(call(), draw=draw)) for draw in range(1000)))


# ── files ───────────────────────────────────────────────────────────────


def test_a_recording_survives_the_disk(tmp_path):
    engine = ScriptedEngine(Reply(text="Grüße 🦊 \u2028 and \x85 more", logprob=-0.5))
    _, trace = solve(Single(), engine=engine, prompt=ask_user("Hi", logprobs=True))
    pool = [record(done) for done in trace.passes]
    file = tmp_path / "pool.jsonl"
    file.write_bytes(b"\n".join(map(msgspec.json.encode, pool)) + b"\n\n")
    assert read_recording(file) == pool
    built = build(Replay(recording="pool.jsonl"), "pool", LaunchContext(base=tmp_path, logs=tmp_path))
    assert in_time(completed(built, trace.passes[0].call))[0] == trace.passes[0].completion


@pytest.mark.parametrize(
    "line", [b"hello", b'{"draw":1}', b'{"prompt":"a","draw":"b"}', b'{"prompt":"\xff"}', b"[" * 100_000], ids=range(5)
)
def test_a_line_that_cannot_be_read_is_named(tmp_path, line):
    file = tmp_path / "pool.jsonl"
    file.write_bytes(b'{"prompt":"a"}\n' + line + b"\n")
    with pytest.raises(SpecError, match=r"pool\.jsonl(:2: | cannot be read: line 2 is not UTF-8)"):
        read_recording(file)


def test_a_recording_that_is_not_there_is_named_when_the_engine_is_built(tmp_path):
    with pytest.raises(SpecError, match=r"there is no recording .*none\.jsonl"):
        build(Replay(recording="none.jsonl"), "pool", LaunchContext(base=tmp_path, logs=tmp_path))


def test_settings_that_cannot_work_are_named():
    assert dict(Replay(recording="x", speed=-1).validate(())) == {
        "speed": "-1 is negative; 0 answers immediately, 1 as fast as recorded"
    }
    assert command(Replay(recording="x"), LaunchContext(base=Path("/a"), logs=Path())) == "(no process) replays /a/x"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"engine": "replay", "recording": "x", "slots": 0}, Replay)


def test_a_last_token_without_a_text_may_be_missing_from_the_log_probabilities():
    assert token_ends([2, 0, 3], 5, 3) == [0, 2, 2, 5]
    assert token_ends([2, 3], 5, 3) == [0, 2, 5, 5]
    assert token_ends([2], 6, 3) == token_ends([], 6, 3) == [0, 2, 4, 6]
    assert token_ends([], 4, 0) == [4]


def test_a_pass_with_a_lower_limit_ends_after_its_share_of_the_time():
    async def seconds(bound: int | None) -> float:
        engine, asked = ReplayEngine("pool", [THOUGHT], speed=1.0), call()
        began = now()
        asked = asked if bound is None else replace(asked, prompt=asked.prompt.bounded(bound))
        async for _ in engine.stream(asked):
            pass
        return now() - began

    assert frozen(seconds(None)) == pytest.approx(0.1)
    assert frozen(seconds(2)) == pytest.approx(0.02 + 2 / 5 * 0.08)
