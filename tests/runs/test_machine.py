"""The machine in a manifest, and its GPUs from `nvidia-smi`."""

from __future__ import annotations

import os

import pytest

from tierwise.runs.machine import InstalledGpu, gpus, machine, packages, versions


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Puts a program on PATH, and removes all others."""

    def install(script):
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")

    return install


def test_the_machine_has_its_cpu_extensions():
    here = machine()
    assert here.cores >= 1
    assert here.memory_bytes > 2**20
    assert here.cpu
    assert here.features
    assert here.features == sorted(set(here.features))
    assert not {"fpu", "fp", "aes"} & set(here.features)


def test_the_packages_that_answers_and_verdicts_depend_on_are_named():
    assert {"tierwise", "python"} <= set(versions())
    assert {"msgspec", "jsonschema", "google-re2"} <= set(packages())
    assert not set(versions()) & set(packages())


def test_gpus_are_told_as_their_driver_tells_them(nvidia_smi):
    nvidia_smi(
        '[ "$*" = "--query-gpu=name,driver_version,memory.total --format=csv,noheader" ] || exit 9\n'
        'echo "NVIDIA A100-SXM4-80GB, 535.104.05, 81920 MiB"; echo "Tesla T4, 535.104.05, 15360 MiB"'
    )
    assert gpus() == [
        InstalledGpu(name="NVIDIA A100-SXM4-80GB", driver="535.104.05", memory="81920 MiB"),
        InstalledGpu(name="Tesla T4", driver="535.104.05", memory="15360 MiB"),
    ]


def test_a_driver_that_does_not_answer_is_not_a_machine_without_gpus(nvidia_smi, monkeypatch):
    nvidia_smi("echo 'NVIDIA-SMI has failed'; exit 9")
    assert gpus() is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus() == []
