"""A certificate is read as it was written, a change by hand is noticed, and every other condition is named."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tierwise import plan as planning
from tierwise.certificate import (
    Certificate,
    Confirmation,
    Evidence,
    Figure,
    Figures,
    Promise,
    Saving,
    Source,
    Split,
    conditions_of,
    read_certificate,
)
from tierwise.spec.deployed import Deployed, LoadedWeights
from tierwise.spec.errors import NotFound, SpecError

CONFIG = """
checkpoints:
  model: {source: "file:model.gguf", sha256: SHA}
deployments:
  small: {engine: llama.cpp, checkpoint: model, slots: 4}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large}
  other: {engine: http, url: "http://127.0.0.1:3/v1", model: other}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7}}
  max: {deployment: large, policy: {majority: {n: 3}}}
  aside: {deployment: other, policy: single}
routes:
  auto: {cascade: [fast, max]}
prices:
  small: {dollars_per_hour: 1}
  large: {dollars_per_hour: 3}
  other: {dollars_per_hour: 9}
""".replace("SHA", "ab" * 32)
RUNNING = {
    "small": Deployed(
        name="small", slots=4, weights=LoadedWeights(checkpoint="model", sha256="ab" * 32), facts={"version": "b1"}
    )
}


def plan(text: str = CONFIG) -> planning.Plan:
    return planning.parse(text, Path("tierwise.yaml"))


def made() -> Certificate:
    half = Figure(value=0.5, low=0.4, high=0.6)
    return Certificate(
        made="2026-11-29T12:00:00+00:00",
        route="auto",
        tiers=["fast", "max"],
        reference="max",
        safe="max",
        promise=Promise(kind="harm", limit=0.05, confidence=0.95),
        evidence=Evidence(
            method="exact",
            p_value=0.01,
            losses=3,
            tasks=200,
            units=200,
            risk=0.015,
            bound=0.038,
            order_seed=0,
            hypotheses=9,
            rank=4,
        ),
        confirmed=Confirmation(tasks=100, risk=0.02, bound=0.06),
        figures={"auto": Figures(points=half, dollars=half, p95_seconds=half)},
        savings=[Saving(against="max", role="reference", share=half)],
        disagreement=Figure(value=0.1),
        split=Split(seed=0, tuning=200, calibration=200, test=100),
        source=Source(pool_sha256="p", workload_sha256="w", began="2026-11-01", ended="2026-11-02"),
        conditions=conditions_of(plan(), "auto", RUNNING),
        alternatives=5,
        thinking="off",
        void_if=["another checkpoint"],
    ).signed()


def test_a_certificate_is_read_as_it_was_written(tmp_path):
    made().write(tmp_path / "auto.json")
    assert read_certificate(tmp_path / "auto.json") == made()


def test_one_that_was_changed_by_hand_is_refused(tmp_path):
    path = tmp_path / "auto.json"
    made().write(path)
    path.write_text(path.read_text().replace('"limit": 0.05', '"limit": 0.01'))
    with pytest.raises(SpecError, match="was changed after it was made"):
        read_certificate(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\xff", '{"sha256": 3}'])
def test_what_is_no_certificate_is_refused_and_named(tmp_path, text):
    path = tmp_path / "auto.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match=r"auto\.json is not a certificate"):
        read_certificate(path)
    with pytest.raises(NotFound, match="`tierwise tune` writes one"):
        read_certificate(tmp_path / "none.json")


def test_another_format_says_what_to_do(tmp_path):
    path = tmp_path / "auto.json"
    msgspec.structs.replace(made(), format=2).signed().write(path)
    with pytest.raises(SpecError, match="has format 2, and this version reads 1"):
        read_certificate(path)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("temperature: 0.7", "temperature: 0.8", "tier 'fast' has another policy, sampling or budget"),
        ("cascade: [fast, max]", "cascade: [max]", "tier 'fast' is gone"),
        ("cascade: [fast, max]", "cascade: [fast, aside, max]", "the route can reach tier 'aside'"),
        ("slots: 4", "slots: 5", "deployment 'small' has other settings"),
        ("majority: {n: 3}", "majority: {n: 5}", "tier 'max' has another policy"),
        ("dollars_per_hour: 3", "dollars_per_hour: 4", "prices changed"),
        ("ab" * 32, "cd" * 32, "deployment 'small' has another checkpoint"),
    ],
)
def test_what_is_not_as_it_was_certified_is_named(before, after, says):
    changed = conditions_of(plan(CONFIG.replace(before, after)), "auto")
    found = made().conditions.differences(changed)
    assert any(says in sentence for sentence in found), found


@pytest.mark.parametrize(("before", "after"), [("model: other}", "model: another}"), ("hour: 9", "hour: 8")])
def test_what_the_route_does_not_use_may_change(before, after):
    assert made().conditions.differences(conditions_of(plan(CONFIG.replace(before, after)), "auto", RUNNING)) == []


def test_another_engine_version_is_named():
    newer = {"small": msgspec.structs.replace(RUNNING["small"], facts={"version": "b2"})}
    found = made().conditions.differences(conditions_of(plan(), "auto", newer))
    assert found == ["deployment 'small' runs llama.cpp b2, and b1 was certified"]


def test_weights_that_are_not_those_of_the_config_file_are_named():
    loaded = msgspec.structs.replace(RUNNING["small"], weights=LoadedWeights(checkpoint="model", sha256="ef" * 32))
    found = made().conditions.differences(conditions_of(plan(), "auto", {"small": loaded}))
    assert found == ["deployment 'small' has another checkpoint"]
