"""`tierwise check` says in words what a route's certificate promises, and what is not as it was certified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_cli import tierwise

from certificates import certificate_for
from tierwise import plan as planning

CONFIG = """
deployments: {far: {engine: http, url: "http://127.0.0.1:1/v1", model: tier}}
tiers:
  fast: {deployment: far, policy: single}
  max: {deployment: far, policy: {majority: {n: 3}}}
routes: {auto: {cascade: [fast, max], certificate: auto.json}}
prices: {far: {completion: 2.0}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A config file and the certificate of its route."""
    (tmp_path / "tierwise.yaml").write_text(CONFIG)
    certificate_for(planning.load(tmp_path / "tierwise.yaml"), {}).write(tmp_path / "auto.json")
    return tmp_path / "tierwise.yaml"


def test_a_certificate_is_told_in_words(file):
    done = tierwise("check", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    for said in (
        "certificate of auto: auto.json, ",
        "promised with 95 % confidence: on at most 5 % of all tasks the answer of auto is wrong where that of max is",
        "shown on 200 calibration tasks: 3 losses, risk 2 %, at most 4 % (exact test, p = 0.01; route 4 of 9",
        "seen on 100 test tasks: risk 2 %, at most 6 %",
        "saves 50 % [40 %, 60 %] of the dollars of the reference, max",
        "void if: another checkpoint",
        "the file is as certified; `tierwise serve` compares the running engines",
    ):
        assert said in done.stdout


def test_every_difference_is_told_and_ends_with_2(file):
    file.write_text(CONFIG.replace("n: 3", "n: 5").replace("policy: single", "policy: single, budget: {passes: 1}"))
    done = tierwise("check", str(file))
    assert done.returncode == 2
    assert "does not hold: tier 'max' has another policy, sampling or budget" in done.stdout
    assert "does not hold: tier 'fast' has another policy, sampling or budget" in done.stdout
    assert "tierwise.yaml:6: routes.auto.certificate: does not hold: tier 'fast' has" in done.stderr
    assert "or serve it by its safe tier 'max' with --uncertified" in done.stderr


def test_other_prices_are_told_and_the_promise_holds(file):
    file.write_text(CONFIG.replace("completion: 2.0", "completion: 3.0"))
    done = tierwise("check", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert "prices changed since it was made: the promise holds" in done.stdout


def test_as_json_it_has_the_certificate_its_text_and_the_differences(file):
    file.write_text(CONFIG.replace("n: 3", "n: 5"))
    found = json.loads(tierwise("check", str(file), "--json").stdout)["certificates"]["auto"]
    assert found["file"] == "auto.json"
    assert found["certificate"]["promise"] == {"kind": "harm", "limit": 0.05, "confidence": 0.95}
    assert found["differences"] == ["tier 'max' has another policy, sampling or budget"]
    assert found["text"]


def test_a_certificate_that_was_changed_is_an_error_of_the_config_file(file):
    path = file.parent / "auto.json"
    path.write_text(path.read_text().replace('"limit": 0.05', '"limit": 0.01'))
    done = tierwise("check", str(file))
    assert done.returncode == 2
    assert "tierwise.yaml:6: routes.auto.certificate: " in done.stderr
    assert "was changed after it was made" in done.stderr
    assert "Traceback" not in done.stderr
