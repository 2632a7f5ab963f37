"""A full disk ends a verb in one sentence, keeps what was stored, and lets a run be resumed."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from scripted_tiers import Answering, line
from tierwise.policies import Single
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import TierwiseError
from tierwise.spec.replacing import replace_file

CONFIG = """
deployments:
  far: {{engine: http, url: "{url}/v1", model: fast}}
tiers:
  fast: {{deployment: far, policy: single}}
"""
TASKS = 200


def tierwise(*arguments, most_bytes=None, stdout=subprocess.PIPE):
    """Run a verb whose files may have at most so many bytes: writing more fails as on a full disk."""

    def limit():
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    command = [sys.executable, "-m", "tierwise", *map(str, arguments)]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=120, preexec_fn=limit
    )


def one_sentence(done):
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    (last,) = [text for text in done.stderr.splitlines() if text.startswith("tierwise: ")]
    return last


@pytest.fixture
def bench(tmp_path, endpoint, write_tasks):
    url = endpoint(Answering({}, otherwise="word " * 100 + "4"), fast=Single())
    (tmp_path / "one.yaml").write_text(CONFIG.format(url=url))
    tasks = write_tasks(*(line(f"t{number}", f"{number}+1?", 4) for number in range(TASKS)))

    def run(*more, **limits):
        return tierwise("bench", tmp_path / "one.yaml", tasks, "--url", url, *more, **limits)

    return run


def test_a_run_on_a_full_disk_ends_in_one_sentence_and_can_be_resumed(bench, tmp_path):
    said = one_sentence(bench("--out", tmp_path / "run", most_bytes=60_000))
    assert said.startswith(f"tierwise: cannot write a record to {tmp_path / 'run' / 'records.jsonl'}, so the run stops")
    kept = len(RunDirectory(tmp_path / "run").read_records())
    assert 0 < kept < TASKS
    assert bench("--resume", tmp_path / "run").returncode == 0
    records = RunDirectory(tmp_path / "run").read_records()
    assert len({record.key for record in records}) == len(records) == TASKS


def test_a_run_that_cannot_even_begin_says_so(bench, tmp_path):
    said = one_sentence(bench("--out", tmp_path / "run", most_bytes=1000))
    assert said == f"tierwise: cannot write {tmp_path / 'run' / 'workload.jsonl'}: File too large"
    assert not (tmp_path / "run" / "workload.jsonl").exists()


def test_a_report_that_cannot_be_written_keeps_the_previous_one(bench, tmp_path):
    assert bench("--out", tmp_path / "run", "--limit", 10).returncode == 0
    before = (tmp_path / "run" / "report.html").read_bytes()
    said = one_sentence(tierwise("replay", tmp_path / "run", most_bytes=2000))
    assert said == f"tierwise: cannot write {tmp_path / 'run' / 'report.html'}: File too large"
    assert (tmp_path / "run" / "report.html").read_bytes() == before
    assert not list((tmp_path / "run").glob("*.new"))


@pytest.mark.parametrize("arguments", [("power", "--tasks", "50"), ("power", "--tasks", "50", "--json"), ("--help",)])
def test_output_that_cannot_be_written_is_one_sentence(arguments):
    with Path("/dev/full").open("wb") as full:
        done = tierwise(*arguments, stdout=full)
    assert one_sentence(done) == "tierwise: cannot write the output: No space left on device"
    assert len(done.stderr.splitlines()) == 1


def test_a_file_that_is_replaced_is_whole_or_unchanged(tmp_path):
    path = tmp_path / "file"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    with pytest.raises(TierwiseError, match=r"cannot write .*: Not a directory"):
        replace_file(path / "below", b"x")
    with pytest.raises(TierwiseError, match="cannot write /dev/full: No space left on device"):
        replace_file(Path("/dev/full"), b"x" * 10_000)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_replaced_file_keeps_its_mode_and_a_link_to_it_stays_a_link(tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"first")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, b"second")
    assert link.is_symlink()
    assert path.read_bytes() == b"second"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_disk_that_fails_at_the_sync_leaves_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"first")

    def fsync(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(TierwiseError, match=r"cannot write .*: No space left on device"):
        replace_file(path, b"second")
    assert path.read_bytes() == b"first"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
