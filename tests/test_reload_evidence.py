"""What a reload keeps of certified routes and of budgets, and a certificate that does not hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from certificates import certificate_for
from endpoints import ready, serving, shadows, tier_of, until
from test_serve import Process, process_of
from test_serve_shadows import Cheap, config
from tierwise import plan as planning
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate
from tierwise.testing import ScriptedEngine


@pytest.fixture
def upstream():
    cheap, dear = Cheap(step=0.0), ScriptedEngine("4", step=0.0)
    with serving(tier_of(engine=cheap, name="small"), tier_of(engine=dear, name="large")) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))


def write(folder: Path, url: str, *, more: str = "", anew: bool = False) -> Path:
    """The config file, with a certificate; `anew` makes another one."""
    path = folder / "tierwise.yaml"
    path.write_text(config(url) + more)
    if anew:
        certificate_for(planning.load(path), {}).write(folder / "auto.json")
    return path


def reload(process: Process) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tierwise", "reload", process.folder / "tierwise.yaml"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_evidence_of_shadows_stays_with_the_certificate(tmp_path, upstream):
    path = write(tmp_path, upstream.url, anew=True)
    with process_of(path, tmp_path) as process:
        ready(process)
        for number in range(1, 6):
            process.chat("auto")
            until(lambda: shadows(process)["observed"] == number)  # noqa: B023 - it is called here only
        write(tmp_path, upstream.url, more="stored_responses: {count: 5}\n")
        assert reload(process).returncode == 0
        assert shadows(process)["observed"] == 5
        process.chat("auto")
        until(lambda: shadows(process)["observed"] == 6)
        assert process.metric('tierwise_shadows_total{outcome="agreed",route="auto"}') == 6
        assert process.metric('tierwise_route_evidence{detector="disagreement",route="auto"}') < 0.9

        text = path.read_text()
        path.write_text(text.replace("length: 99", "length: 5"))
        told = reload(process)
        assert told.returncode == 1
        assert "certify the route again" in told.stderr
        assert process.chat("auto").headers["x-tierwise-tier"] == "fast", "the route is as it was certified"

        certificate_for(planning.load(path), {}).write(tmp_path / "auto.json")
        assert reload(process).returncode == 0
        assert shadows(process)["observed"] == 0, "another certificate begins anew"
        path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("routes")))
        assert reload(process).returncode == 0
        assert "tierwise_route_evidence{" not in process.request("GET", "/metrics").body.decode()
    assert "Traceback" not in process.log()


def test_budgets_are_kept_and_new_prices_count_from_the_next_action_on(tmp_path, upstream):
    path = write(tmp_path, upstream.url, anew=True)
    with process_of(path, tmp_path) as process:
        store = KeyStore(locate(tmp_path / "ledger.db"), who="test")
        _, secret = store.create(limits=Limits(max_budget=0.0030, budget_duration="30d"))
        store.close()
        until(lambda: process.request("GET", "/v1/models").status == 401, seconds=10)  # it has read the keys
        process.key = secret
        ids = [process.chat("max", max_tokens=20).status for _ in range(2)]
        assert ids == [200, 200], "20 tokens at $100 per million are put aside: $0.0020"
        path.write_text(path.read_text().replace("completion: 100.0", "completion: 1000.0"))
        assert reload(process).returncode == 0
        refused = process.chat("max", max_tokens=20)
        assert refused.status == 429, "the same tokens would cost $0.0200 now"
        assert process.chat("max", max_tokens=1).status == 200
        spent = 2 * 1e-4 + 1e-3  # each at the prices that it began with
        until(lambda: process.request("GET", "/v1/usage").json["dollars"] == pytest.approx(spent), seconds=10)
    assert "Traceback" not in process.log()
