"""What a llama.cpp tells of itself without serving a model."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tierwise.engines import LlamaCpp
from tierwise.engines.llama_cpp.facts import facts as facts_of
from tierwise.engines.llama_cpp.facts import kernels
from tierwise.engines.settings import LaunchContext

VERSION = """\
ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA A100-SXM4-80GB, compute capability 8.0, VMM: yes
version: 4589 (eb7cf15a)
built with cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu
"""


def facts(base: Path = Path(), **levers):
    return asyncio.run(facts_of(LlamaCpp(checkpoint="m", **levers), LaunchContext(base=base, logs=base)))


@pytest.fixture
def server(tmp_path):
    """An external server that runs a script instead."""

    def write(script):
        program = tmp_path / "llama-server"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    return write


def test_the_embedded_one_names_its_version_its_kernels_and_its_settings():
    xllamacpp = pytest.importorskip("xllamacpp")
    told = facts(flash_attention=True, cache_type_k="q8_0", threads=3)
    assert told["version"] == f"xllamacpp {xllamacpp.__version__}"
    assert told["kernels"] == kernels(xllamacpp.get_system_info())
    assert told["device"] == "CPU"
    assert (told["attention"], told["cache"], told["threads"]) == ("flash", "keys q8_0, values f16", "3")
    assert told["gpu_layers"] == "none"


def test_an_external_one_names_its_version_its_compiler_and_its_devices(server):
    told = facts(binary=server(f"[ $1 = --version ] && cat >&2 <<'END'\n{VERSION}END"), gpu_layers=33)
    assert told["version"] == "4589 (eb7cf15a)"
    assert told["build"] == "cc (Debian 12.2.0-14) 12.2.0 for x86_64-linux-gnu"
    assert told["device"] == "Device 0: NVIDIA A100-SXM4-80GB, compute capability 8.0, VMM: yes"
    assert told["gpu_layers"] == "33"


@pytest.mark.parametrize("script", ["exit 1", "echo hello", f"echo version: 1; kill -9 {'$$'}"])
def test_one_that_does_not_tell_leaves_its_settings(server, script):
    told = facts(binary=server(script), threads=2)
    assert set(told) == {"attention", "cache", "threads", "gpu_layers"}
    assert told["gpu_layers"] == "all that the build can"


def test_one_that_is_not_there_leaves_its_settings_too(tmp_path):
    assert "version" not in facts(tmp_path, binary=f".{os.sep}llama-server")


@pytest.mark.parametrize(
    ("system_info", "shown"),
    [
        ("CPU : SSE3 = 1 | AVX2 = 1 | AVX512 = 0 | ", "SSE3, AVX2"),
        (
            "CUDA : ARCHS = 500,800 | F16 = 1 | CPU : NEON = 1 | SVE_CNT = 32 | ",
            "CUDA : ARCHS 500,800, F16, NEON, SVE_CNT 32",
        ),
        ("", ""),
    ],
)
def test_kernels_are_those_that_it_has_code_for(system_info, shown):
    assert kernels(system_info) == shown


@pytest.mark.model
def test_one_that_runs_tells_what_it_is_and_what_it_was_launched_with(llama):
    health = llama.engine.health()
    assert health.facts["version"].startswith("xllamacpp ")
    assert health.facts["kernels"]
    assert "llama_cpp/worker.py" in health.command
    assert health.start_seconds > 0
    assert health.peak_bytes >= health.resident_bytes > 2**20
