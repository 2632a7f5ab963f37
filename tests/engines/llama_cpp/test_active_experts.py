"""How many experts work: with a real mixture of random weights, through the real llama.cpp."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shlex
import struct
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from engines.asking import call, text_of
from ggufs import by_hand, random_mixture, string, text, uint32
from tierwise.catalog.architecture import read
from tierwise.engines import LlamaCpp
from tierwise.engines.llama_cpp.active_experts import rewriting
from tierwise.engines.llama_cpp.launch import build, command
from tierwise.engines.llama_cpp.preflight import preflight
from tierwise.engines.llama_cpp.worker import _rewritten
from tierwise.engines.settings import LaunchContext
from tierwise.spec.errors import Broken


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A mixture of 8 experts, 2 of which work on a token, with a cache folder of its own."""
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    model = random_mixture(tmp_path / "mixture.gguf", experts=8, active=2)
    return LaunchContext(base=tmp_path, logs=tmp_path, model=model)


def settings(**levers: object) -> LlamaCpp:
    return LlamaCpp(checkpoint="m", **{"context": 512, "slots": 1, "threads": 1, **levers})


def answers(site: LaunchContext, *wanted: int | None) -> list[str]:
    """What it says greedily with so many active experts; None for the checkpoint's own number."""

    async def ask(active: int | None) -> str:
        engine = build(settings(active_experts=active), "mixture", site)
        try:
            await engine.start()
            return await text_of(engine, call("Hello.", temperature=0, max_tokens=24))
        finally:
            await engine.stop()

    return [asyncio.run(asyncio.wait_for(ask(active), 60)) for active in wanted]


def rewritten(site: LaunchContext) -> list[Path]:
    return sorted((site.base / "cache" / "rewritten").rglob("*.gguf"))


def loaded(model: Path) -> str:
    """What llama.cpp's loader says of the file."""
    load = (
        "import sys, os, xllamacpp\n"
        "p = xllamacpp.CommonParams()\n"
        "p.model.path, p.verbosity, p.n_ctx, p.fit_params = sys.argv[1], 4, 128, False\n"
        "server = xllamacpp.Server(p)\n"
        "os._exit(0)\n"
    )
    return subprocess.run([sys.executable, "-c", load, model], capture_output=True, text=True, check=True).stderr


@pytest.mark.model
def test_another_number_of_active_experts_answers_otherwise_and_the_same_number_alike(site):
    pytest.importorskip("xllamacpp")
    own, two, one, five = answers(site, None, 2, 1, 5)
    assert own == two
    assert len({own, one, five}) == 3
    assert len(rewritten(site)) == 2


@pytest.mark.model
def test_the_loader_reports_the_number_that_was_set(site):
    pytest.importorskip("xllamacpp")
    answers(site, 5)
    (copy,) = rewritten(site)
    assert "n_expert_used         = 5" in loaded(copy)
    assert "n_expert_used         = 2" in loaded(site.model)


@pytest.mark.model
def test_the_copy_differs_in_one_number_is_made_once_and_its_hash_is_on_record(site):
    pytest.importorskip("xllamacpp")
    before = site.model.read_bytes()
    answers(site, 5)
    (copy,) = rewritten(site)
    made, content = copy.stat().st_mtime_ns, copy.read_bytes()
    assert [(old, new) for old, new in zip(before, content, strict=True) if old != new] == [(2, 5)]
    note = json.loads((copy.parent / "rewritten.json").read_text())
    assert note["sha256"] == hashlib.sha256(content).hexdigest()
    answers(site, 5)
    assert copy.stat().st_mtime_ns == made
    assert site.model.read_bytes() == before


@pytest.mark.model
def test_a_mixture_that_changed_is_copied_anew(site):
    pytest.importorskip("xllamacpp")
    answers(site, 5)
    random_mixture(site.model, experts=8, active=4)
    answers(site, 5)
    assert len(rewritten(site)) == 2


@pytest.mark.model
def test_the_cache_of_experts_wants_a_gpu_in_llama_cpps_own_words(site):
    """What our refusal stands on: should this change, offer the lever on the CPU too."""
    xllamacpp = pytest.importorskip("xllamacpp")
    assert not hasattr(xllamacpp.CommonParams(), "kv_overrides")
    start = (
        "import sys, xllamacpp\n"
        "p = xllamacpp.CommonParams()\n"
        "p.model.path, p.n_ctx, p.fit_params, p.moe_cache_size = sys.argv[1], 128, False, 1 << 20\n"
        "xllamacpp.Server(p)\n"
    )
    failed = subprocess.run([sys.executable, "-c", start, site.model], capture_output=True, text=True, check=False)
    assert failed.returncode
    assert "MoE cache requires a GPU backend" in failed.stderr


def test_an_external_server_is_told_with_a_flag_and_nothing_is_copied(site):
    flags = shlex.split(command(settings(active_experts=5, binary="llama-server"), site))
    assert dict(pairwise(flags))["--override-kv"] == "qwen3moe.expert_used_count=int:5"
    assert rewritten(site) == []


@pytest.mark.parametrize(
    ("active", "words"),
    [(9, "9 of 8 experts cannot be active; give 1 to 8"), (8, None), (2, None)],
)
def test_more_experts_than_there_are_cannot_work(site, active, words):
    found = dict(preflight(settings(active_experts=active), site))
    assert found.get("active_experts") == words


def test_a_dense_model_has_no_experts_to_choose_from(site):
    head = string("general.architecture", "llama"), string("tokenizer.chat_template", "x")
    by_hand(site.model, *head, string("tokenizer.ggml.model", "gpt2"))
    found = dict(preflight(settings(active_experts=2, moe_cache_mib=64, binary=sys.executable), site))
    assert found.keys() == {"active_experts", "moe_cache_mib"}
    assert "this checkpoint (llama) is dense and has no experts" in found["active_experts"]


def test_layers_that_route_by_a_table_keep_their_number(site):
    by_hand(
        site.model,
        string("general.architecture", "deepseek4"),
        string("tokenizer.chat_template", "x"),
        string("tokenizer.ggml.model", "gpt2"),
        uint32("deepseek4.expert_count", 384),
        uint32("deepseek4.expert_used_count", 6),
        uint32("deepseek4.hash_layer_count", 3),
    )
    assert dict(preflight(settings(active_experts=6), site)) == {}
    ((setting, why),) = preflight(settings(active_experts=8), site)
    assert (setting, "3 layers of this checkpoint (deepseek4) route by a table that holds 6" in why) == (
        "active_experts",
        True,
    )


def test_experts_that_differ_by_layer_have_no_one_number_to_change(site):
    per_layer = text("qwen3moe.expert_used_count") + b"\x09\0\0\0\x04\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0"
    by_hand(
        site.model,
        string("general.architecture", "qwen3moe"),
        string("tokenizer.chat_template", "x"),
        string("tokenizer.ggml.model", "gpt2"),
        uint32("qwen3moe.expert_count", 8),
        per_layer,
    )
    ((setting, why),) = preflight(settings(active_experts=3), site)
    assert (setting, "no single number of active experts for all layers" in why) == ("active_experts", True)


def test_a_cache_that_cannot_be_written_is_told_with_what_needs_none(site, monkeypatch):
    pytest.importorskip("xllamacpp")
    monkeypatch.setenv("TIERWISE_CACHE", "/proc/none")
    with pytest.raises(Broken, match=r"cannot copy mixture\.gguf with 5 active experts .*; set TIERWISE_CACHE"):
        answers(site, 5)


def test_a_split_mixture_is_rewritten_in_its_first_part_and_linked_to_the_others(site):
    first, second = (site.base / f"big-{number:05}-of-00002.gguf" for number in (1, 2))
    by_hand(
        first,
        string("general.architecture", "qwen3moe"),
        text("split.count") + struct.pack("<IH", 2, 2),
        uint32("qwen3moe.expert_count", 8),
        uint32("qwen3moe.expert_used_count", 2),
    )
    second.write_bytes(b"weights")
    wanted = rewriting(first, 5)
    copy = _rewritten(first, wanted)
    assert read(copy).active_experts == 5
    assert copy.with_name(second.name).samefile(second)
