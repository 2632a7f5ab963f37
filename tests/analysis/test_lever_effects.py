"""The tiers of one run, each on a deployment of its own, held against one of them."""

from __future__ import annotations

import msgspec
import pytest

from fake_runs import record, spent
from tierwise.analysis.lever_effects import lever_effects
from tierwise.cli.compare import Style, compare
from tierwise.report import lever_table
from tierwise.runs.directory import RunDirectory, RunSession
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import SpecError
from written_runs import run


@pytest.fixture
def folder(tmp_path):
    """Twelve tasks on two deployments: `small` says twice as much in the same time, and solves half as many."""
    records = [
        record(f"t{number}", outcome, tier=tier, passes=[spent(tokens=tokens)])
        for number in range(12)
        for tier, tokens, outcome in (("whole", 10, "correct"), ("small", 20, "correct" if number % 2 else "incorrect"))
    ]
    path = run(tmp_path / "run", records)
    told = [
        Deployed(name=f"{tier}-1", tiers=[tier], slots=1, start_seconds=2.5, resident_bytes=size, peak_bytes=2 * size)
        for tier, size in (("small", 100_000_000), ("whole", 400_000_000))
    ]
    manifest = RunDirectory(path).read_manifest()
    session = RunSession(began=manifest.began, deployments=told)
    RunDirectory(path).write_manifest(msgspec.structs.replace(manifest, sessions=[session]))
    return path


def test_speed_quality_and_memory_stand_beside_each_other(folder):
    whole, small = lever_effects(folder, "whole")
    assert (whole.tier, whole.solved, whole.tokens_per_second, whole.against) == ("whole", 1.0, 20.0, None)
    assert (small.tier, small.solved, small.tokens_per_second) == ("small", 0.5, 40.0)
    assert small.deployment.peak_bytes == 200_000_000
    assert small.against.speed.value == pytest.approx(2.0)
    assert small.against.tasks.quality.shown.value == -0.5


def test_any_tier_may_be_the_base(folder):
    small, whole = lever_effects(folder, "small")
    assert (small.against, whole.against.speed.value) == (None, pytest.approx(0.5))
    with pytest.raises(SpecError, match="has no tier or route 'tiny'"):
        lever_effects(folder, "tiny")


def test_what_was_not_told_is_not_zero(tmp_path):
    path = run(tmp_path / "run", [record("t", tier="whole", passes=None)])
    (line,) = lever_table.table(lever_effects(path)).rows
    assert line == ("whole", "100 %", "–", "–", "–", "–", "–", "–", "–")


def test_the_command_prints_it(folder, capsys):
    compare(folder, folder, deployments=True, base_tier="whole", style=Style.MARKDOWN)
    printed = capsys.readouterr().out
    assert "| small | 50 % | -50.0" in printed
    assert "| 40.0 | × 2 " in printed
    assert "| 100 MB | 200 MB | 2.50 s |" in printed


def test_tiers_of_two_runs_are_not_mixed(folder, tmp_path):
    with pytest.raises(SpecError, match="give the same folder twice"):
        compare(folder, tmp_path, deployments=True)
