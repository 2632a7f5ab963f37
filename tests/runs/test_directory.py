"""The run directory: written data can be read again, even after a crash."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from msgspec import structs

from fake_runs import manifest, record, task
from tierwise.runs.directory import RecordWriter, RunDirectory
from tierwise.runs.records import TrialOutcome
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError, TierwiseError
from tierwise.workloads.files import load

FORMAT_1 = Path(__file__).parent / "data" / "format_1"


def test_records_and_manifest_round_trip(tmp_path):
    folder = RunDirectory.create(tmp_path / "runs" / "one")
    folder.write_manifest(manifest(["a", "b"]))
    folder.write_tasks([task("a"), task("b", tags=["sums"])])
    records = [record("a"), record("b", "error", why="lost", passes=[])]
    with folder.recorder() as recorder:
        for one in records:
            recorder.write(one)
    assert folder.read_manifest() == manifest(["a", "b"])
    assert folder.read_records() == records
    assert load(folder.tasks_path).tasks == (task("a"), task("b", tags=["sums"]))


def test_an_incomplete_last_line_is_ignored(tmp_path):
    folder = RunDirectory.create(tmp_path / "run")
    with folder.recorder() as recorder:
        recorder.write(record("a"))
    with folder.records_path.open("ab") as file:
        file.write(b'{"action":"run/b/fa')
    assert folder.read_records() == [record("a")]


def test_a_run_is_never_overwritten(tmp_path):
    folder = RunDirectory.create(tmp_path / "run")
    with folder.recorder() as recorder:
        recorder.write(record("a"))
    with pytest.raises(SpecError, match="already holds a run"):
        RunDirectory.create(tmp_path / "run")


def test_an_incomplete_last_line_is_removed_before_the_next_record(tmp_path):
    folder = RunDirectory.create(tmp_path / "run")
    folder.records_path.write_bytes(b'{"action":"run/a/fa')
    for one in ("b", "c"):
        with folder.recorder() as recorder:
            recorder.write(record(one))
        with folder.records_path.open("ab") as file:
            file.write(b'{"action":')
    assert folder.read_records() == [record("b"), record("c")]


def test_an_unfinished_run_can_be_resumed(tmp_path):
    folder = RunDirectory.create(tmp_path / "run")
    assert not folder.is_unfinished
    folder.write_manifest(manifest(["a", "b"]))
    assert folder.is_unfinished
    assert folder.read_records() == []
    with folder.recorder() as recorder:
        recorder.write(record("a"))
        assert RunDirectory.create(tmp_path / "run") == RunDirectory.resume(tmp_path / "run") == folder
        recorder.write(record("b"))
    with pytest.raises(SpecError, match="already holds a run"):
        RunDirectory.create(tmp_path / "run")
    with pytest.raises(SpecError, match="is complete"):
        RunDirectory.resume(tmp_path / "run")
    with pytest.raises(NotFound, match="has no run to resume"):
        RunDirectory.resume(tmp_path)


def test_two_benches_cannot_write_to_one_directory(tmp_path):
    one, other = RunDirectory(tmp_path), RunDirectory(tmp_path)
    with one.locked(), pytest.raises(SpecError, match="another bench is writing"), other.locked():
        pass
    with RunDirectory(tmp_path).locked():
        pass


def test_a_directory_that_cannot_be_created_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecError, match="cannot write a run to"):
        RunDirectory.create(tmp_path / "file" / "run")


def test_a_failed_write_ends_the_run():
    with RecordWriter(Path("/dev/full")) as recorder, pytest.raises(TierwiseError, match="No space left"):
        recorder.write(record("a"))


def test_a_manifest_without_deployments_is_read(tmp_path):
    folder = RunDirectory.create(tmp_path / "run")
    folder.manifest_path.write_text(OLD)
    found = folder.read_manifest()
    assert (found.machine.cpu, found.machine.features, found.machine.gpus) == ("AMD EPYC", None, None)
    assert (found.packages, found.deployments, found.sessions[0].deployments) == ({}, None, None)
    assert found.versions == {"tierwise": "0.1.0", "python": "3.11.7"}


def test_a_run_of_format_1_is_read_in_the_current_format():
    """Written by the bench of Tierwise 0.1.0 before outcomes were called correct and incorrect."""
    directory = RunDirectory(FORMAT_1)
    found, records = directory.read_manifest(), directory.read_records()
    assert (found.format, [session.stopped for session in found.sessions]) == (2, [""])
    assert Counter((record.tier, record.mode, record.outcome) for record in records) == {
        ("fast", "both", TrialOutcome.CORRECT): 1,
        ("fast", "both", TrialOutcome.INCORRECT): 2,
        ("max", "average", TrialOutcome.CORRECT): 1,
        ("max", "average", TrialOutcome.INCORRECT): 2,
        ("max", "max", TrialOutcome.CORRECT): 2,
        ("max", "max", TrialOutcome.INCORRECT): 1,
    }
    assert {record.key for record in records} == found.keys()


def test_a_resumed_run_of_format_1_is_written_in_the_current_format(tmp_path):
    shutil.copytree(FORMAT_1, tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    before = directory.read_records()
    directory.write_manifest(directory.read_manifest())
    with directory.recorder() as recorder:
        recorder.write(record("d", "incorrect"))
    assert b'"sittings"' not in directory.manifest_path.read_bytes()
    assert directory.records_path.read_bytes().splitlines()[-1].count(b'"outcome":"incorrect"') == 1
    assert directory.read_manifest().sessions == RunDirectory(FORMAT_1).read_manifest().sessions
    assert directory.read_records() == [*before, record("d", "incorrect")]


def test_an_error_in_a_manifest_of_format_1_is_named_with_its_line(tmp_path):
    directory = RunDirectory.create(tmp_path / "run")
    text = (FORMAT_1 / "manifest.json").read_text().replace('"dollars": 0.012', '"dollars": "0.012"')
    directory.manifest_path.write_text(text)
    line = next(number for number, one in enumerate(text.splitlines(), 1) if '"dollars"' in one)
    with pytest.raises(ConfigErrors, match=rf"manifest.json:{line}: sessions\[0\].dollars"):
        directory.read_manifest()


def test_a_run_of_a_later_format_is_refused(tmp_path):
    directory = RunDirectory.create(tmp_path / "run")
    directory.write_manifest(structs.replace(manifest(["a"]), format=3))
    with pytest.raises(SpecError, match="has format 3; this Tierwise reads formats 1 to 2"):
        directory.read_manifest()


def test_an_unknown_outcome_is_rejected(tmp_path):
    directory = RunDirectory.create(tmp_path / "run")
    with directory.recorder() as recorder:
        recorder.write(record("a"))
    text = directory.records_path.read_text()
    directory.records_path.write_text(text.replace('"correct"', '"passed"'))
    with pytest.raises(ConfigErrors, match=r"records\.jsonl:1: outcome: Invalid enum value 'passed'"):
        directory.read_records()


OLD = """{
  "format": 1, "run": "a6a0d1", "began": "2026-11-20T08:00:00+00:00", "ended": "2026-11-20T08:05:00+00:00", "url": "",
  "config": {"path": "tierwise.yaml", "sha256": "00", "text": "tiers: {}"},
  "workload": {"path": "tasks.jsonl", "sha256": "11"},
  "tasks": ["a"], "variants": [{"tier": "fast", "mode": "both", "most_passes": 1}],
  "settings": {"seed": 0, "concurrency": 4, "timeout": 600.0, "arrival": "closed", "repeats": 1, "warm_up": 0},
  "versions": {"tierwise": "0.1.0", "python": "3.11.7"},
  "machine": {"cpu": "AMD EPYC", "cores": 2, "memory_bytes": 25276502016, "load": 0.4, "system": "Linux"},
  "sittings": [{"began": "2026-11-20T08:00:00+00:00", "ended": "2026-11-20T08:05:00+00:00", "url": "", "dollars": 0.1,
    "stopped": "", "runner": null}]
}"""


def test_a_ledger_in_the_directory_of_a_locked_run_can_be_written(tmp_path):
    with RunDirectory(tmp_path).locked():
        handle = os.open(tmp_path, os.O_RDONLY)  # as the ledger takes its turn
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)
        with pytest.raises(SpecError, match="another bench is writing"), RunDirectory(tmp_path).locked():
            pass
