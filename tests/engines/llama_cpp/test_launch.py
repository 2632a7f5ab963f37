"""llama.cpp as a deployment: its settings, its command line, and what cannot work here."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engines.asking import call, chunks, in_time, text_of
from ggufs import by_hand, string, uint32
from tierwise.catalog.families import family_of
from tierwise.engines import LlamaCpp
from tierwise.engines.llama_cpp.launch import build, command, launch
from tierwise.engines.llama_cpp.levers import LEVERS
from tierwise.engines.llama_cpp.preflight import notes, preflight
from tierwise.engines.llama_cpp.prompting import thinking_switch
from tierwise.engines.llama_cpp.worker import Speculation
from tierwise.engines.settings import LaunchContext
from tierwise.spec.errors import Broken, SpecError
from tierwise.spec.sampling import Sampling

HERE = LaunchContext(base=Path("/etc/tierwise"), logs=Path("/tmp"), model=Path("/models/my model.gguf"))


# ── settings ────────────────────────────────────────────────────────────


def command_line(**levers: Any) -> list[str]:
    return shlex.split(command(LlamaCpp(checkpoint="m", **levers), HERE))


def test_the_command_shown_is_the_one_that_runs_with_every_lever():
    *start, worker, settings = command_line(context=512, slots=3, threads=2, cache_type_k="q8_0", flash_attention=True)
    assert start == [sys.executable, "-P"]
    assert Path(worker).name == "worker.py"
    assert (
        json.loads(settings).items()
        >= {
            "model": "/models/my model.gguf",
            "context": 512,
            "slots": 4,
            "threads": 2,
            "cache_type_k": "q8_0",
            "flash_attention": True,
        }.items()
    )


def test_an_external_server_gets_the_same_levers_as_flags_and_the_context_of_all_slots_together():
    flags = command_line(binary="llama-server", context=512, slots=3, threads=2, gpu_layers=99, flash_attention=False)
    given = dict(pairwise(flags))
    assert flags[0] == "llama-server"
    assert (given["--model"], given["--ctx-size"], given["--parallel"]) == ("/models/my model.gguf", "2048", "4")
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
    flags = command_line(binary="llama-server", **given)
    for lever in LEVERS:
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
    settings = json.loads(
        command_line(speculative=spoken, loras={"a.gguf": 0.5}, mmproj="p.gguf", prompt_cache_mib=64)[-1]
    )
    assert settings["speculative"] == {"kind": "ngram-simple", "tokens": 8, "match": 4}
    assert settings["loras"] == {"/etc/tierwise/a.gguf": 0.5}
    assert (settings["mmproj"], settings["prompt_cache_mib"]) == ("/etc/tierwise/p.gguf", 64)


@pytest.mark.parametrize(("folder", "cache_mib"), [(None, 64), (Path("/dev/shm/slots"), 32)])
def test_llama_cpp_keeps_prompts_in_all_of_its_memory_if_it_has_no_folder_for_shared_ones(folder, cache_mib):
    embedded, external = (
        launch(LlamaCpp(checkpoint="m", prompt_cache_mib=64, binary=binary), "m", HERE.model, 0, HERE, folder).command
        for binary in (None, "/opt/llama-server")
    )
    assert json.loads(embedded[-1])["prompt_cache_mib"] == cache_mib
    assert dict(pairwise(external))["--cache-ram"] == str(cache_mib)


def test_the_path_of_an_external_server_starts_from_the_config_files_folder():
    assert command_line(binary="bin/llama-server")[0] == "/etc/tierwise/bin/llama-server"
    assert command_line(binary="/opt/llama-server")[0] == "/opt/llama-server"
    assert command_line(binary="~/llama-server")[0] == str(Path.home() / "llama-server")


def test_one_processor_that_we_may_use_is_left_to_others():
    threads = json.loads(command_line()[-1])["threads"]
    assert threads == max(1, len(os.sched_getaffinity(0)) - 1)


@pytest.mark.parametrize(
    ("levers", "field", "words"),
    [
        ({"checkpoint": "none"}, "checkpoint", "there is no checkpoint 'none'"),
        ({"cache_type_v": "q8_0", "flash_attention": False}, "cache_type_v", "flash attention"),
        ({"gpu_layers": 9}, "gpu_layers", "CPU build"),
        ({"moe_cache_mib": 64}, "moe_cache_mib", "CPU build"),
        ({"cpu_expert_layers": 4}, "cpu_expert_layers", "CPU build"),
        ({"speculative": Speculation(kind="draft-mtp")}, "speculative", "set `binary` to a llama-server"),
        ({"speculative": Speculation(kind="draft-simple")}, "speculative", "set `model` to its GGUF file"),
        ({"speculative": Speculation(kind="ngram-mod", model="m")}, "speculative", "needs no model"),
        ({"speculative": Speculation(kind="draft-simple", model="m", match=4)}, "speculative", "`match` is only for"),
    ],
)
def test_levers_that_cannot_work_are_named(levers, field, words):
    ((name, why),) = LlamaCpp(**{"checkpoint": "m", **levers}).validate(["m"])
    assert (name, words in why) == (field, True)


def test_levers_that_work_have_no_problems():
    for levers in ({"cache_type_v": "q8_0"}, {"gpu_layers": 9, "binary": "x"}, {"gpu_layers": 0}):
        assert list(LlamaCpp(checkpoint="m", **levers).validate(["m"])) == []


@pytest.mark.parametrize(
    "levers", [{"context": 64}, {"slots": 0}, {"threads": 0}, {"cache_type_k": "q3"}, {"ctx": 9}], ids=str
)
def test_levers_out_of_bounds_are_refused(levers):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"engine": "llama.cpp", "checkpoint": "m", **levers}, LlamaCpp)


def test_a_server_that_is_not_installed_is_named_before_anything_starts():
    ((setting, why),) = preflight(LlamaCpp(checkpoint="m", binary="llama-server-none"), HERE)
    assert (setting, why[:40]) == ("binary", "there is no program 'llama-server-none';")


WHOLE = (
    string("general.architecture", "llama"),
    string("tokenizer.ggml.model", "gpt2"),
    string("tokenizer.chat_template", "{{ messages }}"),
    uint32("llama.context_length", 2048),
)


def problems_here(tmp_path: Path, *pairs: bytes, **levers: Any) -> dict[str, str]:
    """What cannot work with a GGUF file of these keys."""
    model = by_hand(tmp_path / "m.gguf", *(pairs or WHOLE))
    levers = {"context": 1024, "binary": sys.executable, **levers}
    return dict(preflight(LlamaCpp(checkpoint="m", **levers), LaunchContext(base=tmp_path, logs=tmp_path, model=model)))


def test_a_file_that_has_all_it_takes_fits(tmp_path):
    assert problems_here(tmp_path) == {}


@pytest.mark.parametrize(
    ("pairs", "levers", "setting", "words"),
    [
        ((string("general.architecture", "clip"),), {}, "checkpoint", "set it as `mmproj`"),
        ((WHOLE[0], WHOLE[2]), {}, "checkpoint", "has no tokenizer"),
        ((WHOLE[0], WHOLE[1]), {}, "chat_template", "llama.cpp would use ChatML"),
        (WHOLE, {"context": 4096}, "context", "4096 is more than the model's 2048"),
        (WHOLE, {"mmproj": "none.gguf"}, "mmproj", "there is no file"),
        (WHOLE, {"chat_template": "none.jinja"}, "chat_template", "there is no file"),
        (WHOLE, {"loras": {"none.gguf": 1.0}}, "loras", "there is no file"),
        (WHOLE, {"speculative": Speculation(kind="draft-simple", model="none")}, "speculative", "there is no file"),
    ],
)
def test_what_cannot_work_with_the_files_is_named_before_anything_starts(tmp_path, pairs, levers, setting, words):
    found = problems_here(tmp_path, *pairs, **levers)
    assert list(found) == [setting]
    assert words in found[setting]


def test_a_checkpoint_that_is_no_gguf_file_is_named_before_anything_starts(tmp_path):
    (tmp_path / "text.gguf").write_text("hello")
    for model, words in ((tmp_path / "text.gguf", "is not a GGUF file"), (tmp_path, "llama.cpp needs a GGUF file")):
        site = LaunchContext(base=tmp_path, logs=tmp_path, model=model)
        ((setting, why),) = preflight(LlamaCpp(checkpoint="m", binary=sys.executable), site)
        assert (setting, words in why) == ("checkpoint", True)


@pytest.mark.parametrize(
    ("template", "other", "count"),
    [("{{ messages }}", None, 1), ("{{ messages }}{{ tools }}", None, 0), ("{{ messages }}", "{{ tools }}", 0)],
)
def test_a_chat_template_without_tools_is_noted_before_anything_starts(tmp_path, template, other, count):
    model = by_hand(tmp_path / "m.gguf", WHOLE[0], WHOLE[1], string("tokenizer.chat_template", template))
    settings = LlamaCpp(checkpoint="m", chat_template=None if other is None else "t.jinja")
    if other is not None:
        (tmp_path / "t.jinja").write_text(other)
    found = list(notes(settings, LaunchContext(base=tmp_path, logs=tmp_path, model=model)))
    assert ["the chat template has no tools" in note for note in found] == [True] * count


def test_a_template_that_is_named_takes_the_place_of_the_one_that_lacks(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    assert problems_here(tmp_path, WHOLE[0], WHOLE[1], chat_template="t.jinja") == {}


@pytest.mark.parametrize(
    ("sampling", "words"),
    [
        (Sampling(active_experts=4), "add a second deployment"),
        (Sampling(priority=1), "serves requests in order of arrival"),
        (Sampling(thinking_tokens=0), "set `thinking: false` instead"),
    ],
)
def test_request_levers_that_llama_cpp_has_no_word_for_are_refused_with_what_to_do(sampling, words):
    ((_, why),) = LlamaCpp(checkpoint="m").unsupported(sampling)
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
    with pytest.raises(SpecError, match="checkpoint 'm' is not downloaded; run `tierwise pull` first"):
        build(LlamaCpp(checkpoint="m"), "small", LaunchContext(base=Path(), logs=Path()))


SERVER = """\
#!{python}
import asyncio, itertools, sys
from tierwise.testing.server import FakeServer

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
    site = LaunchContext(base=tmp_path, logs=tmp_path, model=tmp_path / "model.gguf")
    engine = build(LlamaCpp(checkpoint="m", binary="bin/llama-server"), "small", site)

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
    engine = build(LlamaCpp(checkpoint="m"), "small", LaunchContext(base=tmp_path, logs=tmp_path, model=model))

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
