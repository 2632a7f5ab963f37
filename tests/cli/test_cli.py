"""The command line as a script meets it: what is printed where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise import __version__
from tierwise import plan as planning
from tierwise.runs.exporters import EXPORTERS
from tierwise.runs.importers import IMPORTERS

EXAMPLES = Path(__file__).parents[2] / "examples"


def tierwise(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tierwise", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, check=False, timeout=60
    )


def test_the_version_is_printed():
    assert tierwise("--version").stdout == f"tierwise {__version__}\n"


@pytest.mark.parametrize(
    "verb",
    [
        "init",
        "families",
        "recipe",
        "check",
        "probe",
        "pull",
        "serve",
        "status",
        "ask",
        "workload",
        "power",
        "bench",
        "replay",
        "compare",
        "gate",
        "import",
        "ledger",
        "doctor",
    ],
)
def test_every_verb_explains_itself(verb):
    done = tierwise(verb, "--help")
    assert done.returncode == 0
    assert verb in done.stdout


def test_a_verb_that_does_not_exist_is_exit_code_2():
    assert tierwise("sevre").returncode == 2


def test_check_prints_the_plan(tmp_path):
    done = tierwise("check", str(EXAMPLES / "quickstart.yaml"), TIERWISE_CACHE=str(tmp_path))
    assert done.returncode == 0
    assert "serves fast, standard, max" in done.stdout
    assert "shared: they differ only in what each request can set" in done.stdout
    assert "checkpoint smollm2 is not on this machine yet" in done.stdout
    assert "llama_cpp/worker.py" in done.stdout
    assert "route auto: fast → standard → max  ≤ 12 + 1 prefill passes, prompts ≤ 1 + 12" in done.stdout


def test_check_as_json_is_json(tmp_path):
    done = tierwise("check", str(EXAMPLES / "quickstart.yaml"), "--json", TIERWISE_CACHE=str(tmp_path))
    plan = json.loads(done.stdout)
    assert plan["processes"][0]["tiers"] == ["fast", "standard", "max"]
    assert plan["to_pull"] == ["smollm2"]
    assert plan["tiers"]["standard"]["amplification"] == {
        "passes": 3,
        "prefills": 1,
        "prompts_computed": 1,
        "prompts_cached": 3,
        "completion_tokens": 6144,
    }


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_every_example_is_right(example):
    """In itself: the interpreters and checkpoints that some of them name are not on this machine."""
    assert planning.load(EXAMPLES / example).processes


def test_check_shows_every_mistake_and_ends_with_2(tmp_path):
    file = tmp_path / "tierwise.yaml"
    file.write_text("deployments:\n  far: {engine: http, ulr: x}\ntiers:\n  fast: {deployment: fra, policy: sigle}\n")
    done = tierwise("check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert "tierwise.yaml:2: deployments.far.ulr: unknown key; did you mean 'url'?" in done.stderr
    assert "tierwise.yaml:4: tiers.fast.policy.sigle: unknown key; did you mean 'single'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_file_that_is_not_there_is_exit_code_2(tmp_path):
    done = tierwise("serve", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert "there is no config file" in done.stderr


def test_pull_names_the_checkpoints_that_there_are():
    done = tierwise("pull", str(EXAMPLES / "quickstart.yaml"), "smollm3")
    assert done.returncode == 2
    assert "did you mean 'smollm2'?" in done.stderr


def test_pull_says_where_the_file_is_and_what_its_hash_was(tmp_path):
    (tmp_path / "weights.gguf").write_bytes(b"not a model, but a file")
    file = tmp_path / "tierwise.yaml"
    file.write_text(
        "checkpoints: {w: {source: 'file:weights.gguf'}}\n"
        "deployments: {d: {engine: llama.cpp, checkpoint: w}}\n"
        "tiers: {fast: {deployment: d, policy: single}}\n"
    )
    done = tierwise("pull", str(file), TIERWISE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0
    assert str(tmp_path / "weights.gguf") in done.stdout
    assert "sha256" in done.stdout


def test_a_missing_environment_variable_is_named(tmp_path):
    file = tmp_path / "tierwise.yaml"
    file.write_text(
        "deployments: {far: {engine: http, url: 'http://127.0.0.1:9/v1', api_key_env: NO_SUCH_KEY}}\n"
        "tiers: {fast: {deployment: far, policy: single}}\n"
    )
    done = tierwise("ask", "hello", "--config", str(file), "--ledger", str(tmp_path / "ledger.db"))
    assert done.returncode == 2
    assert "NO_SUCH_KEY" in done.stderr


def test_an_engine_that_is_away_is_exit_code_1_and_named(tmp_path):
    file = tmp_path / "tierwise.yaml"
    file.write_text(
        "deployments: {far: {engine: http, url: 'http://127.0.0.1:9/v1'}}\n"
        "tiers: {fast: {deployment: far, policy: single}}\n"
    )
    done = tierwise("ask", "hello", "--config", str(file), "--ledger", str(tmp_path / "ledger.db"))
    assert done.returncode == 1
    assert "deployment 'far' cannot be reached" in done.stderr


def test_doctor_looks_at_this_machine():
    done = tierwise("doctor", "--json", "--quick")
    findings = {finding["what"]: finding for finding in json.loads(done.stdout)}
    assert findings["Python"]["state"] == "ok"
    assert {"processor", "memory", "llama.cpp, embedded", "sandbox", "cache"} <= set(findings)


def test_doctor_says_what_to_do_about_a_cache_that_cannot_be_written(tmp_path):
    done = tierwise("doctor", "--quick", TIERWISE_CACHE="/proc/nowhere")
    assert done.returncode == 1
    assert "TIERWISE_CACHE" in done.stdout


@pytest.mark.parametrize(("verb", "table"), [("import", IMPORTERS), ("export", EXPORTERS)])
def test_the_help_names_the_tools_of_the_table(verb, table):
    said = " ".join(tierwise(verb, "--help").stdout.replace("│", " ").split())
    assert f": {', '.join(table)}." in said


def test_the_command_line_loads_a_verbs_parts_only_when_the_verb_runs():
    """Else `--help` would take seconds of CPU time."""
    code = "import sys, tierwise.cli; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"aiohttp", "asyncio", "msgspec", "numpy", "sqlalchemy", "starlette", "uvicorn", "yaml"}
    assert not heavy & {name.split(".")[0] for name in loaded}
