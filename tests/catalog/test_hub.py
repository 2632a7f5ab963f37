import hashlib
import os
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

WEIGHTS = b"GGUF" + os.urandom(50_000)
HASH = hashlib.sha256(WEIGHTS).hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"
PATH = f"/owner/repo/resolve/{REVISION}/Q4/m.gguf"


@pytest.fixture
def pull(shelf, bench, tmp_path):
    """Pull from a hub on the loopback, in a process of its own, since huggingface_hub reads its settings at import."""

    def pull(*sources, sha256=None, first="", **variables):
        checkpoint = bench.checkpoint(*(sources or [f"hf:owner/repo/Q4/m.gguf@{REVISION}"]), sha256=sha256)
        settings = {"HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **variables}
        answer = bench.pull_elsewhere(checkpoint, first=first, **settings)
        return answer.get("error") or Path(answer["path"]).read_bytes()

    return pull


def test_a_file_of_a_repository_arrives(shelf, pull):
    shelf.files[PATH] = WEIGHTS
    assert pull(sha256=HASH) == WEIGHTS


def test_several_files_are_joined(shelf, pull):
    for number, piece in enumerate((WEIGHTS[:10_000], WEIGHTS[10_000:])):
        shelf.files[f"/owner/repo/resolve/v1/m.{number}"] = piece
    assert pull("hf:owner/repo/m.0@v1", "hf:owner/repo/m.1@v1", sha256=HASH) == WEIGHTS


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(shelf, pull, tmp_path):
    elsewhere = shelf.url.replace("127.0.0.1", "localhost")
    shelf.redirects[PATH] = f"{elsewhere}/blob", {"X-Linked-Etag": f'"{HASH}"'}
    shelf.files["/blob"] = WEIGHTS
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n")
    assert pull(HF_TOKEN="hf_secret", NETRC=str(netrc)) == WEIGHTS
    assert [request.authorization for request in shelf.requests] == ["Bearer hf_secret", None]


def test_bytes_other_than_the_hub_states_are_refused(shelf, pull):
    shelf.redirects[PATH] = f"{shelf.url}/blob", {"X-Linked-Etag": f'"{HASH}"'}
    shelf.files["/blob"] = WEIGHTS[:-1] + b"?"
    assert f"expected {HASH}" in pull()


def test_a_closed_repository_is_answered_with_how_to_log_in(shelf, pull, fault):
    shelf.faults.append(fault(status=401))
    assert "private or asks for an agreement" in pull()


def test_a_missing_file_is_said(pull):
    assert "answered 404" in pull()


def test_a_hub_out_of_reach_is_said_within_seconds(pull):
    assert "127.0.0.1 cannot be reached" in pull(HF_ENDPOINT="http://127.0.0.1:9")


def test_offline_mode_asks_nobody(shelf, pull):
    assert "HF_HUB_OFFLINE forbids" in pull(HF_HUB_OFFLINE="1")
    assert shelf.requests == []


def test_what_huggingface_hub_brought_before_is_not_fetched_again(shelf, pull, tmp_path):
    snapshot = tmp_path / "hf" / "hub" / "models--owner--repo" / "snapshots" / REVISION / "Q4"
    snapshot.mkdir(parents=True)
    (snapshot / "m.gguf").write_bytes(WEIGHTS)
    assert pull(sha256=HASH, HF_HUB_OFFLINE="1") == WEIGHTS
    assert shelf.requests == []


def test_without_the_extra_the_command_that_adds_it_is_named(pull):
    missing = "import sys; sys.modules['huggingface_hub'] = None"
    assert "pip install 'tierwise[hf]'" in pull(first=missing)
