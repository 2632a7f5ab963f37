"""`tierwise doctor` as a script meets it: what it finds, and this machine against the one of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata

import msgspec
import pytest
from typer.testing import CliRunner

import fake_runs
from tierwise import upstream
from tierwise.cli import app
from tierwise.runs import machine as machines
from tierwise.runs.directory import ConfigSource, RunDirectory
from tierwise.spec.errors import SpecError


def doctor(*arguments, **environment):
    return CliRunner().invoke(app, ["doctor", *map(str, arguments)], env=environment)


@pytest.fixture
def run(tmp_path):
    """A run that was made here, with some packages of another version."""

    def make(**versions):
        folder = RunDirectory.create(tmp_path / "run")
        made = msgspec.structs.replace(
            fake_runs.manifest(["a"]),
            config=ConfigSource(path="tierwise.yaml", sha256="0", text=CONFIG),
            versions={**machines.versions(), **versions},
            machine=machines.machine(),
        )
        folder.write_manifest(made)
        return folder.path

    return make


CONFIG = """
deployments: {far: {engine: http, url: "http://127.0.0.1:9/v1"}}
tiers: {fast: {deployment: far, policy: single}}
"""


def test_every_extra_and_the_gpus_are_among_the_findings():
    findings = {one["what"] for one in json.loads(doctor("--json", "--quick").stdout)}
    assert {"extra bench", "extra hf", "extra parquet", "extra transformers", "extra workloads", "GPUs"} <= findings


def test_gpus_are_found_by_their_drivers_program(tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'Tesla T4, 535.104.05, 15360 MiB'\n")
    program.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    (gpus,) = (one for one in json.loads(doctor("--json", "--quick", PATH=path).stdout) if one["what"] == "GPUs")
    assert (gpus["state"], gpus["seen"]) == ("ok", "Tesla T4, 15360 MiB, driver 535.104.05")


def test_the_versions_here_are_held_against_those_that_were_tested():
    (found,) = (one for one in json.loads(doctor("--json", "--quick").stdout) if one["what"] == "tested versions")
    sentences = upstream.untested(upstream.tested())
    assert found["state"] == ("warning" if sentences else "ok")
    assert all(sentence in found["seen"] for sentence in sentences)


def test_a_version_that_was_not_tested_and_a_deprecation_are_warnings_and_exit_code_0(tmp_path):
    """msgspec stands for any package: this one is newer than every tested one, and says that it is deprecated."""
    (tmp_path / "msgspec-999.0.dist-info").mkdir()
    (tmp_path / "msgspec-999.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: msgspec\nVersion: 999.0\n"
    )
    (tmp_path / "sitecustomize.py").write_text(OLD_HTTPTOOLS)
    command = [sys.executable, "-m", "tierwise", "doctor", "--json"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=env)
    findings = {one["what"]: one for one in json.loads(done.stdout)}
    assert findings["tested versions"]["state"] == "warning"
    assert "msgspec 999.0 is newer than" in findings["tested versions"]["seen"]
    deprecated = findings[f"httptools {metadata.version('httptools')}"]
    assert (deprecated["state"], deprecated["seen"]) == ("warning", "FutureWarning: `parse` is deprecated")
    assert "works with this version, may fail with a later one" in deprecated["cure"]
    assert done.returncode == 0


OLD_HTTPTOOLS = """
import sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "httptools":
            import warnings
            sys.meta_path.remove(self)
            code = compile("warnings.warn('`parse` is deprecated', FutureWarning)", "httptools", "exec")
            exec(code, {"warnings": warnings, "__name__": "httptools"})

sys.meta_path.insert(0, Finder())
"""


def test_a_run_from_here_is_exit_code_0(run):
    done = doctor("--against", run())
    assert done.exit_code == 0, done.output
    assert "no difference that may change answers" in done.stdout
    assert "the run does not record what its tiers ran on" in done.stdout.replace("\n", " ")


def test_a_difference_that_may_change_answers_is_exit_code_1_with_a_table(run):
    done = doctor("--against", run(tierwise="0.0.1"), COLUMNS="160")
    assert done.exit_code == 1
    head, row, *_ = done.stdout.splitlines()
    assert head.split() == ["what", "the", "run", "here", "what", "it", "may", "change"]
    assert row.startswith("tierwise  0.0.1")
    assert "answers may differ from the run's" in done.stdout


def test_the_same_is_printed_as_json(run):
    done = doctor("--against", run(tierwise="0.0.1"), "--json")
    shown = json.loads(done.stdout)
    assert (done.exit_code, shown["run"], shown["may_answer_otherwise"]) == (1, "01234567", True)
    (one,) = shown["differences"]
    assert (one["what"], one["run"], one["matters"]) == ("tierwise", "0.0.1", True)


@pytest.mark.parametrize(("text", "words"), [(None, "is not a run"), ("{", "cannot be read"), ("{}", "cannot be read")])
def test_a_run_that_is_missing_or_cannot_be_read_is_named(tmp_path, text, words):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    error = doctor("--against", tmp_path).exception
    assert isinstance(error, SpecError)
    assert (words in str(error), str(tmp_path) in str(error), error.field) == (True, True, "--against")


def test_that_is_exit_code_2_with_nothing_on_standard_output(tmp_path):
    command = [sys.executable, "-m", "tierwise", "doctor", "--against", str(tmp_path / "none"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--against: " in done.stderr
