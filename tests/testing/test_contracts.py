"""The contract suites run from another package: the example plugin, installed, checked and tested."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tierwise.testing.contracts import VerifierContract
from tierwise.verifiers import Choice, Exact, JsonSchema, Number, Regex

PLUGIN = Path(__file__).parents[2] / "examples" / "plugin"

CONFIG = """
deployments:
  far: {engine: http, url: "http://127.0.0.1:9/v1", model: m}
  near: {engine: echo, times: 2}
tiers:
  one: {deployment: far, policy: {longest: {n: 5}}}
  two: {deployment: far, policy: {best_of_n: {n: 2, verifier: {polite: {words: [cheers]}}}}}
  three: {deployment: near, policy: single}
"""

ASK = """
import asyncio, tierwise
async def main():
    async with tierwise.start("tierwise.yaml") as running:
        result = await running.ask("three", "four")
        print(result.text, result.trace.passes[0].usage.completion)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the plugin."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--target", str(folder), str(PLUGIN)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def run(installed: Path, folder: Path, *command: str) -> tuple[int, str]:
    environment = {**os.environ, "PYTHONPATH": f"{installed}:{os.environ.get('PYTHONPATH', '')}", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, env=environment, cwd=folder
    )
    return done.returncode, done.stdout + done.stderr


def test_an_installed_plugin_is_used_in_a_config_file(installed, tmp_path):
    (tmp_path / "tierwise.yaml").write_text(CONFIG)
    code, said = run(installed, tmp_path, "tierwise", "check", "tierwise.yaml")
    assert (code, "longest" in said, "≤ 5" in said) == (0, True, True), said


def test_an_installed_engine_answers(installed, tmp_path):
    (tmp_path / "tierwise.yaml").write_text(CONFIG)
    (tmp_path / "ask.py").write_text(ASK)
    assert run(installed, tmp_path, "ask") == (0, "four four 2\n")


def test_doctor_lists_installed_plugins(installed, tmp_path):
    code, said = run(installed, tmp_path, "tierwise", "doctor", "--json", "--quick")
    plugins = {one["what"]: one for one in json.loads(said) if one["seen"] == "tierwise-longest 1.0"}
    assert (code, set(plugins)) == (0, {"engine echo", "policy longest", "verifier polite"})
    assert {(one["state"], one["cure"]) for one in plugins.values()} == {("ok", "")}


def test_its_own_tests_with_the_contract_suites_pass(installed, tmp_path):
    (tmp_path / "test_longest.py").write_text((PLUGIN / "test_longest.py").read_text())
    code, said = run(installed, tmp_path, "pytest", "-q", "-p", "no:cacheprovider", "test_longest.py")
    assert (code, "passed" in said) == (0, True), said


class TestVerifiers(VerifierContract):
    verifiers = (
        Number(equals=4),
        Number(),
        Choice(options=("A", "B"), equals="B"),
        Exact(equals="four"),
        Regex(pattern="[0-9]+"),
        JsonSchema(schema={"type": "object"}),
    )
    accepts = (
        (Number(equals=4), "The answer is 4."),
        (Choice(options=("A", "B"), equals="B"), "B"),
        (Exact(equals="four"), "Four."),
        (Regex(pattern="[0-9]+"), "room 12"),
        (JsonSchema(schema={"type": "object"}), '{"a": 1}'),
    )
    rejects = (
        (Number(equals=4), "The answer is 5."),
        (Choice(options=("A", "B"), equals="B"), "A"),
        (Exact(equals="four"), "five"),
        (Regex(pattern="[0-9]+"), "no room"),
        (JsonSchema(schema={"type": "object"}), "[1]"),
    )
