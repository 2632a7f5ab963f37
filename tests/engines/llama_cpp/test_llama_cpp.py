"""llama.cpp at work: what a real process does that no fake would think of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engines.asking import call, chunks, completed, in_time, text_of, until
from tierwise.engines.llama_cpp.worker import Speculation
from tierwise.engines.settings import LaunchContext
from tierwise.policies import BestOfN, Majority, Single
from tierwise.run import Action, discard
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.capabilities import Capabilities
from tierwise.spec.errors import Broken, Refused
from tierwise.testing import ask_user, new_trace, tier

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.engines.process.launched import LaunchedEngine

HERE = LaunchContext(base=Path("/etc/tierwise"), logs=Path("/tmp"), model=Path("/models/my model.gguf"))


# ── the real thing ──────────────────────────────────────────────────────


@pytest.mark.model
def test_passes_in_a_row_do_not_trip_over_connections_that_llama_cpp_has_closed(llama):
    async def main() -> None:
        for _ in range(10):
            await text_of(llama.engine, call(max_tokens=1))

    llama.run(main())


@pytest.mark.model
def test_what_was_computed_before_is_counted_as_cached(llama):
    async def main() -> None:
        first, second = [(await completed(llama.engine, call("Say it twice.", max_tokens=1)))[1] for _ in range(2)]
        assert second.prompt == first.prompt
        assert second.prompt > second.cached > second.prompt // 2

    llama.run(main())


TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.model
def test_a_template_without_tools_is_reported_by_the_running_engine(llama):
    async def main() -> None:
        await text_of(llama.engine, call(max_tokens=1))
        assert llama.engine.capabilities.tools is False  # of SmolLM2

    llama.run(main())


@pytest.mark.model
def test_candidates_with_tools_and_a_clients_logprobs_with_tools_are_answered(llama):
    async def main() -> None:
        own = tier(BestOfN(n=2), llama.engine)
        deployment = replace(own.deployment, capabilities=Capabilities(logprobs_with_tools=False))
        prompt = ask_user("2+2?").setting(tools=[TOOL], max_tokens=4)
        for asked in (prompt, prompt.setting(logprobs=True)):
            trace = new_trace()
            answer = await Action(replace(own, deployment=deployment), trace).solve(asked)
            assert {done.outcome for done in trace.passes} == {"finished"}
            assert bool(answer.completion.logprobs) is bool(asked.fields.get("logprobs"))

    llama.run(main())


SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PERSON = "Give me a person with name and age as JSON."


@pytest.mark.model
@pytest.mark.parametrize(
    "form",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "strict": True, "schema": SCHEMA}}},
        {"response_format": {"type": "json_object", "schema": SCHEMA}},
        {"json_schema": SCHEMA},
    ],
    ids=["openai", "json_object with a schema", "llama.cpp's own field"],
)
@pytest.mark.parametrize(
    "sampling", [{"temperature": 0}, {"temperature": 1.2, "logprobs": True}], ids=["greedy", "hot"]
)
def test_a_schema_binds_the_answer(llama, form, sampling):
    async def main() -> None:
        said, _ = await completed(llama.engine, call(PERSON, max_tokens=60, **form, **sampling))
        assert set(json.loads(said.text)) == {"name", "age"}

    llama.run(main())


@pytest.mark.model
def test_json_and_grammars_bind_the_answer_too(llama):
    async def main() -> None:
        free = await text_of(llama.engine, call(PERSON, max_tokens=4, temperature=0))
        bound = await text_of(
            llama.engine, call(PERSON, max_tokens=4, temperature=0, response_format={"type": "json_object"})
        )
        assert free.startswith("```")
        assert bound.startswith("{")
        assert await text_of(llama.engine, call(grammar='root ::= "yes" | "no"')) in ("yes", "no")

    llama.run(main())


@pytest.mark.model
def test_an_image_for_a_model_that_cannot_see_is_refused_and_is_nobodys_failure(llama):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}

    async def main() -> None:
        with pytest.raises(Refused, match="image input is not supported"):
            await chunks(llama.engine, call(({"role": "user", "content": [image]},)))

    llama.run(main())


@pytest.mark.model
def test_embeddings_and_echo_are_refused_before_they_reach_it(llama):
    asked = call()
    embeds = replace(asked, prompt=replace(asked.prompt, messages=(), raw="a", embeds="a"))
    echo = replace(asked, prompt=replace(asked.prompt, messages=(), raw="a", fields={"echo": True}))

    async def main() -> None:
        with pytest.raises(Refused, match=r"has no embeddings; run `llama-server --embeddings`"):
            await chunks(llama.engine, embeds)
        with pytest.raises(Refused, match=r"echo: .* neither repeats a prompt"):
            await chunks(llama.engine, echo)

    llama.run(main())


@pytest.mark.model
@pytest.mark.parametrize("name", ["n", "n_cmpl"])
def test_choices_that_llama_cpp_would_not_count_never_reach_it(llama, name):
    async def main() -> None:
        with pytest.raises(Refused, match=f"{name}: a pass is one completion"):
            await chunks(llama.engine, call(**{name: 2}))

    llama.run(main())


@pytest.mark.model
def test_aborted_passes_are_counted_to_within_a_few_tokens_of_what_llama_cpp_computed(llama):
    async def abort(number: int) -> Usage:
        told, words = Usage(), 0
        stream = llama.engine.stream(call(f"Tell me story {number}.", seed=number, max_tokens=100))
        async for chunk in stream:
            told, words = chunk.usage or told, words + chunk.is_output
            if words == 1 + number % 5:
                break
        await stream.aclose()
        return told

    async def main() -> None:
        await llama.until_idle()
        names = ("prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total")
        before = [await llama.metric(name) for name in names]
        told = sum(await asyncio.gather(*(abort(number) for number in range(12))), Usage())
        await llama.until_idle()
        fresh, cached, predicted = [await llama.metric(name) - value for name, value in zip(names, before, strict=True)]
        assert (told.prompt, told.cached) == (fresh + cached, cached)
        assert 0 <= predicted - told.completion <= 5 * 12
        assert told.exact

    llama.run(main())


@pytest.mark.model
def test_a_pass_that_is_left_before_its_first_word_is_charged_its_prompt(llama):
    async def main() -> None:
        stream = llama.engine.stream(call("An unheard-of beginning: " + "word " * 150))
        first = await anext(stream)
        await stream.aclose()
        await llama.until_idle()
        assert first.usage is not None
        assert not first.is_output
        assert (first.usage.prompt > 150, first.usage.completion, first.usage.exact) == (True, 0, False)

    llama.run(main())


@pytest.mark.model
def test_passes_beyond_the_slots_wait_their_turn(llama):
    async def main() -> None:
        done = await asyncio.gather(*(completed(llama.engine, call(f"{n}", max_tokens=3)) for n in range(10)))
        assert [usage.completion for _, usage in done] == [3] * 10

    llama.run(main())


# ── death ───────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def mortal(new_llama_cpp: Callable[..., LaunchedEngine]):
    """An engine that tests may kill: it comes back."""
    engine = new_llama_cpp(slots=3, context=256)
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start())
            yield engine, lambda main: runner.run(asyncio.wait_for(main, 60))
        finally:
            runner.run(engine.stop())


@pytest.mark.model
def test_an_answer_that_fills_the_context_ends_for_its_length(mortal):
    engine, run = mortal

    async def main() -> None:
        said, usage = await completed(engine, call("word " * 170, max_tokens=500, temperature=0, ignore_eos=True))
        assert said.finish == "length"
        assert usage.prompt + usage.completion == 256

    run(main())


def kill(engine: LaunchedEngine) -> None:
    pid = engine.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


class Killing:
    """A user who is shown an answer, or waits for the whole of it; at the third word the engine is killed, once."""

    def __init__(self, engine: LaunchedEngine, *, sees: bool) -> None:
        self._engine = engine
        self._sees = sees
        self.words = 0

    async def __call__(self, chunks: Sequence[Chunk]) -> bool:
        before = self.words
        self.words += sum(chunk.is_output for chunk in chunks)
        if before < 3 <= self.words:
            kill(self._engine)
        return self._sees


@pytest.mark.model
def test_a_pass_that_nobody_has_seen_is_repeated_once_after_the_engine_was_killed(mortal):
    engine, run = mortal

    async def main() -> None:
        before = engine.health().restarts
        trace = new_trace()
        action = Action(tier(Single(), engine, budget=Budget(seconds=30)), trace)
        answer = await action.solve(ask_user("Tell me a story.", max_tokens=12), Killing(engine, sees=False))
        first, second = trace.passes
        assert answer.completion.text == second.completion.text
        assert (first.outcome, second.outcome, second.retry_of) == ("failed", "finished", 0)
        assert "broke off during an answer" in first.error
        assert 3 <= first.usage.completion < 12  # some words were on their way when it was killed
        assert second.usage.completion == 12
        assert (engine.health().state, engine.health().restarts) == ("ready", before + 1)

    run(main())


@pytest.mark.model
def test_a_pass_that_the_user_was_watching_ends_as_broken(mortal):
    engine, run = mortal

    async def main() -> None:
        trace = new_trace()
        action = Action(tier(Single(), engine, budget=Budget(seconds=30)), trace)
        with pytest.raises(Broken, match="broke off during an answer") as caught:
            await action.solve(ask_user("Tell me a story.", max_tokens=12), Killing(engine, sees=True))
        assert caught.value.was_shown
        assert engine.health().state == "restarting"
        assert "killed by SIGKILL" in engine.health().reason
        assert [done.outcome for done in trace.passes] == ["failed"]
        assert await text_of(engine, call(max_tokens=3))
        assert engine.health().state == "ready"
        assert engine.health().resident_bytes

    run(main())


@pytest.mark.model
def test_every_vote_survives_the_death_of_the_engine(mortal):
    engine, run = mortal

    async def main() -> None:
        trace = new_trace()
        action = Action(tier(Majority(n=3), engine, slots=3, budget=Budget(seconds=30)), trace)
        solving = asyncio.create_task(
            action.solve(ask_user("Tell me a story.", max_tokens=24, temperature=1.0), discard)
        )
        await until(lambda: trace.started == 3)
        await asyncio.sleep(0.1)
        kill(engine)
        await solving
        outcomes = [done.outcome for done in trace.passes]
        assert outcomes[:3] == ["failed"] * 3
        assert "finished" in outcomes[3:]
        assert {done.retry_of for done in trace.passes[3:]} == {0, 1, 2}

    run(main())


THINKING = """\
{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}
{%- if m.reasoning_content %}{{ '<think>\\n' + m.reasoning_content + '\\n</think>\\n\\n' }}{%- endif %}
{{- m.content + '<|im_end|>\\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}
{%- else %}{{ '<think>\\n' }}{%- endif %}{%- endif %}
"""
"""As of Qwen3.5: the prompt opens the block of thoughts, or closes it at once. llama.cpp knows it by its first half."""


@pytest.mark.model
def test_thinking_is_switched_and_cut_where_the_request_says(new_llama_cpp, tmp_path):
    template = tmp_path / "thinking.jinja"
    template.write_text(THINKING)
    engine = new_llama_cpp(chat_template=str(template), slots=1)
    question = "What is 7 times 8? Explain at length."

    async def main() -> None:
        try:
            await engine.start()
            budget = {"temperature": 0, "max_tokens": 48}
            long, _ = await completed(engine, call(question, **budget))
            short, _ = await completed(engine, call(question, thinking_tokens=6, **budget))
            none, _ = await completed(engine, call(question, thinking=False, **budget))
            assert len(short.reasoning) < len(long.reasoning)
            assert long.reasoning.startswith(short.reasoning.rstrip())
            assert (none.reasoning, bool(none.text)) == ("", True)
        finally:
            await engine.stop()

    in_time(main(), 60)


@pytest.mark.model
@pytest.mark.parametrize("kind", ["draft-simple", "ngram-simple", "ngram-map-k", "ngram-mod"])
def test_guessed_tokens_change_no_answer(new_llama_cpp, llama, smollm2, kind):
    draft = str(smollm2) if kind == "draft-simple" else None
    engine = new_llama_cpp(speculative=Speculation(kind=kind, model=draft, tokens=4, match=None if draft else 4))
    asked = call("Count: one two three one two three one two", temperature=0, max_tokens=24, cache_prompt=False)

    async def main() -> str:
        try:
            await engine.start()
            return await text_of(engine, asked)
        finally:
            await engine.stop()

    assert in_time(main(), 60) == llama.run(text_of(llama.engine, asked))
