"""Which checkpoint goes into a machine, and how it is split: arithmetic on published figures."""

from __future__ import annotations

import pytest

from tierwise.catalog.families import families, family
from tierwise.catalog.fit import TIGHT, engine_for, fit
from tierwise.catalog.gpus import GPUS, parse_machine
from tierwise.engines import ENGINES, RECIPES
from tierwise.spec.errors import SpecError


def fitted(name: str, gpus: str, engine: str = "vllm", variant: str = "") -> tuple[str, int, int, int, bool]:
    found = fit(family(name), parse_machine(gpus), ENGINES[engine].recipe, variant)
    return found.weights.precision, found.tensor, found.stages, found.copies, found.tight


@pytest.mark.parametrize(
    ("name", "gpus", "expected"),
    [
        ("glm-5.1", "8xH200", ("fp8", 8, 1, 1, False)),  # 893 of 1128 GB
        ("glm-5.1", "16xH200", ("bfloat16", 8, 2, 1, False)),  # 1786 of 2256 GB, on two machines
        ("glm-5.1", "8xB200", ("fp8", 8, 1, 1, False)),
        ("glm-5.1", "4xB200", ("nvfp4", 4, 1, 1, False)),
        ("glm-5.1", "8xMI355X", ("bfloat16", 8, 1, 1, False)),
        ("deepseek-v4-pro", "8xH200", ("fp4+fp8", 8, 1, 1, True)),
        ("kimi-k2.6", "8xH200", ("int4", 8, 1, 1, False)),
        ("kimi-k2.6", "8xB300", ("int4", 4, 1, 2, False)),  # fp8 would fit: the original is int4
        ("qwen3.5-397b-a17b", "8xH200", ("fp8", 8, 1, 1, False)),  # bfloat16 would fit, with no room for a cache
        ("qwen3.5-397b-a17b", "8xH100", ("fp8", 8, 1, 1, False)),
        ("qwen3.5-397b-a17b", "8xA100", ("int4", 4, 1, 2, False)),  # no fp8 on Ampere
        ("gemma-4", "H100", ("bfloat16", 1, 1, 1, False)),
        ("gemma-4", "8xH200", ("bfloat16", 1, 1, 8, False)),
        ("smollm2", "RTX4090", ("bfloat16", 1, 1, 1, False)),
    ],
)
def test_the_most_precise_that_leaves_room_for_a_cache_is_taken(name, gpus, expected):
    assert fitted(name, gpus) == expected


def test_gpus_that_make_no_copy_stay_idle():
    found = fit(family("gemma-4"), parse_machine("3xL40S"), ENGINES["vllm"].recipe)
    assert (found.tensor, found.copies, found.idle) == (2, 1, 1)


def test_what_cannot_fit_says_how_much_is_missing_and_what_would_do():
    with pytest.raises(SpecError, match=r"893 GB in fp8 on hopper .*8xH100 has 640 GB; fits on: 8xH200, "):
        fitted("glm-5.1", "8xH100")


def test_the_machines_that_it_names_do_fit():
    with pytest.raises(SpecError) as caught:
        fitted("deepseek-v4-pro", "1xH100")
    named = str(caught.value).partition("fits on: ")[2].split(", ")
    assert "8xH200" in named
    for machine in named:
        fitted("deepseek-v4-pro", machine)


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("gpu", GPUS)
def test_no_copy_is_larger_than_its_gpus(name, gpu):
    for count in (1, 2, 3, 8, 16):
        machine = parse_machine(f"{count}x{gpu}")
        try:
            found = fit(family(name), machine, ENGINES["vllm"].recipe)
        except SpecError:
            continue
        assert found.share <= TIGHT
        assert found.idle >= 0
        assert machine.gpu is not None
        assert not found.weights.wants or machine.gpu.kind in found.weights.wants


def test_llama_cpp_takes_gguf_and_nobody_else_does():
    assert fitted("gemma-4", "RTX4090", "llama.cpp")[0] == "gguf"
    with pytest.raises(SpecError, match="needs 64 GB in bfloat16"):
        fitted("gemma-4", "RTX4090", "vllm")


def test_a_family_that_the_engine_cannot_serve_is_refused_with_the_reason():
    with pytest.raises(SpecError, match=r"transformers cannot serve kimi-k2.6: .*AutoModelForCausalLM.*llama.cpp"):
        fitted("kimi-k2.6", "8xH200", "transformers")


def test_a_size_without_a_checkpoint_for_the_engine_names_those_that_there_are():
    with pytest.raises(SpecError, match=r"smollm2 1.7b has no checkpoint that llama on llama.cpp reads; known"):
        fitted("smollm2", "cpu", "llama.cpp", "1.7b")


def test_a_processor_takes_small_ones_only():
    assert fitted("smollm2", "cpu", "llama.cpp")[0] == "gguf"
    with pytest.raises(SpecError, match="too many for a CPU"):
        fitted("glm-5.1", "cpu", "llama.cpp")


@pytest.mark.parametrize(
    ("name", "gpus", "engine"),
    [("smollm2", "cpu", "llama.cpp"), ("smollm2", "H100", "vllm"), ("glm-5.1", "8xH200", "vllm")],
)
def test_the_engine_is_chosen_by_the_machine_where_nobody_says(name, gpus, engine):
    assert engine_for(family(name), parse_machine(gpus), RECIPES).engine == engine


def test_an_engine_that_is_none_is_refused():
    with pytest.raises(SpecError, match="there is no recipe for engine 'vlm'; did you mean 'vllm'"):
        engine_for(family("glm-5.1"), parse_machine("8xH200"), RECIPES, "vlm")


@pytest.mark.parametrize(
    ("text", "machine", "memory"),
    [
        ("8xH200", "8xH200", 1128),
        ("h100", "1xH100", 80),
        ("2 × RTX 4090", "2xRTX4090", 48),
        ("4xA100-40", "4xA100-40", 160),
        ("cpu", "cpu", 0),
    ],
)
def test_a_machine_is_read(text, machine, memory):
    found = parse_machine(text)
    assert (str(found), found.memory_gb) == (machine, memory)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8xH300", "there is no GPU 'H300' in the table; did you mean 'H200'"),
        ("0xH200", "has no GPU"),
        ("eight", "there is no GPU 'eight'"),
        ("8", "is not a machine; write 8xH200"),
        ("", "is not a machine"),
    ],
)
def test_a_machine_that_is_none_is_refused(text, message):
    with pytest.raises(SpecError, match=message):
        parse_machine(text)
