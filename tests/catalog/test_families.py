"""Family files: what ships holds together, and what a user adds is checked whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierwise.catalog import architecture
from tierwise.catalog.families import families, family, family_of, read_family
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError

OURS = Path(__file__).parents[2] / "src" / "tierwise" / "catalog" / "families"
THE_FIVE = ("glm-5.1", "deepseek-v4-pro", "kimi-k2.6", "qwen3.5-397b-a17b", "gemma-4")
HOUSE = """\
name: house
title: House
maker: Us
sources: {card: our own card}
model_types: [house]
engines: {vllm: {architecture: HouseForCausalLM, source: card}}
variants:
  - name: 1b
    parameters_billion: 1
    active_billion: 1
    layers: 2
    source: card
    attention: {kind: full, source: card}
    context: {tokens: 1024, source: card}
    weights: [{repository: us/house, precision: bfloat16, memory_gb: 2.4, source: card}]
active_experts: {why_not: it is dense, source: card}
thinking: {default: false, ships_template: true, source: card}
licence: {name: MIT, source: card}
"""


def wrong(folder: Path, text: str, name: str = "house") -> list[str]:
    """What is wrong with a file, one line each."""
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigErrors) as caught:
        read_family(path)
    return str(caught.value).splitlines()


def test_the_five_and_two_that_run_anywhere_are_known():
    assert set(families()) == {*THE_FIVE, "smollm2", "qwen2.5-coder"}


def test_they_are_read_once():
    assert families() is families()


@pytest.mark.parametrize("name", THE_FIVE)
def test_each_of_the_five_says_what_the_levers_and_a_recipe_want(name):
    found = family(name)
    assert set(found.engines) == {"vllm", "sglang", "llama.cpp", "transformers"}
    assert found.engines["vllm"].reasoning_parser
    assert found.engines["vllm"].tool_parser
    assert found.thinking.switch is not None
    assert found.active_experts.key
    assert found.sampling
    assert found.claims
    assert found.successors
    assert any(variant.experts for variant in found.variants)


def test_deepseek_s_active_experts_must_stay():
    key = family("deepseek-v4-pro").active_experts
    assert (key.key, key.may_change) == ("num_experts_per_tok", False)
    assert "tid2eid" in key.why_not


@pytest.mark.parametrize(
    ("name", "default", "on", "off"),
    [
        ("glm-5.1", True, {"enable_thinking": True}, {"enable_thinking": False}),
        ("deepseek-v4-pro", False, {"thinking": True, "reasoning_effort": "high"}, {"thinking": False}),
        ("kimi-k2.6", True, {"thinking": True}, {"thinking": False}),
        ("qwen3.5-397b-a17b", True, {"enable_thinking": True}, {"enable_thinking": False}),
        ("gemma-4", False, {"enable_thinking": True}, {"enable_thinking": False}),
    ],
)
def test_the_thinking_switch_is_the_family_s_own(name, default, on, off):
    thinking = family(name).thinking
    assert (thinking.default, thinking.switch) == (default, (on, off))


def test_a_family_that_cannot_think_has_no_switch():
    assert family("smollm2").thinking.switch is None


def test_what_nobody_could_confirm_says_so():
    gemma, deepseek, glm, kimi = (family(name) for name in ("gemma-4", "deepseek-v4-pro", "glm-5.1", "kimi-k2.6"))
    assert not any(advice.confirmed for advice in gemma.sampling)
    assert not gemma.variant("26b-a4b").confirmed  # its layers
    assert not gemma.variant("26b-a4b").context.confirmed
    assert not deepseek.variant("").attention.confirmed  # index_topk
    assert [claim.score for claim in glm.claims if not claim.confirmed] == [77.8]
    assert [advice.use for advice in kimi.sampling if not advice.confirmed] == ["instant"]
    assert not kimi.engines["llama.cpp"].confirmed


@pytest.mark.parametrize(
    ("model_type", "shape", "name"),
    [
        ("glm_moe_dsa", {}, "glm-5.1"),
        ("glm-dsa", {}, "glm-5.1"),
        ("qwen3_5_moe_text", {}, "qwen3.5-397b-a17b"),
        ("deepseek_v3", {"layers": 61, "hidden": 7168, "experts": 384}, "kimi-k2.6"),
        ("deepseek_v3", {"layers": 61, "hidden": 7168, "experts": 256}, None),  # DeepSeek-V3 itself
        ("llama", {"layers": 30, "hidden": 576}, "smollm2"),
        ("llama", {"layers": 32, "hidden": 4096}, None),
        ("llama", {}, None),
        ("never_heard_of", {}, None),
    ],
)
def test_a_checkpoint_is_known_by_its_kind_and_where_many_share_it_by_its_shape(model_type, shape, name):
    found = family_of(model_type, **shape)
    assert (found and found.name) == name


@pytest.mark.model
def test_the_real_small_checkpoint_is_known_by_its_shape(smollm2):
    found = architecture.read(smollm2)
    facts = family_of(found.model_type, layers=found.layers, hidden=found.hidden, experts=found.experts)
    assert facts is family("smollm2")
    assert facts.variant("135m").context.tokens == found.context
    assert found.has_chat_template is facts.thinking.ships_template


def test_no_kind_is_claimed_by_two():
    claimed = [kind for one in families().values() for kind in one.model_types]
    assert sorted(claimed) == sorted(set(claimed))


def test_a_name_that_is_not_known_brings_the_nearest_and_all():
    with pytest.raises(NotFound, match=r"did you mean 'kimi-k2.6'\? allowed: deepseek-v4-pro, gemma-4, .*smollm2"):
        family("kimi-k26")


def test_a_name_is_read_in_any_case():
    assert family("GLM-5.1") is family("glm-5.1")


def test_a_size_that_is_not_known_brings_those_that_are():
    with pytest.raises(SpecError, match="gemma-4 has no variant '31'; did you mean '31b'"):
        family("gemma-4").variant("31")


def test_a_file_that_is_right_is_read(tmp_path):
    (tmp_path / "house.yaml").write_text(HOUSE)
    assert read_family(tmp_path / "house.yaml").variant("1b").weights[0].repository == "us/house"


def test_all_that_is_wrong_is_said_at_once_with_file_and_line(tmp_path):
    text = (
        HOUSE.replace("maker: Us", "makers: Us").replace("layers: 2", "layers: 0").replace("tokens: 1024", "tokens: x")
    )
    said = wrong(tmp_path, text)
    assert len(said) == 4
    assert said[0].startswith("house.yaml:3: makers: unknown key")
    assert any("house.yaml:11: variants[0].layers" in line for line in said)
    assert any("house.yaml:14: variants[0].context.tokens" in line for line in said)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("kind: full, source: card", "kind: full", "the key 'source' is missing"),
        ("kind: full, source: card", "kind: full, source: cart", "there is no source 'cart'; did you mean 'card'?"),
        ("{card: our own card}", "{card: our own card, blog: a post}", "no fact uses it"),
        ("name: house", "name: horse", "'horse' does not match the file name house.yaml"),
        ("model_types: [house]", "model_types: []", "no checkpoint would match it"),
        ("why_not: it is dense, ", "", "why_not must state that there is nothing to change"),
        ("vllm: {", "vlm: {", "there is no engine 'vlm'; did you mean 'vllm'?"),
        (
            "weights: [{repository: us/house, precision: bfloat16, memory_gb: 2.4, source: card}]",
            "weights: []",
            "at least one",
        ),
        ("precision: bfloat16", "precision: bf16", "bf16"),
        ("memory_gb: 2.4", "memory_gb: -1", "memory_gb"),
        ("    layers: 2\n", "    layers: 2\n    layers: 3\n", "appears twice, on lines 11 and 12"),
        (
            "    attention:",
            "    experts: {routed: 2, active: 4, router: softmax, source: card}\n    attention:",
            "4 of 2 experts cannot be active",
        ),
        (
            "licence:",
            "claims: [{suite: b, variant: 7b, score: 1, source: card}]\nlicence:",
            "variant '7b'",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, old, new, message):
    assert old in HOUSE
    assert message in "\n".join(wrong(tmp_path, HOUSE.replace(old, new)))


def test_a_user_s_folder_adds_families(tmp_path, monkeypatch):
    (tmp_path / "house.yaml").write_text(HOUSE)
    monkeypatch.setenv("TIERWISE_FAMILIES", str(tmp_path))
    assert family("house").title == "House"
    assert family_of("house") is family("house")
    assert "glm-5.1" in families()


def test_a_user_s_file_wins_over_ours_of_the_same_name(tmp_path, monkeypatch):
    ours = (OURS / "smollm2.yaml").read_text(encoding="utf-8")
    (tmp_path / "smollm2.yaml").write_text(ours.replace("title: SmolLM2", "title: My own"))
    monkeypatch.setenv("TIERWISE_FAMILIES", str(tmp_path))
    assert family("smollm2").title == "My own"


def test_everything_wrong_in_a_user_s_folder_is_said_at_once(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(HOUSE)
    monkeypatch.setenv("TIERWISE_FAMILIES", str(tmp_path))
    with pytest.raises(ConfigErrors, match=r"(?s)one\.yaml:1.*two\.yaml:1"):
        families()


def test_a_folder_that_is_none_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_FAMILIES", str(tmp_path / "missing"))
    with pytest.raises(SpecError, match="TIERWISE_FAMILIES is not a folder"):
        families()
