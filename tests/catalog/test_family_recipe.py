"""Recipes: a config file that `tierwise check` accepts, and that says of every published number what it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tierwise.catalog.families import families, family
from tierwise.catalog.fit import engine_for
from tierwise.catalog.gpus import parse_machine
from tierwise.catalog.recipe import recipe
from tierwise.engines import ENGINES, RECIPES
from tierwise.plan import Plan, parse

BIG = "8xB300"
SERVED = [
    pytest.param(one.name, variant.name, engine, id=f"{one.name}-{variant.name}-{engine}")
    for one in families().values()
    for variant in one.variants
    for engine, support in one.engines.items()
    if support.serves
    and any((weights.precision == "gguf") == ENGINES[engine].recipe.reads_gguf for weights in variant.weights)
]


def written(name: str, gpus: str, engine: str = "vllm", variant: str = "") -> str:
    return recipe(family(name), parse_machine(gpus), ENGINES[engine].recipe, variant=variant)


def planned(text: str) -> Plan:
    return parse(text, Path("tierwise.yaml"))


@pytest.mark.parametrize(("name", "variant", "engine"), SERVED)
def test_every_family_on_every_engine_that_serves_it_makes_a_file_that_checks(name, variant, engine):
    plan = planned(written(name, BIG, engine, variant))
    assert plan.names == ["fast", "standard", "max", "auto"]
    assert [process.engine for process in plan.processes] == [engine]
    assert plan.file.routes["auto"].cascade == ["fast", "standard", "max"]


@pytest.mark.parametrize("name", ["smollm2", "qwen2.5-coder"])
def test_small_families_need_no_gpu(name):
    machine = parse_machine("cpu")
    plan = planned(recipe(family(name), machine, engine_for(family(name), machine, RECIPES)))
    assert plan.processes[0].engine == "llama.cpp"
    assert plan.file.checkpoints[name].sha256


def test_fast_does_not_think_and_max_does():
    text = written("qwen3.5-397b-a17b", "8xH200")
    fast, standard, most = re.findall(r"^    sampling: (.*)$", text, re.MULTILINE)
    assert "thinking: false" in fast
    assert "thinking" not in standard  # it does by default
    assert "thinking: true" in most


def test_standard_thinks_where_it_would_else_be_fast_again():
    _, standard, _ = re.findall(r"^    sampling: (.*)$", written("gemma-4", "H100"), re.MULTILINE)
    assert "thinking: true" in standard


def test_the_most_thinking_is_asked_for_where_the_context_holds_it():
    assert 'chat_template_kwargs: {reasoning_effort: "max"}' in written("deepseek-v4-pro", "8xB300")
    assert "context: 393216" in written("deepseek-v4-pro", "8xB300")


def test_where_it_does_not_the_recipe_says_so_and_shows_the_scores_of_less():
    text = written("deepseek-v4-pro", "8xH200")
    assert "maximum thinking needs a context of 393,216" in text
    assert "(thinking, max)" not in text


def test_votes_are_warm():
    assert "temperature: 0.8" in written("smollm2", "cpu", "llama.cpp").partition("\n  max:")[2]


def test_every_published_number_says_so_and_every_source_is_named_once():
    text = written("gemma-4", "H100")
    for number in (
        "at least 64 GB",
        "supports 262,144 tokens",
        "livecodebench v6 77.1",
        "8 of 128 experts",
        "mtp with 4",
    ):
        line = next(line for line in text.splitlines() if number in line)
        assert line.strip().startswith("# published, not measured here")
    cited = set(re.findall(r"\[([\w.-]+)\]$", text, re.MULTILINE))
    assert cited == set(re.findall(r"^# \[([\w.-]+)\]", text, re.MULTILINE))


def test_what_is_not_confirmed_says_so():
    assert "not confirmed: sampling for instant" in written("kimi-k2.6", "8xH200")


def test_the_speculation_is_the_one_that_the_checkpoint_is_made_for():
    assert 'method: "dspark"' in written("deepseek-v4-pro", "8xH200")
    assert "speculative" not in written("deepseek-v4-pro", "8xH200", "sglang")
    assert 'model: "google/gemma-4-26B-A4B-it-assistant"' in written("gemma-4", "H100")


def test_active_experts_are_left_to_a_measurement_or_to_the_checkpoint():
    assert "# active_experts: 10 " in written("qwen3.5-397b-a17b", "8xH200")
    assert "active_experts cannot be changed: the first layers" in written("deepseek-v4-pro", "8xH200")
    assert "active_experts" not in written("gemma-4", "H100", variant="31b")


def test_licence_conditions_stand_at_the_top():
    assert "# licence: Modified MIT; a product with more than 100 million" in written("kimi-k2.6", "8xH200")


def test_a_revision_that_nobody_named_is_no_branch():
    assert "@COMMIT\n" in written("glm-5.1", "8xH200")
    pinned = recipe(family("glm-5.1"), parse_machine("8xH200"), ENGINES["vllm"].recipe, revision="abc123")
    assert "hf:zai-org/GLM-5.1-FP8@abc123\n" in pinned
    assert "COMMIT" not in pinned
