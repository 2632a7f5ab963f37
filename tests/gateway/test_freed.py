"""What a request holds is freed when it ends: a garbage collector that has to find it takes time from all others."""

from __future__ import annotations

import gc
import json

import pytest

from endpoints import HELLO, tier_of, until
from tierwise.gateway.lifecycle import RequestContext
from tierwise.gateway.metrics import Metrics
from tierwise.policies import Majority, Single


def requests() -> list[object]:
    return [one for one in gc.get_objects() if type(one) is RequestContext]


@pytest.mark.parametrize("policy", [Single(), Majority(n=3)], ids=["single", "vote"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_a_request_is_freed_without_a_garbage_collection(serve, policy, stream, path):
    endpoint = serve(tier_of(policy))
    body: dict[str, object] = {"model": "tier", "stream": stream}
    body |= {"input": "hi"} if path == "/v1/responses" else {"messages": HELLO, "max_tokens": 9}
    asked = json.dumps(body).encode()
    gc.collect()
    before = requests()  # of other tests in this process: a failed test keeps what it had
    gc.disable()
    try:
        for _ in range(3):
            assert endpoint.request("POST", path, asked, {"content-type": "application/json"}).status == 200
        until(lambda: all(any(one is other for other in before) for one in requests()))
    finally:
        gc.enable()


def test_durations_are_counted_up_to_the_bounds_of_their_buckets():
    metrics = Metrics({})
    for seconds in (0.01, 0.0100001, 2.0, 1000.0):
        metrics._first.add("fast", seconds)
    name, labels = "tierwise_action_first_output_seconds", {"tier": "fast"}
    counted = {
        bound: metrics.registry.get_sample_value(f"{name}_bucket", {**labels, "le": bound})
        for bound in ("0.01", "0.025", "2.5", "320.0", "+Inf")
    }
    assert counted == {"0.01": 1, "0.025": 2, "2.5": 3, "320.0": 3, "+Inf": 4}
    assert metrics.registry.get_sample_value(f"{name}_count", labels) == 4
    assert metrics.registry.get_sample_value(f"{name}_sum", labels) == pytest.approx(1002.0200001)
