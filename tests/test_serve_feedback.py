"""`tierwise serve` with a route that takes labels later: they reach its detectors, once each, and across a restart."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from certificates import certificate_for
from endpoints import Endpoint, ready, serving, shadows, tier_of, until
from test_serve import process_of
from tierwise import plan as planning
from tierwise.certificate import Figure
from tierwise.cli import app
from tierwise.testing import ScriptedEngine

CONFIG = """
deployments:
  small: {{engine: http, url: "{url}/v1", model: small}}
  large: {{engine: http, url: "{url}/v1", model: large}}
tiers:
  fast: {{deployment: small, policy: single}}
  max: {{deployment: large, policy: single}}
routes:
  auto:
    cascade: [fast, max]
    signals: [{{length: 99}}]
    certificate: auto.json
    shadow: {{share: 1.0, label_days: 7, keep_days: 7}}
"""
JSON = {"content-type": "application/json"}


@pytest.fixture
def upstream() -> Iterator[Endpoint]:
    cheap, dear = ScriptedEngine("5", step=0.0), ScriptedEngine("4", step=0.0)
    with serving(tier_of(engine=cheap, name="small"), tier_of(engine=dear, name="large")) as endpoint:
        yield endpoint


def certified(folder: Path, upstream: Endpoint) -> Path:
    """Answers of this route differ nearly always, as is certified, so that only labels can raise an alarm."""
    path = folder / "tierwise.yaml"
    path.write_text(CONFIG.format(url=upstream.url))
    made = certificate_for(planning.load(path), {})
    msgspec.structs.replace(made, disagreement=Figure(value=0.9, low=0.8, high=0.97)).signed().write(
        folder / "auto.json"
    )
    return path


def post(process, headers=JSON, **body):
    return process.request("POST", "/v1/feedback", json.dumps(body).encode(), headers)


def asked(process) -> str:
    """The id of an action that was answered and shadowed."""
    before = shadows(process)["observed"]
    answer = process.chat("auto")
    until(lambda: shadows(process)["observed"] == before + 1)
    return answer.json["id"]


def test_labels_of_harm_above_the_promise_raise_the_alarm_and_the_route_falls_back(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path) as process:
        ready(process)
        for _ in range(5):
            action = asked(process)
            (one,) = process.request("GET", "/v1/feedback").json["data"]
            assert (one["action"], one["route"], one["needs"]) == (action, "auto", ["served", "reference"])
            given = post(process, action=action, correct=True)
            assert (given.status, given.json["needs"]) == (200, [])
        assert shadows(process)["labels"]["counted"] == 5
        late = asked(process)
        assert process.metric('tierwise_route_labels{route="auto",state="wanted"}') == 1
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    with process_of(path, tmp_path) as process:  # what waits, waits after a restart too
        ready(process)
        assert post(process, action=late, correct=False).json["needs"] == ["reference"]
        assert post(process, action=late, answer="reference", correct=True).json["needs"] == []
        for number in range(2, 60):  # noqa: B007 - it is used below
            if shadows(process)["alarm"]:
                break
            action = asked(process)
            post(process, action=action, correct=False)
            post(process, action=action, answer="reference", correct=True)
        assert number < 40
        answer = process.chat("auto")
        assert (answer.text, answer.headers["x-tierwise-tier"]) == ("4", "max")
        assert "loss" in answer.headers["x-tierwise-certificate"]
        assert process.metric('tierwise_route_certified{route="auto"}') == 0
        said = CliRunner().invoke(app, ["status", "--url", process.url]).output
        assert "void, so max answers: shadowed traffic says" in said
        counted = shadows(process)["observed"]
        assert f"auto: the loss of {counted} actions is counted; 0 wait for labels, and 0 behind them" in said


def test_a_label_is_refused_with_what_is_wrong(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path) as process:
        ready(process)
        action = asked(process)
        assert post(process, action=action, correct=False).status == 200
        again = post(process, action=action, correct=True)
        assert (again.status, again.error["code"]) == (409, "already_labelled")
        unknown = post(process, action="act_0", correct=True)
        assert (unknown.status, unknown.error["code"], unknown.error["param"]) == (404, "not_found", "action")
        for body in ({"action": action}, {"action": action, "correct": "yes"}, {"action": "", "correct": True}):
            assert post(process, **body).status == 400
        wrong = post(process, action=action, correct=True, answer="shadow")
        assert (wrong.status, wrong.error["param"]) == (400, "answer")
        assert "reference" in wrong.error["message"]
        misspelt = post(process, action=action, corect=True).error
        assert "did you mean 'correct'?" in misspelt["message"]
        assert post(process, {"content-type": "text/plain"}, action=action, correct=True).status == 415
        refused = process.request("DELETE", "/v1/feedback")
        assert refused.status == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}
        assert shadows(process)["labels"]["wanted"] == 1  # none of it was taken


def test_an_endpoint_that_observes_nothing_takes_no_labels(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path, "--no-shadow") as process:
        ready(process)
        answer = post(process, action="act_0", correct=True)
        assert (answer.status, answer.error["code"]) == (404, "not_found")
        assert "label_days" in answer.error["message"]
        assert process.request("GET", "/v1/feedback").json["data"] == []
