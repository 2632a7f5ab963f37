"""`tierwise watch` asks until it is decided whether a tier is still as good as when it was tested."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from scripted_tiers import Answering, line
from tierwise.cli import app
from tierwise.cli.watch import changed
from tierwise.policies import Single
from tierwise.runs.directory import RunDirectory

TASKS = 60
CONFIG = """
deployments: {{far: {{engine: http, url: "{url}/v1", model: fast}}}}
tiers: {{fast: {{deployment: far, policy: single}}}}
prices: {{far: {{completion: 100.0}}}}
"""


class Sums(Answering):
    """Adds one, until it is broken."""

    def __init__(self, step: float = 0.0) -> None:
        super().__init__({}, step=step)
        self.right = {f"{n}+1?": f"{n + 1}" for n in range(TASKS)}
        self.mend()

    def mend(self) -> None:
        self._answers = self.right

    def break_(self, share: float) -> None:
        self._answers = dict(list(self.right.items())[round(share * TASKS) :])


@pytest.fixture
def scene(tmp_path, endpoint, write_tasks):
    """A config file, a workload, a gate, a baseline run, and the engine behind them."""
    engine = Sums()
    (tmp_path / "one.yaml").write_text(CONFIG.format(url=endpoint(engine, fast=Single())))
    (tmp_path / "gate.yaml").write_text("quality: {margin: 0.2}\n")
    tasks = write_tasks(*(line(f"t{number}", f"{number}+1?", number + 1) for number in range(TASKS)))
    run = ["bench", tmp_path / "one.yaml", tasks, "--out", tmp_path / "base", "--mode", "max"]
    done = CliRunner().invoke(app, list(map(str, run)))
    assert done.exit_code == 0, done.output
    return tmp_path, tasks, engine


def watch(scene, *options):
    folder, tasks, _ = scene
    command = ["watch", folder / "one.yaml", tasks, "--against", folder / "base", "--policy", folder / "gate.yaml"]
    return CliRunner().invoke(app, [*map(str, command), "--tier", "fast", *map(str, options)])


def test_what_is_still_as_good_passes(scene, tmp_path):
    done = watch(scene, "--out", tmp_path / "night", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["verdict"], found["run"]) == ("PASS", str(tmp_path / "night"))
    assert found["changed_deployments"] == []
    assert (
        RunDirectory(tmp_path / "night").read_manifest().settings
        == RunDirectory(tmp_path / "base").read_manifest().settings
    )


def test_what_has_become_worse_fails_before_all_is_asked(scene, tmp_path, monkeypatch):
    monkeypatch.setattr("tierwise.cli.watch.LOOK_SECONDS", 0.05)
    engine = scene[2]
    engine.break_(0.9)
    engine._step = 0.2
    done = watch(scene, "--out", tmp_path / "night")
    assert done.exit_code == 1, done.output
    assert "FAIL" in done.output
    assert 0 < len(RunDirectory(tmp_path / "night").read_records()) < TASKS


def test_a_baseline_without_the_tier_is_refused_before_anything_is_asked(scene):
    folder, tasks, engine = scene
    before = len(engine.calls)
    options = ["--against", folder / "base", "--policy", folder / "gate.yaml", "--tier", "slow"]
    done = CliRunner().invoke(app, ["watch", *map(str, [folder / "one.yaml", tasks, *options])])
    assert done.exit_code != 0
    assert "slow" in str(done.exception or done.output)
    assert len(engine.calls) == before


def test_changes_of_engines_are_named(scene, tmp_path):
    watch(scene, "--out", tmp_path / "night")
    base, now = (RunDirectory(tmp_path / name).read_manifest() for name in ("base", "night"))
    (far,) = now.deployments
    other = msgspec.structs.replace(far, engine="vllm", facts={**far.facts, "version": "0.26"})
    session = msgspec.structs.replace(now.sessions[-1], deployments=[other])
    assert changed(base, now) == []
    assert changed(base, msgspec.structs.replace(now, sessions=[session])) == [
        "deployment 'far' runs on vllm, and ran on http",
        f"deployment 'far' reports version 0.26, and {far.facts.get('version', 'nothing')} before",
    ]
