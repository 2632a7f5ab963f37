"""llama.cpp as a deployment: its settings, and what a real process does that no fake would think of."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from ggufs import by_hand, string, uint32
from tierwise.catalog.families import family_of
from tierwise.engines import LlamaCpp
from tierwise.engines.engine import Site
from tierwise.engines.llama_cpp_checkpoint import thinking_switch
from tierwise.engines.llama_cpp_worker import Speculation
from tierwise.policies import Majority, Single
from tierwise.run import Action, discard
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Broken, Refused, SpecError
from tierwise.spec.sampling import Sampling
from tierwise.testing import ask_user, new_trace, tier

from .asking import call, chunks, completed, in_time, text_of, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.engines.launched import LaunchedEngine

HERE = Site(base=Path("/etc/tierwise"), logs=Path("/tmp"), model=Path("/models/my model.gguf"))


# ── settings ────────────────────────────────────────────────────────────


def command(**levers: Any) -> list[str]:
    return shlex.split(LlamaCpp(checkpoint="m", **levers).command(HERE))


def test_the_command_shown_is_the_one_that_runs_with_every_lever():
    *start, worker, settings = command(context=512, slots=3, threads=2, cache_type_k="q8_0", flash_attention=True)
    assert start == [sys.executable, "-P"]
    assert Path(worker).name == "llama_cpp_worker.py"
    assert (
        json.loads(settings).items()
        >= {
            "model": "/models/my model.gguf",
            "context": 512,
            "slots": 3,
            "threads": 2,
            "cache_type_k": "q8_0",
            "flash_attention": True,
        }.items()
    )


def test_an_external_server_gets_the_same_levers_as_flags_and_the_context_of_all_slots_together():
    flags = command(binary="llama-server", context=512, slots=3, threads=2, gpu_layers=99, flash_attention=False)
    given = dict(pairwise(flags))
    assert flags[0] == "llama-server"
    assert (given["--model"], given["--ctx-size"], given["--parallel"]) == ("/models/my model.gguf", "1536", "3")
    assert (given["--threads"], given["--n-gpu-layers"], given["--flash-attn"]) == ("2", "99", "off")
    assert (given["--fit"], given["--host"]) == ("off", "127.0.0.1")
    assert {"--metrics", "--no-webui"} <= set(flags)


def test_every_lever_of_the_table_that_is_a_flag_is_on_the_external_command_line():
    given = {
        "flash_attention": True,
        "gpu_layers": 9,
        "cpu_expert_layers": 4,
        "moe_cache_mib": 64,
        "active_experts": 4,
        "loras": {"a.gguf": 0.5},
        "mmproj": "p.gguf",
        "chat_template": "t.jinja",
        "speculative": Speculation(kind="draft-simple", model="d.gguf", tokens=4),
    }
    flags = command(binary="llama-server", **given)
    for lever in LlamaCpp.levers():
        if lever.scope == "launch" and lever.sets.startswith("--"):
            assert lever.sets.split(" ")[0].rstrip(",") in flags
            assert lever.name in LlamaCpp.__struct_fields__
    shown = dict(pairwise(flags))
    assert shown["--lora-scaled"] == "/etc/tierwise/a.gguf:0.5"
    assert (shown["--mmproj"], shown["--chat-template-file"]) == ("/etc/tierwise/p.gguf", "/etc/tierwise/t.jinja")
    assert (shown["--spec-type"], shown["--spec-draft-n-max"]) == ("draft-simple", "4")
    assert (shown["--spec-draft-model"], shown["--moe-cache-mib"]) == ("/etc/tierwise/d.gguf", "64")


def test_the_embedded_server_gets_the_same_levers_as_settings():
    spoken = Speculation(kind="ngram-simple", tokens=8, match=4)
    settings = json.loads(command(speculative=spoken, loras={"a.gguf": 0.5}, mmproj="p.gguf", prompt_cache_mib=64)[-1])
    assert settings["speculative"] == {"kind": "ngram-simple", "tokens": 8, "match": 4}
    assert settings["loras"] == {"/etc/tierwise/a.gguf": 0.5}
    assert (settings["mmproj"], settings["prompt_cache_mib"]) == ("/etc/tierwise/p.gguf", 64)


def test_the_path_of_an_external_server_starts_from_the_config_files_folder():
    assert command(binary="bin/llama-server")[0] == "/etc/tierwise/bin/llama-server"
    assert command(binary="/opt/llama-server")[0] == "/opt/llama-server"
    assert command(binary="~/llama-server")[0] == str(Path.home() / "llama-server")


def test_one_processor_that_we_may_use_is_left_to_others():
    threads = json.loads(command()[-1])["threads"]
    assert threads == max(1, len(os.sched_getaffinity(0)) - 1)


@pytest.mark.parametrize(
    ("levers", "field", "words"),
    [
        ({"checkpoint": "none"}, "checkpoint", "there is no checkpoint 'none'"),
        ({"cache_type_v": "q8_0", "flash_attention": False}, "cache_type_v", "flash attention"),
        ({"gpu_layers": 9}, "gpu_layers", "CPU build"),
        ({"moe_cache_mib": 64}, "moe_cache_mib", "CPU build"),
        ({"cpu_expert_layers": 4}, "cpu_expert_layers", "CPU build"),
        ({"speculative": Speculation(kind="draft-mtp")}, "speculative", "name a llama-server as `binary`"),
        ({"speculative": Speculation(kind="draft-simple")}, "speculative", "name its GGUF file as `model`"),
        ({"speculative": Speculation(kind="ngram-mod", model="m")}, "speculative", "needs no model"),
        ({"speculative": Speculation(kind="draft-simple", model="m", match=4)}, "speculative", "`match` belongs"),
    ],
)
def test_levers_that_cannot_work_are_named(levers, field, words):
    ((name, why),) = LlamaCpp(**{"checkpoint": "m", **levers}).problems(["m"])
    assert (name, words in why) == (field, True)


def test_levers_that_work_have_no_problems():
    for levers in ({"cache_type_v": "q8_0"}, {"gpu_layers": 9, "binary": "x"}, {"gpu_layers": 0}):
        assert list(LlamaCpp(checkpoint="m", **levers).problems(["m"])) == []


@pytest.mark.parametrize(
    "levers", [{"context": 64}, {"slots": 0}, {"threads": 0}, {"cache_type_k": "q3"}, {"ctx": 9}], ids=str
)
def test_levers_out_of_bounds_are_refused(levers):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"engine": "llama.cpp", "checkpoint": "m", **levers}, LlamaCpp)


def test_a_server_that_is_not_installed_is_named_before_anything_starts():
    ((setting, why),) = LlamaCpp(checkpoint="m", binary="llama-server-none").misfits(HERE)
    assert (setting, why[:44]) == ("binary", "there is no program 'llama-server-none' here")


WHOLE = (
    string("general.architecture", "llama"),
    string("tokenizer.ggml.model", "gpt2"),
    string("tokenizer.chat_template", "{{ messages }}"),
    uint32("llama.context_length", 2048),
)


def misfits(tmp_path: Path, *pairs: bytes, **levers: Any) -> dict[str, str]:
    """What cannot work with a GGUF file of these keys."""
    model = by_hand(tmp_path / "m.gguf", *(pairs or WHOLE))
    levers = {"context": 1024, "binary": sys.executable, **levers}
    return dict(LlamaCpp(checkpoint="m", **levers).misfits(Site(base=tmp_path, logs=tmp_path, model=model)))


def test_a_file_that_has_all_it_takes_fits(tmp_path):
    assert misfits(tmp_path) == {}


@pytest.mark.parametrize(
    ("pairs", "levers", "setting", "words"),
    [
        ((string("general.architecture", "clip"),), {}, "checkpoint", "name it as `mmproj`"),
        ((WHOLE[0], WHOLE[2]), {}, "checkpoint", "has no tokenizer"),
        ((WHOLE[0], WHOLE[1]), {}, "chat_template", "llama.cpp would take ChatML"),
        (WHOLE, {"context": 4096}, "context", "llama.cpp cuts it to the 2048 that the model was made for"),
        (WHOLE, {"mmproj": "none.gguf"}, "mmproj", "there is no file"),
        (WHOLE, {"chat_template": "none.jinja"}, "chat_template", "there is no file"),
        (WHOLE, {"loras": {"none.gguf": 1.0}}, "loras", "there is no file"),
        (WHOLE, {"speculative": Speculation(kind="draft-simple", model="none")}, "speculative", "there is no file"),
    ],
)
def test_what_cannot_work_with_the_files_is_named_before_anything_starts(tmp_path, pairs, levers, setting, words):
    found = misfits(tmp_path, *pairs, **levers)
    assert list(found) == [setting]
    assert words in found[setting]


def test_a_checkpoint_that_is_no_gguf_file_is_named_before_anything_starts(tmp_path):
    (tmp_path / "text.gguf").write_text("hello")
    for model, words in ((tmp_path / "text.gguf", "is not a GGUF file"), (tmp_path, "llama.cpp runs GGUF files")):
        site = Site(base=tmp_path, logs=tmp_path, model=model)
        ((setting, why),) = LlamaCpp(checkpoint="m", binary=sys.executable).misfits(site)
        assert (setting, words in why) == ("checkpoint", True)


def test_a_template_that_is_named_takes_the_place_of_the_one_that_lacks(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    assert misfits(tmp_path, WHOLE[0], WHOLE[1], chat_template="t.jinja") == {}


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(active_experts=4), "make a second deployment"),
        (Sampling(priority=1), "serves in the order of arrival"),
        (Sampling(thinking_tokens=0), "set `thinking: false` instead"),
    ],
)
def test_request_levers_that_llama_cpp_has_no_word_for_are_refused_with_what_to_do(sampling, words):
    ((_, why),) = LlamaCpp(checkpoint="m").refuses(sampling)
    assert words in why


def test_the_switch_for_thinking_is_the_familys_or_what_the_template_asks_for(tmp_path):
    def switch(architecture: str, template: str) -> Any:
        keys = string("general.architecture", architecture), string("tokenizer.chat_template", template)
        return thinking_switch(by_hand(tmp_path / "m.gguf", *keys))

    assert switch("deepseek4", "") == family_of("deepseek_v4").thinking.switch
    assert switch("none", "{% if enable_thinking %}") == ({"enable_thinking": True}, {"enable_thinking": False})
    assert switch("none", "{{ messages }}") is None


def test_a_checkpoint_that_was_not_pulled_is_named_before_anything_starts():
    pytest.importorskip("xllamacpp")
    with pytest.raises(SpecError, match="checkpoint 'm' is not here yet; run `tierwise pull` first"):
        LlamaCpp(checkpoint="m").build("small", Site(base=Path(), logs=Path()))


SERVER = """\
#!{python}
import asyncio, itertools, sys
from tierwise.testing_server import FakeServer

flags = dict(itertools.pairwise(sys.argv))

async def main():
    server = FakeServer("served by " + flags["--alias"])
    await server.listen(int(flags["--port"]))
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_an_external_server_is_started_spoken_to_and_ended(tmp_path):
    program = tmp_path / "bin" / "llama-server"
    program.parent.mkdir()
    program.write_text(SERVER.format(python=sys.executable))
    program.chmod(0o755)
    site = Site(base=tmp_path, logs=tmp_path, model=tmp_path / "model.gguf")
    engine = LlamaCpp(checkpoint="m", binary="bin/llama-server").build("small", site)

    async def main() -> None:
        try:
            await engine.start()
            assert engine.health().state == "ready"
            assert await text_of(engine, call()) == "served by small"
        finally:
            await engine.stop()
        assert engine.health().state == "stopped"
        with pytest.raises(Broken, match="stopped"):
            await chunks(engine, call())

    in_time(main())


def test_a_model_that_does_not_load_gives_the_engines_own_reason_within_ten_seconds(tmp_path):
    pytest.importorskip("xllamacpp")
    model = by_hand(tmp_path / "unknown.gguf", string("general.architecture", "none"))
    engine = LlamaCpp(checkpoint="m").build("small", Site(base=tmp_path, logs=tmp_path, model=model))

    async def main() -> None:
        began = time.monotonic()
        with pytest.raises(Broken, match="unknown model architecture: 'none'"):
            await engine.start()
        assert time.monotonic() - began < 10
        assert engine.health().state == "failed"
        with pytest.raises(Broken, match="unknown model architecture"):
            await chunks(engine, call())
        await engine.stop()

    in_time(main())


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

    async def __call__(self, chunk: Chunk) -> bool:
        self.words += chunk.is_output
        if self.words == 3 and chunk.is_output:
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
        assert "died in mid-answer" in first.error
        assert (first.usage.completion, second.usage.completion) == (3, 12)
        assert (engine.health().state, engine.health().restarts) == ("ready", before + 1)

    run(main())


@pytest.mark.model
def test_a_pass_that_the_user_was_watching_ends_as_broken(mortal):
    engine, run = mortal

    async def main() -> None:
        trace = new_trace()
        action = Action(tier(Single(), engine, budget=Budget(seconds=30)), trace)
        with pytest.raises(Broken, match="died in mid-answer") as caught:
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
