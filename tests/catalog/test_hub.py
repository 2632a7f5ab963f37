import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest

from tierwise.catalog import hub

pytest.importorskip("huggingface_hub")

WEIGHTS = b"GGUF" + os.urandom(50_000)
HASH = hashlib.sha256(WEIGHTS).hexdigest()
SMALL_STEPS = "from huggingface_hub import constants\nconstants.DOWNLOAD_CHUNK_SIZE = 4096"
QUIET = {"HF_HUB_DISABLE_TELEMETRY": "1"}  # or it asks for more than was asked of it
REVISION = "0123456789abcdef0123456789abcdef01234567"
PATH = f"/owner/repo/resolve/{REVISION}/Q4/m.gguf"


@pytest.fixture
def pull(shelf, bench, tmp_path):
    """Pull from a hub on the loopback, in a process of its own, since huggingface_hub reads its settings at import."""

    def pull(*sources, sha256=None, first="", **variables):
        checkpoint = bench.checkpoint(*(sources or [f"hf:owner/repo/Q4/m.gguf@{REVISION}"]), sha256=sha256)
        settings = {"HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **QUIET, **variables}
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
    to_the_hub = [request for request in shelf.requests if request.path == PATH]
    assert [request.authorization for request in to_the_hub] == ["Bearer hf_secret"] * len(to_the_hub)
    assert [request.authorization for request in shelf.of("/blob")] == [None]


def test_bytes_other_than_the_hub_states_are_refused(shelf, pull):
    elsewhere = shelf.url.replace("127.0.0.1", "localhost")
    shelf.redirects[PATH] = f"{elsewhere}/blob", {"X-Linked-Etag": f'"{HASH}"', "X-Linked-Size": str(len(WEIGHTS))}
    shelf.files["/blob"] = WEIGHTS[:-1] + b"?"
    assert f"expected {HASH}; it was deleted" in pull()


def test_a_file_that_is_shorter_than_the_hub_states_is_refused(shelf, pull):
    elsewhere = shelf.url.replace("127.0.0.1", "localhost")
    shelf.redirects[PATH] = f"{elsewhere}/blob", {"X-Linked-Etag": f'"{HASH}"', "X-Linked-Size": str(len(WEIGHTS))}
    shelf.files["/blob"] = WEIGHTS[:-10]
    assert f"should be of size {len(WEIGHTS)}" in pull()


def test_a_cut_connection_is_taken_up_where_it_was_cut(shelf, pull, fault):
    shelf.files[PATH] = WEIGHTS
    shelf.faults.append(fault(dies_after=30_000))
    assert pull(sha256=HASH, first=SMALL_STEPS) == WEIGHTS
    assert [request.range for request in shelf.of("m.gguf")] == [None, "bytes=28672-"]


def test_a_file_too_large_for_the_disk_is_refused_before_it_is_fetched(shelf, pull):
    elsewhere = shelf.url.replace("127.0.0.1", "localhost")
    shelf.redirects[PATH] = f"{elsewhere}/blob", {"X-Linked-Etag": f'"{HASH}"', "X-Linked-Size": str(10**18)}
    assert "needs 1000000000.0 GB more" in pull()
    assert shelf.of("/blob") == []


def test_an_interrupted_pull_ends_at_once_and_the_next_one_is_whole(shelf, bench, tmp_path, fault, pull):
    shelf.files[PATH] = WEIGHTS
    shelf.faults.append(fault(seconds_per_block=1))
    settings = {"HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **QUIET}
    with bench.start_elsewhere(bench.checkpoint(f"hf:owner/repo/Q4/m.gguf@{REVISION}"), **settings) as process:
        shelf.wait_until_sent("m.gguf", 4096)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
    assert pull(sha256=HASH) == WEIGHTS
    assert list((bench.cache / "partial").glob("*/")) == []


def test_progress_tells_the_bytes_of_the_file(shelf, bench, tmp_path):
    shelf.files[PATH] = WEIGHTS
    settings = {"HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **QUIET}
    how = {"first": SMALL_STEPS, "dies_at": ("fetching m.gguf", len(WEIGHTS) // 2), **settings}
    with bench.start_elsewhere(bench.checkpoint(f"hf:owner/repo/Q4/m.gguf@{REVISION}"), **how) as process:
        assert process.wait(60) == -signal.SIGKILL, "it came to half of the file"


@pytest.mark.parametrize("status", [401, 403])
def test_a_closed_repository_is_answered_with_how_to_log_in(shelf, pull, fault, status):
    shelf.faults.extend([fault(status=status)] * 9)
    said = pull()
    assert f"127.0.0.1 answered {status}" in said
    assert "private or asks for an agreement" in said


def test_a_hub_that_breaks_is_said(shelf, pull, fault):
    shelf.faults.extend([fault(status=503)] * 99)
    assert "127.0.0.1 answered 503 (Service Unavailable); pull again later" in pull()


def test_a_server_that_is_no_hub_is_said(shelf, pull):
    shelf.redirects[PATH] = f"{shelf.url}/blob", {}
    shelf.files["/blob"] = WEIGHTS
    assert "does not seem to be served by a Hugging Face Hub" in pull()


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


def test_progress_over_xet_counts_the_bytes_on_the_disk_once():
    """Xet shows two bars of the class that it is given; no Hub on the loopback speaks its protocol."""
    reporting = pytest.importorskip("huggingface_hub.utils._xet_progress_reporting")
    told = []

    async def main():
        bar = hub._bar(asyncio.get_running_loop(), lambda done, total: told.append((done, total)), Event())
        with reporting.XetDownloadProgressReporter(
            reconstruction_desc="m.gguf", total=100, log_level=20, tqdm_class=bar
        ) as progress:
            for done in (40, 40, 100):
                progress.update_progress(
                    SimpleNamespace(
                        total_bytes=100,
                        total_bytes_completed=done,
                        total_transfer_bytes_completed=done // 2,
                        total_bytes_completion_rate=1.0,
                        total_transfer_bytes_completion_rate=1.0,
                    )
                )
        await asyncio.sleep(0)

    asyncio.run(main())
    assert told == [(40, 100), (100, 100)]


def test_a_download_that_nobody_waits_for_ends_at_its_next_bytes():
    stopped = Event()

    async def main():
        bar = hub._bar(asyncio.get_running_loop(), lambda done, total: None, stopped)

        def download():
            with bar(total=None) as progress:
                while True:
                    progress.update(1)
                    time.sleep(0.001)

        task = asyncio.create_task(hub._in_background(download, stopped))
        await asyncio.sleep(0.05)
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "tierwise-hub"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()

    asyncio.run(main())


def test_a_file_of_a_dataset_arrives_and_is_kept(shelf, tmp_path):
    place = f"/datasets/owner/data/resolve/{REVISION}/test.jsonl"
    shelf.files[place] = b'{"answer": 4}\n'
    ask = (
        "from tierwise.catalog import hub, source\n"
        f"print(hub.dataset_file(source.parse_source('hf:owner/data/test.jsonl@{REVISION}')).read_text(), end='')"
    )
    settings = {**os.environ, "HF_ENDPOINT": shelf.url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": "", **QUIET}
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", ask], capture_output=True, text=True, env={**settings, **more}, check=False
        )
        assert done.stdout == '{"answer": 4}\n', done.stderr
    assert len(shelf.of("test.jsonl")) == 1
