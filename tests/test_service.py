"""A plan brought to life, without any process of an engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from certificates import certificate_for
from tierwise import plan as planning
from tierwise.certificate import certificates_of
from tierwise.engines.engine import Deployment, Health
from tierwise.engines.openai.engine import HttpEngine
from tierwise.gateway.deployments import deployed
from tierwise.ledger.prices import PriceBook
from tierwise.policies import Majority
from tierwise.router import Router
from tierwise.service import Certification, Service, assemble, build, launched, log_folder
from tierwise.spec.budget import Budget
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import Broken, ConfigErrors, SpecError
from tierwise.testing import ScriptedEngine

FILE = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", slots: 3}
  twin: {engine: http, url: "http://127.0.0.1:1/v1", slots: 3}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: big}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0}}
  also: {deployment: twin, policy: single}
  vote: {deployment: large, policy: {majority: {n: 7}}, budget: {passes: 5}}
  judge: {deployment: large, policy: {best_of_n: {n: 2, verifier: {json_schema: {schema: {type: object}}}}}}
routes:
  auto: {cascade: [fast, vote]}
prices:
  large: {completion: 2.0}
"""


def plan_of(text: str = FILE) -> planning.Plan:
    return planning.parse(text, Path("house.yaml"))


def service_of(text: str = FILE) -> Service:
    plan = plan_of(text)
    return assemble(plan, build(plan), None)


def test_every_tier_and_route_is_a_model():
    assert service_of().router.names == ["fast", "also", "vote", "judge", "auto"]


def test_a_tier_is_built_as_the_file_says():
    tiers = service_of().router.tiers
    assert tiers["fast"].sampling == {"temperature": 0}
    assert tiers["vote"].policy == Majority(n=7)
    assert tiers["vote"].budget == Budget(passes=5)
    assert tiers["fast"].verifier is None
    assert tiers["judge"].verifier is not None
    assert tiers["judge"].verifier.kind == "json_schema"


def test_deployments_that_ask_for_the_same_share_one_engine_and_its_clock():
    service = service_of()
    tiers = service.router.tiers
    assert list(service.deployments) == ["small", "large"]
    assert tiers["fast"].deployment is tiers["also"].deployment
    assert tiers["fast"].deployment.slots == 3
    assert tiers["vote"].deployment is tiers["judge"].deployment
    assert tiers["vote"].deployment is not tiers["fast"].deployment


def test_a_tier_reaches_the_reward_model_that_it_names():
    grader = '  grader: {engine: vllm, url: "http://127.0.0.1:3/v1", rewards: true}\ntiers:\n'
    policy = "policy: {best_of_n: {scorer: {reward: {deployment: grader}}}}"
    service = service_of(FILE.replace("tiers:\n", grader).replace("policy: single", policy, 1))
    assert service.router.tiers["fast"].graders == {"grader": service.deployments["grader"]}
    assert service.router.tiers["also"].graders == {}
    assert {one.name: one.tiers for one in deployed(service, in_full=False)} == {
        "small": ["fast", "also"],
        "large": ["vote", "judge", "auto"],
        "grader": ["fast"],
    }


def test_a_key_that_is_not_set_is_named():
    with pytest.raises(SpecError) as found:
        build(plan_of(FILE.replace("model: big", "model: big, api_key_env: NOT_SET_ANYWHERE")))
    assert found.value.field == "deployments.large.api_key_env"


def test_a_checkpoint_that_is_not_here_is_named():
    file = """
checkpoints: {gone: {source: "file:nowhere.gguf"}}
deployments: {small: {engine: llama.cpp, checkpoint: gone}}
tiers: {fast: {deployment: small, policy: single}}
"""
    with pytest.raises(SpecError, match="gone"):
        build(plan_of(file))


def test_logs_lie_in_a_folder_of_the_file_s_name():
    assert log_folder(plan_of()).name == "house"


def test_every_action_has_an_id_of_its_own():
    service = service_of()

    async def traces() -> set[str]:
        return {service.new_trace().action for _ in range(100)}

    assert len(asyncio.run(traces())) == 100


class Lively(ScriptedEngine):
    """Notes when it is started and stopped."""

    def __init__(self, *, fails: bool = False, fails_to_stop: bool = False) -> None:
        super().__init__()
        self.fails, self.fails_to_stop = fails, fails_to_stop
        self.life: list[str] = []

    async def start(self) -> None:
        if self.fails:
            raise Broken("it does not come up: no such model")
        try:
            await asyncio.sleep(60)
        finally:
            self.life.append("start ended")

    async def stop(self) -> None:
        if self.fails_to_stop:
            raise Broken("it does not end")
        await asyncio.sleep(0.01)
        self.life.append("stopped")


def around(*engines: Lively) -> Service:
    deployments = {str(number): Deployment(name=str(number), engine=engine) for number, engine in enumerate(engines)}
    return Service(router=Router(tiers={}), deployments=deployments, prices=PriceBook({}), ledger=None)


def test_the_first_engine_that_does_not_come_up_ends_the_start():
    good, bad = Lively(), Lively(fails=True)
    with pytest.raises(Broken, match="no such model"):
        asyncio.run(around(good, bad).start())
    assert good.life == ["start ended"]


async def live(engines: dict[str, Any], monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    monkeypatch.setattr("tierwise.service.build", lambda plan: engines)
    async with launched(plan_of()):
        if error is not None:
            raise error


def test_leaving_stops_every_engine(monkeypatch):
    engines = {"small": Lively(), "large": Lively()}
    asyncio.run(live(engines, monkeypatch))
    assert [engine.life for engine in engines.values()] == [["stopped"], ["stopped"]]


def test_an_error_stops_every_engine_too(monkeypatch):
    engines = {"small": Lively(), "large": Lively()}
    with pytest.raises(KeyError):
        asyncio.run(live(engines, monkeypatch, KeyError("x")))
    assert [engine.life for engine in engines.values()] == [["stopped"], ["stopped"]]


def test_an_engine_that_cannot_be_stopped_does_not_keep_the_others_running(monkeypatch):
    engines = {"small": Lively(fails_to_stop=True), "large": Lively()}
    with pytest.raises(Broken, match="does not end"):
        asyncio.run(live(engines, monkeypatch))
    assert engines["large"].life == ["stopped"]


def test_http_engines_are_what_the_file_s_urls_become():
    assert all(isinstance(engine, HttpEngine) for engine in build(plan_of()).values())


# ── certificates ────────────────────────────────────────────────────────

CERTIFIED = FILE.replace("{cascade: [fast, vote]}", "{cascade: [fast, vote], certificate: auto.json}")


class Versioned(Lively):
    """An engine that says its version once it has started."""

    version = "1"

    async def start(self) -> None:
        return None

    def health(self) -> Health:
        return Health(state="ready", facts={"version": self.version})


def certified_plan(folder: Path, version: str = "1") -> planning.Plan:
    """A plan with a certificate for engines of a version."""
    (folder / "house.yaml").write_text(CERTIFIED)
    plan = planning.load(folder / "house.yaml")
    running = {name: Deployed(name=name, slots=3, facts={"version": version}) for name in ("small", "large")}
    certificate_for(plan, running, safe="vote").write(folder / "auto.json")
    return plan


async def started(plan: planning.Plan, engines: dict[str, Any], *, uncertified: bool = False) -> Service:
    certification = Certification(plan=plan, certificates=certificates_of(plan), uncertified=uncertified)
    service = assemble(plan, engines, None, certification)
    await service.start()
    return service


def state_of(service: Service) -> tuple[str, tuple[str, ...]]:
    state = service.router.certified.state("auto")
    assert state is not None
    return state.state, state.reasons


def test_a_certificate_holds_once_the_engines_are_those_that_were_certified(tmp_path):
    engines = {"small": Versioned(), "large": Versioned()}
    service = asyncio.run(started(certified_plan(tmp_path), engines))
    assert state_of(service) == ("holds", ())


def test_an_engine_of_another_version_is_refused_when_it_is_ready(tmp_path):
    engines = {"small": Versioned(), "large": Versioned()}
    with pytest.raises(
        ConfigErrors, match=r"house\.yaml:12: .*'large' runs http 1, and 0 was certified.*--uncertified"
    ):
        asyncio.run(started(certified_plan(tmp_path, "0"), engines))
    service = asyncio.run(started(certified_plan(tmp_path, "0"), engines, uncertified=True))
    assert state_of(service)[0] == "void"
    assert service.router.serving["auto"].policy.tiers() == ("vote",)


def test_a_file_that_is_not_as_certified_is_refused_before_an_engine_is_built(tmp_path, monkeypatch):
    certified_plan(tmp_path)
    (tmp_path / "house.yaml").write_text(CERTIFIED.replace("majority: {n: 7}", "majority: {n: 9}"))
    built: list[Any] = []
    monkeypatch.setattr("tierwise.service.build", built.append)

    async def main() -> None:
        async with launched(planning.load(tmp_path / "house.yaml")):
            pass

    with pytest.raises(ConfigErrors, match="tier 'vote' has another policy"):
        asyncio.run(main())
    assert not built
