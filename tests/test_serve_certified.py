"""`tierwise serve` with a certificate that holds, and with one that does not: refused, or labelled."""

from __future__ import annotations

from pathlib import Path

import pytest

from certificates import certificate_for
from endpoints import EMPTY, serving, tier_of, until
from test_serve import process_of, run
from tierwise import plan as planning
from tierwise.testing import ScriptedEngine


@pytest.fixture(scope="module", autouse=True)
def _houses():
    yield
    while EMPTY:
        EMPTY.pop().pull_down()


def config(url: str, votes: int = 3) -> str:
    return f"""
deployments: {{far: {{engine: http, url: "{url}/v1", model: tier}}}}
tiers:
  fast: {{deployment: far, policy: single}}
  max: {{deployment: far, policy: {{majority: {{n: {votes}}}}}}}
routes: {{auto: {{cascade: [fast, max], signals: [{{length: 99}}], certificate: auto.json}}}}
prices: {{far: {{completion: 2.0}}}}
"""


def certified(folder: Path, url: str) -> None:
    """A certificate for the config file with three votes."""
    (folder / "tierwise.yaml").write_text(config(url))
    plan = planning.load(folder / "tierwise.yaml")
    certificate_for(plan, {}).write(folder / "auto.json")


def test_a_certificate_that_holds_is_named_in_every_answer(tmp_path):
    with serving(tier_of(engine=ScriptedEngine("42"))) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(tmp_path / "tierwise.yaml", tmp_path) as process:
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            answer = process.chat("auto")
            assert answer.headers["x-tierwise-tier"] == "fast"
            assert len(answer.headers["x-tierwise-certificate"]) == 12
            assert process.metric('tierwise_route_certified{route="auto"}') == 1


def test_a_route_whose_certificate_does_not_hold_is_not_served(tmp_path):
    certified(tmp_path, "http://127.0.0.1:1")
    (tmp_path / "tierwise.yaml").write_text(config("http://127.0.0.1:1", votes=5))
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db")
    assert done.returncode == 2
    assert "tierwise.yaml:6: routes.auto.certificate: " in done.stderr
    assert "does not hold: tier 'max' has another policy, sampling or budget" in done.stderr
    assert "--uncertified" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_with_uncertified_its_safe_tier_answers_and_says_so(tmp_path):
    with serving(tier_of(engine=ScriptedEngine("42"))) as upstream:
        certified(tmp_path, upstream.url)
        with process_of(config(upstream.url, votes=5), tmp_path, "--uncertified") as process:
            until(lambda: process.request("GET", "/ready").status == 200, seconds=10)
            answer = process.chat("auto")
            assert answer.headers["x-tierwise-tier"] == "max"
            label = answer.headers["x-tierwise-certificate"]
            assert label == "void; tier 'max' has another policy, sampling or budget"
            assert process.metric('tierwise_route_certified{route="auto"}') == 0
            assert "route auto: its certificate is void, so tier max answers" in process.log()


def test_a_missing_certificate_is_refused_with_uncertified_too(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(config("http://127.0.0.1:1"))
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db", "--uncertified")
    assert done.returncode == 2
    assert "there is no certificate" in done.stderr
