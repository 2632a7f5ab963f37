"""Bench jobs, and errors that are raised before anything is spent."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripted_tiers import line
from tierwise import plan as planning
from tierwise.bench import bench_job
from tierwise.bench.bench_job import chosen_tiers, require_sandbox, settings_for
from tierwise.runs.directory import RunSettings
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.verifiers.sandbox import Backend
from tierwise.workloads.files import load

CONFIG = """
deployments: {far: {engine: http, url: "http://127.0.0.1:9/v1", model: far}}
tiers: {fast: {deployment: far, policy: single}, max: {deployment: far, policy: {majority: {n: 3}}}}
routes: {auto: {cascade: [fast, max]}}
"""


def test_all_tiers_are_measured_when_none_is_named_and_routes_when_they_are():
    plan = planning.parse(CONFIG, Path("tierwise.yaml"))
    assert chosen_tiers(plan, []) == ["fast", "max"]
    assert chosen_tiers(plan, ["auto", "fast"]) == ["fast", "auto"], "in the order of the file"
    with pytest.raises(ConfigErrors, match="--tier: there is no tier or route 'quick'"):
        chosen_tiers(plan, ["quick"])


def test_the_workload_supplies_missing_settings(write_tasks):
    quiet = load(write_tasks(line("a")))
    assert settings_for(quiet) == RunSettings(seed=0, concurrency=4, timeout=600.0)
    about = {"workload": {"concurrency": 2, "warm_up": 3, "arrival": "poisson:1"}}
    said = load(write_tasks(about, line("a")))
    assert settings_for(said) == RunSettings(seed=0, concurrency=2, timeout=600.0, arrival="poisson:1", warm_up=3)
    given = settings_for(said, seed=7, concurrency=8, timeout=1.0, arrival="closed", repeats=5, warm_up=0)
    assert given == RunSettings(seed=7, concurrency=8, timeout=1.0, arrival="closed", repeats=5, warm_up=0)


def test_checks_that_run_code_are_refused_where_there_is_no_sandbox(write_tasks, monkeypatch):
    monkeypatch.setattr(bench_job, "backend", lambda: Backend(name="none", reason="no user namespaces"))
    require_sandbox(load(write_tasks(line("a"))))
    tests = {"python_tests": {"tests": "assert f() == 4"}}
    with pytest.raises(SpecError, match="no sandbox is available here: no user namespaces"):
        require_sandbox(load(write_tasks(line("a", check=tests))))
