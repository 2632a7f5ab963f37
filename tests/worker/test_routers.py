"""The routers of every family, on tiny random checkpoints of the real classes."""

import threading

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'tierwise[transformers]'")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from families.tiny import TINIES, VOCABULARY, build  # noqa: E402
from tierwise.spec.errors import SpecError  # noqa: E402
from tierwise.worker import caches  # noqa: E402
from tierwise.worker.routers import Routers  # noqa: E402

TOKENS = torch.randint(0, 250, (3, 12), generator=torch.Generator().manual_seed(3))
MASK = torch.ones_like(TOKENS)
MASK[1, :5] = 0
OWNERS = torch.tensor([[7], [8], [9]]).expand(3, 12).masked_fill(MASK == 0, -1)


def qwen(kind, **settings):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=32,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=8,
        num_experts_per_tok=2,
        initializer_range=0.3,
        **settings,
    )
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    load = transformers.AutoModelForCausalLM.from_pretrained
    found = {name: load(build(name, tmp_path_factory.mktemp(name))).eval() for name in TINIES}
    return found | {"qwen2_moe": qwen("Qwen2Moe"), "qwen3_moe": qwen("Qwen3Moe")}


NAMES = [*TINIES, "qwen2_moe", "qwen3_moe"]
HASHED = "deepseek-v4-pro"
every = pytest.mark.parametrize("name", NAMES)
changeable = pytest.mark.parametrize("name", [name for name in NAMES if name != HASHED])


def logits(model, **how):
    with torch.inference_mode():
        return model(TOKENS, attention_mask=MASK, **how).logits


def routings(model, routers, owners=OWNERS):
    with routers.recording(owners) as record:
        logits(model)
    return {owner: record.take(owner) for owner in record.owners}


@every
def test_it_knows_the_routers(models, name):
    routers = Routers(models[name])
    dense = 1 if name in ("glm-5.1", "kimi-k2.6") else 0
    assert routers.layers == tuple(range(dense, models[name].config.num_hidden_layers))
    assert (routers.experts, routers.max_active, routers.default) == (8, 8, 2)
    assert routers.may_change == (name != HASHED)


@every
def test_counts_add_up_to_tokens_times_active_experts(models, name):
    routers = Routers(models[name])
    found = routings(models[name], routers)
    assert {owner: one.tokens for owner, one in found.items()} == {7: 12, 8: 7, 9: 12}
    for one in found.values():
        assert one.layers == routers.layers
        assert [sum(layer) for layer in one.counts] == [one.tokens * one.active] * len(routers.layers)
        assert all(0 < entropy <= torch.log(torch.tensor(8.0)) for entropy in one.entropy)


@every
def test_counts_are_what_each_router_chose(models, name):
    model, chosen = models[name], []
    routers = Routers(model)
    modules = [part for part in model.modules() if type(part).__name__.endswith("Router")]
    hooks = [part.register_forward_hook(lambda _, __, said: chosen.append(said[-1])) for part in modules]
    found = routings(model, routers)[8]
    for hook in hooks:
        hook.remove()
    for layer, picks in enumerate(chosen):
        mine = picks[12 + 5 : 24].flatten().tolist()
        assert list(found.counts[layer]) == [mine.count(expert) for expert in range(8)]


@changeable
def test_the_gates_distribution_is_the_one_that_experts_are_chosen_by(models, name):
    for router in Routers(models[name])._routers:
        said = []
        hook = router.module.register_forward_hook(lambda _, __, output, said=said: said.append(output))
        logits(models[name])
        hook.remove()
        gate = router.gate(said[0][0])
        assert gate.sum(-1).allclose(torch.ones(()))
        assert set(map(frozenset, gate.topk(2).indices.tolist())) == set(map(frozenset, said[0][-1].tolist()))


@every
def test_recording_changes_no_answer_and_leaves_no_hook(models, name):
    model = models[name]
    before = logits(model)
    with Routers(model).recording(OWNERS):
        during = logits(model)
    assert torch.equal(before, during)
    assert not any(part._forward_hooks for part in model.modules())


@changeable
def test_another_number_of_experts_holds_for_the_block_alone(models, name):
    model, routers = models[name], Routers(models[name])
    before = logits(model)
    for active in (1, 5, 8):
        with routers.using(active):
            assert {one.active for one in routings(model, routers).values()} == {active}
            assert not torch.allclose(logits(model), before)
    assert torch.equal(logits(model), before)


@changeable
def test_it_is_restored_after_an_error(models, name):
    routers = Routers(models[name])
    with pytest.raises(ZeroDivisionError), routers.using(3):
        1 / 0  # noqa: B018
    assert routers.active == 2


@changeable
@pytest.mark.parametrize("active", [0, 9, -1])
def test_more_experts_than_there_are_is_refused(models, name, active):
    with pytest.raises(SpecError, match="1 to 8 per token"), Routers(models[name]).using(active):
        pass


def test_groups_bound_the_experts_that_may_be_chosen(tmp_path):
    build("kimi-k2.6", tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, n_group=4, topk_group=2)
    assert Routers(model).max_active == 4


def test_hash_routed_models_refuse_another_number(models):
    routers = Routers(models[HASHED])
    with pytest.raises(SpecError, match="2 layers of this deepseek_v4 look experts up in a table"), routers.using(3):
        pass
    with routers.using(2):
        logits(models[HASHED])


def test_a_dense_model_has_no_experts():
    config = transformers.LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, vocab_size=VOCABULARY
    )
    model = transformers.LlamaForCausalLM(config)
    routers = Routers(model)
    assert (routers.layers, routers.experts, routers.default, routers.may_change) == ((), 0, 0, False)
    assert not routings(model, routers)
    with pytest.raises(SpecError, match="dense"), routers.using(2):
        pass


def test_two_blocks_wait_for_each_other(models):
    routers, seen, inside = Routers(models["qwen3_moe"]), [], threading.Event()

    def other():
        inside.wait()
        with routers.using(4):
            seen.append(routers.active)

    thread = threading.Thread(target=other)
    thread.start()
    with routers.using(3):
        inside.set()
        thread.join(0.05)
        seen.append(routers.active)
    thread.join()
    assert seen == [3, 4]


@every
def test_a_record_grows_over_the_steps_of_a_generation(models, name):
    model, routers = models[name], Routers(models[name])
    whole = routings(model, routers)[7]
    record, cache, step = routers.record(), transformers.DynamicCache(config=model.config), 4
    with torch.inference_mode():
        for begin in range(0, 12, step):
            piece = TOKENS[:1, begin : begin + step]
            with routers.recording(OWNERS[:1, begin : begin + step], record):
                model(piece, **{caches.parameter(model): cache}, use_cache=True)
    grown = record.take(7)
    assert (grown.tokens, grown.active) == (whole.tokens, whole.active)
    assert grown.counts == whole.counts
    assert grown.entropy == pytest.approx(whole.entropy, rel=1e-4)
    assert record.take(7) is None


def test_a_forward_of_other_tokens_than_told_is_an_error(models):
    with pytest.raises(ValueError, match="36 tokens went through a router, but 12"):
        routings(models["qwen3_moe"], Routers(models["qwen3_moe"]), OWNERS[:1])
