"""Which numbers of active experts are tried, and the config file that a bench over them gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tierwise import plan as planning
from tierwise.catalog import local_path
from tierwise.moe.whatif import numbers_to_try, variants, write_variants
from tierwise.spec.errors import SpecError

CONFIG = """\
checkpoints: {{m: {{source: "file:model"}}}}
deployments: {{only: {{engine: {engine}, checkpoint: m}}}}
tiers:
  fast: {{deployment: only, policy: single, sampling: {{temperature: 0.5}}}}
  max: {{deployment: only, policy: {{majority: {{n: 3}}}}}}
prices: {{only: {{dollars_per_hour: 2.0}}}}
"""
MIXTURE = {"model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 3, "num_hidden_layers": 2}
DENSE = {"model_type": "llama", "num_hidden_layers": 2}


@pytest.fixture
def plan_of(tmp_path):
    """A config file beside a checkpoint that is nothing but its config.json."""

    def write(engine="transformers", config=MIXTURE):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
        (tmp_path / "model" / "model.safetensors").touch()
        (tmp_path / "tierwise.yaml").write_text(CONFIG.format(engine=engine))
        return planning.load(tmp_path / "tierwise.yaml")

    return write


def read(text: dict[str, object], path: Path) -> planning.Plan:
    return planning.parse(yaml.safe_dump(text), path)


def test_the_trained_number_comes_first_and_is_tried_once(plan_of):
    assert numbers_to_try(plan_of(), "fast", [5, 3, 1, 5]) == ([3, 5, 1], [])


def test_from_two_below_to_four_above_where_nobody_says_which(plan_of):
    assert numbers_to_try(plan_of(), "fast", []) == ([3, 1, 2, 4, 5, 6, 7], [])


def test_numbers_that_cannot_work_are_left_out_with_the_reason(plan_of):
    tried, left_out = numbers_to_try(plan_of(config={**MIXTURE, "num_experts_per_tok": 6}), "fast", [])
    assert tried == [6, 4, 5, 7, 8]
    assert [why.split(":")[0] for why in left_out] == ["9 left out", "10 left out"]


@pytest.mark.parametrize(
    ("config", "wanted", "words"),
    [
        (MIXTURE, [9], "9 of 8 experts cannot be active; give 1 to 8"),
        (MIXTURE, [0], "0 of 8 experts cannot be active"),
        (MIXTURE, [3], "no other number of experts works"),
        (DENSE, [], r"\(llama\) is dense: it has no experts to vary"),
    ],
)
def test_what_cannot_be_varied_is_refused(plan_of, config, wanted, words):
    with pytest.raises(SpecError, match=words):
        numbers_to_try(plan_of(config=config), "fast", wanted)


def test_a_checkpoint_that_is_not_here_is_unknown():
    plan = planning.parse(CONFIG.format(engine="transformers"), Path("nowhere/tierwise.yaml"))
    with pytest.raises(SpecError, match="is not on this machine, so its number of experts is unknown"):
        numbers_to_try(plan, "fast", [])


def test_an_engine_that_takes_the_number_with_a_request_runs_one_process(plan_of, tmp_path):
    found = read(variants(plan_of(), "fast", [3, 5]), tmp_path / "far" / "whatif.yaml")
    assert [(process.engine, list(process.deployments)) for process in found.processes] == [("transformers", ["only"])]
    assert {name: tier.sampling.active_experts for name, tier in found.file.tiers.items()} == {"k3": 3, "k5": 5}
    assert {tier.sampling.temperature for tier in found.file.tiers.values()} == {0.5}


def test_an_engine_that_takes_it_at_launch_gets_a_deployment_for_each_with_its_price(plan_of, tmp_path):
    found = read(variants(plan_of("vllm, python: python3"), "max", [3, 5]), tmp_path / "far" / "whatif.yaml")
    experts = {process.name: process.settings.active_experts for process in found.processes}  # type: ignore[union-attr]
    assert experts == {"only-3": 3, "only-5": 5}
    assert {name: price.dollars_per_hour for name, price in found.file.prices.items()} == {"only-3": 2.0, "only-5": 2.0}
    assert {tier.policy.kind for tier in found.file.tiers.values()} == {"majority"}


def test_a_path_beside_the_file_leads_to_the_same_checkpoint_from_elsewhere(plan_of, tmp_path):
    plan = plan_of()
    (tmp_path / "far" / "out").mkdir(parents=True)
    found = write_variants(plan, "fast", [3, 5], tmp_path / "far" / "out" / "whatif.yaml")
    assert found.file.checkpoints["m"].source == "file:../../model"
    assert local_path(found.checkpoint("m")) is not None


def test_an_engine_without_the_lever_is_named(tmp_path):
    text = 'deployments: {far: {engine: http, url: "http://127.0.0.1:1/v1", model: m}}\n'
    plan = planning.parse(text + "tiers: {fast: {deployment: far, policy: single}}\n", tmp_path / "tierwise.yaml")
    with pytest.raises(SpecError, match="runs on http, which cannot set the number of active experts"):
        variants(plan, "fast", [3, 5])
