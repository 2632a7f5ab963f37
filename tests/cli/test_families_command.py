"""`tierwise families` and `tierwise recipe` as a script meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest


def tierwise(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tierwise", *arguments]
    environment = {**os.environ, "COLUMNS": "80", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=60)


def test_all_families_are_listed_in_eighty_columns():
    done = tierwise("families")
    assert done.returncode == 0
    assert "qwen3.5-397b-a17b" in done.stdout
    assert "gemma-4 31b" in done.stdout
    assert "not measured here" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_one_family_is_told_whole_with_source_and_mode():
    said = tierwise("families", "deepseek-v4-pro").stdout
    assert "published, not measured here" in said
    assert "livecodebench 93.5, think, max, harness unknown, date unknown" in said
    assert "num_experts_per_tok: the first layers are routed by a table" in said
    assert "off by default; on thinking=true" in said
    assert "recipe: vllm-project/recipes" in said


def test_what_is_not_confirmed_is_marked():
    assert "top_k=64  [card, not confirmed]" in tierwise("families", "gemma-4").stdout


def test_families_as_json_are_json():
    assert {one["name"] for one in json.loads(tierwise("families", "--json").stdout)} >= {"glm-5.1", "smollm2"}
    assert json.loads(tierwise("families", "kimi-k2.6", "--json").stdout)["licence"]["name"] == "Modified MIT"


def test_a_family_that_is_not_known_is_exit_code_2():
    done = tierwise("families", "gemma4")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean 'gemma-4'" in done.stderr


def test_a_recipe_checks(tmp_path):
    done = tierwise("recipe", "smollm2", "--gpus", "cpu")
    assert done.stdout.splitlines()[0].endswith("tierwise init --family smollm2 --gpus cpu --engine llama.cpp")
    (tmp_path / "tierwise.yaml").write_text(done.stdout)
    assert tierwise("check", str(tmp_path / "tierwise.yaml")).returncode == 0


def test_a_recipe_as_json_is_the_same_file():
    shown = json.loads(tierwise("recipe", "gemma-4", "--gpus", "H100", "--variant", "31b", "--json").stdout)
    assert shown["deployments"]["all"]["tensor_parallel"] == 1
    assert list(shown["tiers"]) == ["fast", "standard", "max"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("glm-5.1", "--gpus", "8xH100"), "8xH100 has 640 GB; fits on: 8xH200"),
        (("glm-5.1", "--gpus", "8xH300"), "there is no GPU 'H300'"),
        (("glm-5.1", "--gpus", "8xH200", "--engine", "tgi"), "there is no recipe for engine 'tgi'"),
        (("gemma-4", "--gpus", "H100", "--variant", "e2b"), "gemma-4 has no variant 'e2b'"),
        (("gpt-2", "--gpus", "H100"), "there is no family 'gpt-2'"),
    ],
)
def test_what_cannot_be_is_exit_code_2_with_the_reason(arguments, message):
    done = tierwise("recipe", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
