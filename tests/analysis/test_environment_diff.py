"""This machine against the one of a run: what differs, what that may change, and what nobody can say."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import struct
import sys
from itertools import starmap
from pathlib import Path

import msgspec
import pytest

import fake_runs
from ggufs import string
from tierwise.analysis.environment_diff import environment_diff, options
from tierwise.engines import LlamaCpp
from tierwise.engines.llama_cpp.facts import facts as facts_of
from tierwise.engines.llama_cpp.launch import command
from tierwise.engines.settings import LaunchContext
from tierwise.runs import machine as machines
from tierwise.runs.directory import ConfigSource, RunSession
from tierwise.runs.machine import InstalledGpu
from tierwise.spec.deployed import Deployed, LoadedWeights
from tierwise.spec.errors import SpecError

KEYS = {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.chat_template": "{{ messages }}"}
WEIGHTS = b"GGUF" + struct.pack("<IQQ", 3, 0, len(KEYS)) + b"".join(starmap(string, KEYS.items()))
HASH = hashlib.sha256(WEIGHTS).hexdigest()
CONFIG = """
checkpoints: {{m: {{source: "file:m.gguf"{pin}}}}}
deployments: {{small: {{engine: llama.cpp, checkpoint: m, threads: 2}}}}
tiers: {{fast: {{deployment: small, policy: single}}}}
"""


def changed(what, **fields):
    return msgspec.structs.replace(what, **fields)


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def facts():
    """What llama.cpp tells of itself here; it takes a moment."""
    return asyncio.run(facts_of(LlamaCpp(checkpoint="m", threads=2), LaunchContext(base=Path(), logs=Path())))


@pytest.fixture
def run(tmp_path, facts):
    """A run that was made here, on a checkpoint that lies beside its config; then changed."""
    (tmp_path / "m.gguf").write_bytes(WEIGHTS)
    site = LaunchContext(base=tmp_path, logs=tmp_path, model=tmp_path / "m.gguf")

    def make(pin=None, deployed=None, **fields):
        settings = LlamaCpp(checkpoint="m", threads=2)
        values = {
            "name": "small",
            "engine": "llama.cpp",
            "weights": LoadedWeights(checkpoint="m", sha256=HASH, bytes=len(WEIGHTS)),
            "slots": 4,
            "command": command(settings, site).replace('"port":0', '"port":4711'),
            "facts": facts,
        }
        text = CONFIG.format(pin=f", sha256: {pin}" if pin else "")
        told = None if deployed is None else [Deployed(**{**values, **deployed})]
        return changed(
            fake_runs.manifest(["a"]),
            **{
                "config": ConfigSource(path=str(tmp_path / "tierwise.yaml"), sha256="0", text=text),
                "versions": machines.versions(),
                "packages": machines.packages(),
                "machine": machines.machine(),
                "sessions": [RunSession(began="", deployments=told)],
                **fields,
            },
        )

    return make


def differences(manifest):
    found = asyncio.run(environment_diff(manifest))
    return {one.what: one for one in found.differences}


def test_a_run_that_was_made_here_differs_in_nothing(run):
    found = asyncio.run(environment_diff(run(deployed={})))
    assert (found.differences, found.notes, found.may_answer_otherwise) == ((), (), False)


@pytest.mark.parametrize(
    ("package", "matters"), [("xllamacpp", True), ("tierwise", True), ("jsonschema", True), ("rich", False)]
)
def test_another_version_is_named_and_matters_where_answers_or_verdicts_hang_on_it(run, package, matters):
    manifest = run()
    then = {"versions": manifest.versions, "packages": manifest.packages}
    old = {name: {**of, package: "0.0.1"} if package in of else of for name, of in then.items()}
    ((what, one),) = differences(changed(manifest, **old)).items()
    here = {**manifest.versions, **manifest.packages}[package]
    assert (what, one.run, one.here, one.matters) == (package, "0.0.1", here, matters)


def test_a_package_that_is_on_one_machine_only_is_named(run):
    manifest = run()
    there = differences(changed(manifest, versions={**manifest.versions, "sglang": "0.6"}))["sglang"]
    assert (there.run, there.here, there.matters) == ("0.6", "not installed", True)


def test_a_package_of_an_engine_that_no_tier_ran_on_does_not_matter(run):
    manifest = run(deployed={})
    other = {**manifest.versions, "sglang": "0.6", "xllamacpp": "0.0.1"}
    found = differences(changed(manifest, versions=other))
    assert {name: one.matters for name, one in found.items()} == {"sglang": False, "xllamacpp": True}
    assert not differences(changed(manifest, versions=other, url="http://far:8400"))["xllamacpp"].matters


def test_a_run_from_before_packages_were_kept_lacks_none(run):
    assert differences(run(packages={})) == {}


def test_another_processor_matters_for_what_it_can_and_not_for_its_name(run):
    here = run().machine
    renamed = differences(run(machine=changed(here, cpu="Cray-1", cores=99)))
    assert {name: one.matters for name, one in renamed.items()} == {"processor": False, "cores to use": False}
    weaker = changed(here, features=[one for one in here.features if one != "avx2"] + ["amx_tile"])
    one = differences(run(machine=weaker))["processor features"]
    assert (one.run, one.matters) == ("amx_tile", True)
    assert one.here == ("avx2" if "avx2" in here.features else "none more")


def test_another_processor_matters_by_its_name_where_the_run_does_not_say_what_it_can(run):
    unknown = changed(run().machine, cpu="Cray-1", features=None, gpus=None)
    assert differences(run(machine=unknown))["processor"].matters


def test_another_gpu_or_driver_matters(run):
    gpu = InstalledGpu(name="Tesla T4", driver="535", memory="15360 MiB")
    one = differences(run(machine=changed(run().machine, gpus=[gpu])))["GPUs"]
    assert (one.run, one.matters) == ("Tesla T4 15360 MiB, 535", True)


def test_the_bench_of_an_endpoint_elsewhere_says_nothing_of_its_processor(run):
    elsewhere = run(url="http://far:8400", machine=changed(run().machine, features=["vax"]))
    found = asyncio.run(environment_diff(elsewhere))
    assert not found.may_answer_otherwise
    assert any("the tiers ran at http://far:8400" in note for note in found.notes)


def test_a_run_that_does_not_say_what_ran_is_noted_and_not_taken_for_equal(run):
    (note,) = asyncio.run(environment_diff(run())).notes
    assert note.startswith("the run does not record what its tiers ran on")


def test_other_flags_are_named_one_by_one_and_places_are_not(run):
    command = run(deployed={}).deployments[0].command.replace('"context":4096', '"context":512')
    command = command.replace('"threads":2', '"threads":8').replace("/m.gguf", "/elsewhere/m.gguf")
    found = differences(run(deployed={"command": command}))
    assert {name: (one.run, one.here, one.matters) for name, one in found.items()} == {
        "small: context": ("512", "4096", True),
        "small: threads": ("8", "2", False),
    }


def test_other_kernels_are_named(run):
    other = {**run(deployed={}).deployments[0].facts, "kernels": "AVX512, AMX_INT8"}
    ((what, one),) = differences(run(deployed={"facts": other})).items()
    assert (what, one.run, one.matters) == ("small: kernels", "AVX512, AMX_INT8", True)


@pytest.mark.parametrize("pin", [None, "ab" * 32])
def test_another_file_under_the_same_name_is_named_with_both_hashes(run, pin):
    told = LoadedWeights(checkpoint="m", sha256="ab" * 32, bytes=1)
    one = differences(run(pin=pin, deployed={"weights": told}))["checkpoint m"]
    assert (one.run, one.here, one.changes, one.matters) == ("ab" * 32, HASH, "every answer", True)


@pytest.mark.parametrize(("pin", "matters"), [(HASH, False), (None, True)])
def test_a_checkpoint_that_is_not_here_matters_unless_its_hash_is_pinned(run, tmp_path, pin, matters):
    manifest = run(pin=pin, deployed={})
    (tmp_path / "m.gguf").unlink()
    one = differences(manifest)["checkpoint m"]
    assert (one.run, one.here[:8], one.matters) == (HASH, "not here", matters)


def test_what_cannot_run_here_is_named(run):
    manifest = run(deployed={})
    text = manifest.config.text.replace("threads: 2", "threads: 2, binary: no-such-server")
    found = differences(changed(manifest, config=changed(manifest.config, text=text)))
    assert found["small: binary"].here.startswith("cannot run: there is no program 'no-such-server'")
    assert found["small: version"].here == "not set"


def test_a_config_that_this_version_does_not_read_is_a_difference(run):
    manifest = run(deployed={})
    found = differences(changed(manifest, config=changed(manifest.config, text="tires: {}")))
    assert found["the config file"].matters


def test_facts_that_only_a_running_engine_tells_are_noted(run):
    text = """
deployments: {small: {engine: http, url: "http://127.0.0.1:9/v1"}}
tiers: {fast: {deployment: small, policy: single}}"""
    manifest = run(deployed={"engine": "http", "weights": None, "command": "", "facts": {"dtype": "bfloat16"}})
    found = asyncio.run(environment_diff(changed(manifest, config=changed(manifest.config, text=text))))
    assert (found.differences, found.notes) == (
        (),
        ("small: dtype are not compared; http reports them only while it runs",),
    )


def test_an_imported_run_is_refused(run):
    with pytest.raises(SpecError, match="was imported from another tool"):
        asyncio.run(environment_diff(run(settings=changed(run().settings, arrival="imported"))))


@pytest.mark.parametrize(
    ("command", "set_"),
    [
        (shlex.join([sys.executable, "-P", "/x/worker.py", '{"model":"/m","context":512}']), {"context": "512"}),
        ("/opt/llama-server --model /m --ctx-size 512 --metrics", {"--ctx-size": "512", "--metrics": "on"}),
        ("/v/bin/vllm serve <m> --dtype=bfloat16 --x -1", {"--dtype": "bfloat16", "--x": "-1"}),
        ("python3.11 -m sglang.launch_server --f '{\"a\":1}'", {"--f": '{"a":1}'}),
        ("tool {broken", {}),
        ("", {}),
    ],
)
def test_a_command_line_is_read_as_what_it_sets(command, set_):
    found = options(command)
    assert {name: value for name, value in found.items() if name != "program"} == set_
    assert "python" not in found.get("program", "")


def test_programs_are_compared_by_name():
    assert (
        options("/opt/llama-server --port 1")
        == options("/usr/bin/llama-server --port 2")
        == {"program": "llama-server"}
    )


def test_our_own_programs_are_not_compared_by_the_name_of_their_module():
    old, new = ("-m tierwise.engines.transformers.worker", "-m tierwise.worker")
    levers = """'{"slots": 4}'"""
    assert options(f"python {old} {levers}") == options(f"/opt/python3.12 {new} {levers}") == {"slots": "4"}
