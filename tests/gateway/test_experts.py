"""The figures of a mixture of experts on the metrics page."""

from __future__ import annotations

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from tierwise.gateway.added_metrics import added, families_of, read_families
from tierwise.gateway.added_metrics import page as sum_page
from tierwise.gateway.experts import HOTTEST, ExpertMetrics
from tierwise.spec.routing import Routing


def page(*routings: Routing) -> dict[str, float]:
    registry = CollectorRegistry()
    metrics = ExpertMetrics(registry)
    for routing in routings:
        metrics.add("large", routing)
    metrics.refresh()
    return values_of(generate_latest(registry))


def values_of(text: bytes) -> dict[str, float]:
    lines = text.decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def routing(layers: int, *counts: int, tokens: int = 100) -> Routing:
    return Routing(source="vllm", layers=range(layers), counts=[counts] * layers, tokens=tokens, active=1)


def test_a_deployment_that_tells_nothing_has_no_series():
    assert page() == {}


def test_balance_is_shown_over_all_layers_and_for_the_worst():
    found = page(Routing(source="vllm", layers=[0, 1], counts=[[2, 2], [4, 0]], tokens=4, active=1))
    assert found['tierwise_moe_balancedness{deployment="large",over="mean"}'] == 0.75
    assert found['tierwise_moe_balancedness{deployment="large",over="worst"}'] == 0.5
    assert found['tierwise_moe_variation{deployment="large",over="worst"}'] == 1


def test_the_hottest_expert_is_named_by_layer_and_number():
    found = page(Routing(source="vllm", layers=[3, 4], counts=[[2, 2], [0, 4]], tokens=4, active=1))
    named = [found[f'tierwise_moe_hot_expert_{what}{{deployment="large",rank="1"}}'] for what in ("layer", "number")]
    assert named == [4, 1]


def test_the_number_of_series_does_not_grow_with_layers_and_experts():
    small = page(routing(2, *range(1, 11)), routing(2, *range(1, 11)))
    large = page(*[routing(60, *range(1, 300), tokens=60_000) for _ in range(3)])
    assert len(large) <= len(small) + 3 <= 16 + 3 * HOTTEST


def test_another_model_at_the_same_place_begins_anew():
    found = page(routing(2, 1, 1), routing(3, 1, 1, 1))
    assert found['tierwise_moe_sampled_passes_total{deployment="large"}'] == 2
    assert found['tierwise_moe_hot_expert_times{deployment="large",rank="1"}'] == 1


def test_several_processes_show_the_balance_of_all_and_not_that_of_one():
    registries = [CollectorRegistry(), CollectorRegistry()]
    first, second = map(ExpertMetrics, registries)
    for _ in range(2):
        first.add("large", Routing(source="vllm", layers=[3], counts=[[8, 0]], tokens=8, active=1, entropy=[0.2]))
        second.add("large", Routing(source="vllm", layers=[3], counts=[[2, 6]], tokens=8, active=1, entropy=[0.6]))
    second.add("small", Routing(source="vllm", layers=[0], counts=[[1, 3]], tokens=4, active=1))
    second.refresh()
    sent = read_families(msgspec.json.decode(msgspec.json.encode(families_of(registries[1]))))
    first.refresh([msgspec.msgpack.decode(msgspec.msgpack.encode(second.loads()))])
    found = values_of(sum_page(added([families_of(registries[0]), sent])))
    whole = page(Routing(source="vllm", layers=[3], counts=[[20, 12]], tokens=32, active=1, entropy=[0.4]))
    ours = {name: value for name, value in found.items() if "large" in name and "sampled" not in name}
    assert ours == {name: value for name, value in whole.items() if "sampled" not in name}
    assert found['tierwise_moe_sampled_passes_total{deployment="large"}'] == 4
    assert found['tierwise_moe_hot_expert_number{deployment="small",rank="1"}'] == 1
    first.refresh([{"large": second.loads()["small"]}])  # of a model of another shape, which is left out
