"""The facts of the five families against the real classes of Transformers, on tiny random checkpoints of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from families.tiny import END, TINIES, VOCABULARY, build
from tierwise.catalog import architecture
from tierwise.catalog.families import family_of

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tierwise[transformers]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

pytestmark = pytest.mark.parametrize("name", TINIES)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: build(name, tmp_path_factory.mktemp(name)) for name in TINIES}


def loaded(folder: Path, **settings: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, **settings).eval()


def prompt(folder: Path, **switch: Any) -> str:
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    talk = [{"role": "user", "content": "Say hi, é 漢"}]
    return str(reader.apply_chat_template(talk, add_generation_prompt=True, tokenize=False, **switch))


def routed(model: Any, text: str) -> tuple[Any, set[int]]:
    """The logits of a text, and how many experts each router picked for a token."""
    picked: set[int] = set()
    routers = [part for part in model.modules() if type(part).__name__.endswith("Router")]
    hooks = [part.register_forward_hook(lambda _, __, said: picked.add(said[2].shape[-1])) for part in routers]
    ids = torch.tensor([list(text.encode())])
    with torch.no_grad():
        logits = model(ids).logits
    for hook in hooks:
        hook.remove()
    assert routers
    return logits, picked


def test_it_loads_and_answers(name, folders):
    model = loaded(folders[name])
    reader = transformers.AutoTokenizer.from_pretrained(folders[name])
    ids = reader(prompt(folders[name]), return_tensors="pt")
    done = model.generate(**ids, max_new_tokens=8, do_sample=False)
    assert done.shape[1] > ids["input_ids"].shape[1]
    assert type(model).__name__ == TINIES[name].model


def test_it_is_the_same_for_the_same_seed(name, tmp_path, folders):
    weights = "model.safetensors"
    assert (build(name, tmp_path) / weights).read_bytes() == (folders[name] / weights).read_bytes()


def test_its_tokenizer_gives_texts_back(name, folders):
    reader = transformers.AutoTokenizer.from_pretrained(folders[name])
    text = "Grüße, 漢字 and <|im_start|>"
    assert reader.decode(reader(text)["input_ids"]) == text
    assert reader.eos_token_id == END
    assert len(reader) <= VOCABULARY


def test_its_kind_is_the_family_s(name, folders):
    tiny, found = TINIES[name], architecture.read(folders[name])
    assert (found.model_type, found.layers, found.experts, found.active_experts) == (
        tiny.model_type,
        tiny.layers,
        tiny.experts,
        tiny.active,
    )
    known = (*tiny.facts.model_types, *tiny.facts.shared_model_types)
    assert {tiny.model_type, tiny.whole or tiny.model_type} <= set(known)
    assert family_of(tiny.whole or tiny.model_type) is tiny.facts


def test_the_key_of_active_experts_is_where_the_real_configuration_has_it(name, folders):
    tiny = TINIES[name]
    config = transformers.AutoConfig.for_model(tiny.whole or tiny.model_type)
    *steps, last = (tiny.facts.active_experts.key or "").split(".")
    for step in steps:
        config = getattr(config, step)
    assert config.model_type == tiny.model_type
    assert hasattr(config, last)
    assert architecture.read(folders[name]).active_experts_key == last  # ours is the text model alone


def test_another_number_of_experts_works_where_the_family_says_so(name, folders, caplog):
    tiny = TINIES[name]
    *_, key = (tiny.facts.active_experts.key or "").split(".")
    if not tiny.facts.active_experts.may_change:
        with pytest.raises(RuntimeError, match="mismatched_sizes"):
            loaded(folders[name], **{key: tiny.active + 1})
        assert "tid2eid" in caplog.text
        assert "tid2eid" in tiny.facts.active_experts.why_not
        return
    before, few = routed(loaded(folders[name]), "Hello there")
    after, many = routed(loaded(folders[name], **{key: tiny.active + 1}), "Hello there")
    assert (few, many) == ({tiny.active}, {tiny.active + 1})
    assert not torch.equal(before, after)


def test_its_template_thinks_when_the_switch_says_so(name, folders):
    thinking = TINIES[name].facts.thinking
    assert prompt(folders[name], **(thinking.on or {})).endswith("<think>\n")
    assert prompt(folders[name], **thinking.off).endswith("<think></think>\n")
    assert prompt(folders[name]).endswith("<think>\n" if thinking.default else "<think></think>\n")


def test_whether_weights_are_renormalised_is_so(name, folders):
    """The weights of a token's experts sum to the same for every token, or they do not."""
    sums: list[Any] = []
    model = loaded(folders[name])
    for part in model.modules():
        if type(part).__name__.endswith("Router") and not hasattr(part, "per_expert_scale"):
            part.register_forward_hook(lambda _, __, said: sums.append(said[1].sum(-1).flatten()))
    with torch.no_grad():
        model(torch.tensor([list(b"Hello there")]))
    experts = TINIES[name].facts.variants[0].experts
    assert experts is not None
    is_even = all(torch.allclose(one, one[0].expand_as(one), rtol=1e-4) for one in sums)
    assert is_even is experts.renormalised
