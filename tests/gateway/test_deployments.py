"""What runs is told by the endpoint itself, so that somebody else can have the same."""

from __future__ import annotations

from dataclasses import replace

from endpoints import tier_of
from tierwise.engines.engine import Deployment, Health
from tierwise.gateway.access import Access
from tierwise.policies import Majority
from tierwise.run import Tier
from tierwise.spec.deployed import LoadedWeights
from tierwise.testing import ScriptedEngine


class Told(ScriptedEngine):
    """Says of itself what a launched engine would."""

    def health(self) -> Health:
        return Health(
            state="ready",
            restarts=1,
            resident_bytes=200,
            peak_bytes=300,
            start_seconds=1.5,
            command="llama-server --port 1",
            facts={"version": "4589", "attention": "flash"},
        )


def test_a_deployment_is_told_with_all_that_it_takes_to_have_it_again(serve):
    weights = LoadedWeights(checkpoint="smollm2", sha256="ab" * 32, bytes=1000)
    one = Deployment(name="small", engine=Told("4"), kind="llama.cpp", weights=weights, slots=4, context=512)
    fast = tier_of(name="fast")
    endpoint = serve(
        replace(fast, deployment=one),
        Tier(name="vote", deployment=one, policy=Majority()),
        tier_of(name="far"),
        access=Access(key="secret"),
    )
    small, _, far = endpoint.request("GET", "/v1/deployments").json["data"]
    assert small == {
        "name": "small",
        "tiers": ["fast", "vote"],
        "engine": "llama.cpp",
        "weights": {"checkpoint": "smollm2", "sha256": "ab" * 32, "bytes": 1000},
        "slots": 4,
        "context": 512,
        "command": "llama-server --port 1",
        "facts": {"version": "4589", "attention": "flash"},
        "restarts": 1,
        "start_seconds": 1.5,
        "resident_bytes": 200,
        "peak_bytes": 300,
    }
    assert (far["tiers"], far["weights"], far["peak_bytes"], far["facts"]) == (["far"], None, None, {})


def test_command_lines_and_log_lines_are_for_holders_of_the_key(serve):
    health = Health(state="silent", reason="cannot open /home/ada/model.gguf", last_lines=("at /home/ada",))
    engine = Told("4")
    open_to_all, keyed = serve(tier_of(engine=engine)), serve(tier_of(engine=engine), access=Access(key="secret"))
    (shown,) = open_to_all.request("GET", "/v1/deployments").json["data"]
    assert (shown["command"], shown["restarts"], shown["facts"]["version"]) == ("", 1, "4589")
    assert keyed.request("GET", "/v1/deployments").json["data"][0]["command"] == "llama-server --port 1"
    engine.health = lambda: health  # type: ignore[method-assign]
    nothing = {"authorization": "Bearer "}
    for pages in (open_to_all.request("GET", "/ready"), keyed.request("GET", "/ready", headers=nothing)):
        assert (pages.status, pages.json["deployments"]["tier"]) == (503, {"state": "silent"})
    assert keyed.request("GET", "/ready").json["deployments"]["tier"]["reason"] == health.reason
    assert keyed.request("GET", "/v1/deployments", headers=nothing).status == 401
