import hashlib
import json
import os
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1"}  # or it asks for more than was asked of it
REVISION = "0123456789abcdef0123456789abcdef01234567"
SOURCE = f"hf:owner/repo@{REVISION}"
WEIGHTS = b"w" + os.urandom(199_999)
FILES = {
    "config.json": json.dumps({"model_type": "llama"}).encode(),
    "tokenizer.json": b'{"a": 1}',
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": WEIGHTS,
}
HASH = hashlib.sha256(
    "".join(sorted(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in FILES.items())).encode()
).hexdigest()


def listed(name, content):
    """A file as the Hub lists it."""
    if name.endswith((".safetensors", ".bin", ".gguf")):
        large = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 133}
        return {"rfilename": name, "size": len(content), "blobId": "0" * 40, "lfs": large}
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return {"rfilename": name, "size": len(content), "blobId": blob}


@pytest.fixture
def hub(shelf):
    """A repository on the shelf, and the paths of the files that were asked of it."""

    class Repository:
        def __init__(self):
            self.hold({**FILES, "README.md": b"read me", "pytorch_model.bin": b"again", "original/x.json": b"{}"})

        def hold(self, files):
            for name, content in files.items():
                shelf.files[f"/owner/repo/resolve/{REVISION}/{name}"] = content
            siblings = [listed(name, content) for name, content in files.items()]
            self.answer(json.dumps({"id": "owner/repo", "siblings": siblings}))

        def answer(self, text):
            shelf.files[f"/api/models/owner/repo/revision/{REVISION}?blobs=true"] = text.encode()

        @property
        def asked(self):
            paths = [request.path for request in shelf.requests if request.method == "GET"]
            shelf.requests.clear()
            return sorted(path.rpartition("/")[2] for path in paths if "/resolve/" in path)

    return Repository()


@pytest.fixture
def pull(shelf, bench, tmp_path):
    """Pull from a hub on the loopback, in a process of its own, since huggingface_hub reads its settings at import."""

    def pull(source=SOURCE, sha256=None, dies_at=None, first="", **variables):
        settings = {"HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **QUIET, **variables}
        checkpoint = bench.checkpoint(source, sha256=sha256)
        if dies_at:
            with bench.start_elsewhere(checkpoint, dies_at=dies_at, first=first, **settings) as process:
                assert process.wait(60) < 0
            return None
        answer = bench.pull_elsewhere(checkpoint, **settings)
        return answer.get("error") or Path(answer["path"])

    return pull


def content_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_repository_arrives_as_a_folder_of_what_inference_needs(hub, pull, bench):
    folder = pull(sha256=HASH)
    assert folder == bench.cache / "checkpoints" / HASH[:16] / "tiny"
    assert content_of(folder) == FILES
    assert hub.asked == sorted(FILES)
    assert list((bench.cache / "partial").glob("*/")) == []


def test_what_was_pulled_is_not_asked_for_again(hub, pull):
    folder = pull()
    assert hub.asked
    assert pull() == folder
    assert pull(sha256=HASH) == folder
    assert hub.asked == []


def test_a_killed_pull_keeps_its_whole_files_and_leaves_nothing_of_the_other(hub, pull, shelf, fault, bench):
    shelf.faulty = "model.safetensors"
    shelf.faults.append(fault(seconds_per_block=0.01))
    small_steps = "from huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 4096"
    pull(dies_at=("fetching model.safetensors", 40_000), first=small_steps)
    shelf.requests.clear()
    assert content_of(pull(sha256=HASH)) == FILES
    assert hub.asked == ["model.safetensors", "tokenizer.json"]
    assert [path for path in bench.cache.rglob("*") if "incomplete" in path.name] == []


def test_a_branch_that_moves_during_a_pull_does_not_mix_two_commits(hub, pull, shelf):
    branch = json.loads(shelf.files[f"/api/models/owner/repo/revision/{REVISION}?blobs=true"])
    shelf.files["/api/models/owner/repo/revision/v1?blobs=true"] = json.dumps({**branch, "sha": REVISION}).encode()
    assert content_of(pull("hf:owner/repo@v1", sha256=HASH)) == FILES
    assert {request.path.split("/")[4] for request in shelf.requests if "/resolve/" in request.path} == {REVISION}


def test_a_damaged_file_in_the_cache_is_fetched_again_and_no_other(hub, pull):
    folder = pull(sha256=HASH)
    assert hub.asked
    (folder / "model.safetensors").write_bytes(b"?" + WEIGHTS[1:])
    (folder / "tokenizer.json").write_bytes(b'{"a": 2}')
    assert content_of(pull(sha256=HASH)) == FILES
    assert hub.asked == ["model.safetensors", "tokenizer.json"]


def test_a_wrong_pin_keeps_what_came_for_whoever_corrects_it(hub, pull):
    assert f"is {HASH}, expected {'1' * 64}; it is kept as" in pull(sha256="1" * 64)
    assert hub.asked
    assert content_of(pull(sha256=HASH)) == FILES
    assert hub.asked == []


def test_bytes_other_than_the_hub_lists_are_refused(hub, pull, shelf):
    shelf.files[f"/owner/repo/resolve/{REVISION}/model.safetensors"] = b"?" + WEIGHTS[1:]
    assert f"expected {hashlib.sha256(WEIGHTS).hexdigest()}" in pull()


def test_what_huggingface_hub_brought_before_is_shared_and_not_fetched(hub, pull, tmp_path):
    snapshot = tmp_path / "hf" / "hub" / "models--owner--repo" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    for name, content in FILES.items():
        (snapshot / name).write_bytes(content)
    folder = pull(sha256=HASH)
    assert hub.asked == []
    assert (folder / "model.safetensors").samefile(snapshot / "model.safetensors")


def test_offline_what_huggingface_hub_brought_is_enough(hub, pull, shelf, tmp_path):
    snapshot = tmp_path / "hf" / "hub" / "models--owner--repo" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    assert "HF_HUB_OFFLINE forbids" in pull(HF_HUB_OFFLINE="1")
    for name, content in FILES.items():
        (snapshot / name).write_bytes(content)
    assert content_of(pull(sha256=HASH, HF_HUB_OFFLINE="1")) == FILES
    assert shelf.requests == []


def test_a_damaged_copy_of_huggingface_hub_is_not_believed(hub, pull, tmp_path):
    snapshot = tmp_path / "hf" / "hub" / "models--owner--repo" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"?" + WEIGHTS[1:])
    assert content_of(pull(sha256=HASH)) == FILES
    assert (snapshot / "model.safetensors").read_bytes() == b"?" + WEIGHTS[1:]


def test_a_repository_of_gguf_files_asks_for_one_of_them(hub, pull):
    hub.hold({"m-Q4_K_M.gguf": b"GGUF", "m-Q8_0.gguf": b"GGUF"})
    assert f"name one of them, such as 'hf:owner/repo/m-Q4_K_M.gguf@{REVISION}'" in pull()


def test_a_repository_that_lacks_a_shard_is_refused(hub, pull):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors"}}).encode()
    hub.hold({"config.json": FILES["config.json"], "model.safetensors.index.json": index})
    assert "lacks 1 of its 1 weight files: model-1.safetensors" in pull()


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"siblings": [{"size": 3}]}', '{"siblings": null}'])
def test_an_answer_that_is_no_list_is_said(hub, pull, answer):
    hub.answer(answer)
    assert "the Hub's list of files cannot be parsed" in pull()


def test_a_repository_that_nobody_has_is_said(pull):
    assert "answered 404" in pull()


def test_a_closed_repository_is_answered_with_how_to_log_in(hub, pull, shelf, fault):
    shelf.faults.extend([fault(status=401)] * 9)
    assert "private or asks for an agreement" in pull()
