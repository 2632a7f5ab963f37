import hashlib
import json
import os
import subprocess

import pytest

from tierwise.catalog import CheckpointError, known_hash, local_path
from tierwise.catalog.folder import needed

FILES = {
    "config.json": json.dumps({"model_type": "llama"}).encode(),
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model-00001-of-00002.safetensors": os.urandom(20_000),
    "model-00002-of-00002.safetensors": os.urandom(10_000),
    "model.safetensors.index.json": json.dumps(
        {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    ).encode(),
}
BESIDE = {"README.md": b"read me", "pytorch_model.bin": b"the same again", "onnx/model.safetensors": b"elsewhere"}


def hash_of(files):
    lines = sorted(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


HASH = hash_of(FILES)


@pytest.fixture
def folder(bench):
    """A checkpoint folder beside the config, with files that inference does not need."""
    path = bench.base / "model"
    for name, content in {**FILES, **BESIDE}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
        (["config.json", "pytorch_model.bin"], ["config.json", "pytorch_model.bin"]),
        (
            ["pytorch_model-1.bin", "pytorch_model.bin.index.json"],
            ["pytorch_model-1.bin", "pytorch_model.bin.index.json"],
        ),
        (["model.safetensors", "pytorch_model.bin.index.json"], ["model.safetensors"]),
        (["model-1.safetensors", "consolidated-1.safetensors"], ["model-1.safetensors"]),
        (["consolidated.safetensors", "params.json"], ["consolidated.safetensors", "params.json"]),
        (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"]),
        (["tokenizer.model", "vocab.txt", "modeling_x.py"], ["modeling_x.py", "tokenizer.model", "vocab.txt"]),
        (["additional_chat_templates/tool.jinja"], ["additional_chat_templates/tool.jinja"]),
        (["README.md", ".gitattributes", "a.png", "requirements.txt", "LICENSE.txt", "m.gguf", "optimizer.bin"], []),
        (["original/config.json", "../config.json", "/config.json", ".cache/x.json", "a/../b.json"], []),
    ],
)
def test_what_inference_needs_is_told_by_name(names, kept):
    assert needed(names) == kept


def test_a_folder_is_used_where_it_lies_and_hashed_without_what_nobody_loads(bench, folder):
    assert bench.pull(bench.checkpoint("file:model", sha256=HASH)) == folder
    assert not (bench.cache / "checkpoints").exists()


def test_the_hash_is_what_sha256sum_and_sort_compute(bench, folder):
    written = subprocess.run(
        "sha256sum *.json *.jinja *.safetensors | LC_ALL=C sort | sha256sum",
        shell=True,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    unpinned = bench.checkpoint("file:model")
    bench.pull(unpinned)
    assert known_hash(unpinned, cache=bench.cache) == written.stdout.split()[0] == HASH
    assert bench.steps[-1] == f"tiny: its sha256 is {HASH}; pin it in the config file"


def test_a_folder_is_hashed_once_and_then_only_what_was_touched(bench, folder):
    pinned = bench.checkpoint("file:model", sha256=HASH)
    assert local_path(pinned, cache=bench.cache) is None
    bench.pull(pinned)
    assert bench.steps == ["tiny: verifying model"]
    bench.pull(pinned)
    assert bench.steps == []
    assert local_path(pinned, cache=bench.cache) == folder
    os.utime(folder / "tokenizer.json")
    assert local_path(pinned, cache=bench.cache) is None
    bench.pull(pinned)
    assert [done for done, _, _ in bench.told] == [sum(len(FILES[name]) for name in sorted(FILES))]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"[]"), "changed: tokenizer.json"),
        (lambda folder: (folder / "chat_template.jinja").unlink(), "missing: chat_template.jinja"),
        (lambda folder: (folder / "vocab.txt").write_bytes(b""), "new: vocab.txt"),
    ],
)
def test_a_folder_that_changed_is_told_file_by_file(bench, folder, damage, words):
    pinned = bench.checkpoint("file:model", sha256=HASH)
    bench.pull(pinned)
    damage(folder)
    assert local_path(pinned, cache=bench.cache) is None
    with pytest.raises(CheckpointError, match=words) as refused:
        bench.pull(pinned)
    assert f"expected {HASH}" in str(refused.value)


def test_a_folder_that_lacks_a_shard_is_refused(bench, folder):
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks 1 of its 2 .*: model-00002-of-00002\.safetensors"):
        bench.pull(bench.checkpoint("file:model"))


def test_a_folder_that_is_no_checkpoint_is_refused(bench):
    (bench.base / "model").mkdir()
    with pytest.raises(CheckpointError, match=r"has no config\.json, so it is not a checkpoint folder"):
        bench.pull(bench.checkpoint("file:model"))


def test_a_folder_is_no_part_of_a_file(bench, folder):
    (bench.base / "m.gguf").write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match="is a folder; name the file in it"):
        bench.pull(bench.checkpoint("file:m.gguf", "file:model"))
