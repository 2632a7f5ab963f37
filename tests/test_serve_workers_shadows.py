"""`tierwise serve --workers` with a certified route that is observed: one evidence of what all workers answered."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certificates import certificate_for
from endpoints import Endpoint, ready, serving, shadows, tier_of, until
from test_reload_evidence import reload
from test_serve import Process, process_of
from test_serve_shadows import Cheap, certified
from test_serve_workers import by_worker, number_of, workers_of
from tierwise import plan as planning
from tierwise.testing import ScriptedEngine


@pytest.fixture
def cheap() -> Cheap:
    return Cheap(step=0.0)


@pytest.fixture
def upstream(cheap: Cheap) -> Iterator[Endpoint]:
    dear = ScriptedEngine("4", step=0.0)
    with serving(tier_of(engine=cheap, name="small"), tier_of(engine=dear, name="large")) as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def _state(tmp_path, monkeypatch):
    monkeypatch.setenv("TIERWISE_STATE", str(tmp_path / "state"))


def both(process: Process) -> None:
    by_worker(process, lambda: (number_of(process), None))
    ready(process)


def all_say(process: Process, observed: int) -> bool:
    """Whether each of a dozen answers, of either worker, says so."""
    return all(shadows(process)["observed"] == observed for _ in range(12))


def observer(process: Process) -> int:
    """The process id of the worker that keeps the evidence."""
    (found,) = {line.rpartition(" ")[2] for line in process.log().splitlines() if "worker 0 is process" in line}
    return int(found)


def test_evidence_is_one_survives_a_worker_and_an_alarm_voids_in_all(tmp_path, upstream, cheap):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path, "--workers", "2") as process:
        both(process)
        for _ in range(16):
            assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
        until(lambda: all_say(process, 16), seconds=20)
        assert process.metric('tierwise_shadows_total{outcome="agreed",route="auto"}') == 16
        until(lambda: evidence(tmp_path)["disagreement"]["seen"] == 16, seconds=20)
        os.kill(observer(process), signal.SIGKILL)
        until(lambda: len(workers_of(process)) == 2 and "is replaced" in process.log(), seconds=20)
        both(process)
        until(lambda: all_say(process, 16), seconds=20)  # its successor has the evidence, and tells the other
        cheap.word = "5"
        for _ in range(60):  # all are observed, and far fewer are enough
            process.chat("auto")
        until(lambda: process.metric('tierwise_route_certified{route="auto"}') == 0, seconds=20)
        assert {process.chat("auto").headers["x-tierwise-tier"] for _ in range(12)} == {"max"}
        assert process.metric('tierwise_route_certified{route="auto"}') == 0
        assert process.metric('tierwise_route_evidence{detector="disagreement",route="auto"}') >= 1
    with process_of(path, tmp_path, "--workers", "2") as process:
        both(process)
        assert {process.chat("auto").headers["x-tierwise-tier"] for _ in range(12)} == {"max"}
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        (shadowed,) = ledger.execute("SELECT count(*) FROM actions WHERE model = 'auto (shadow)'").fetchone()
    assert shadowed == evidence(tmp_path)["disagreement"]["seen"]
    assert "Traceback" not in process.log()


def evidence(folder: Path) -> Any:
    try:
        return json.loads((folder / "ledger.db.shadows.json").read_text())["auto"]
    except FileNotFoundError:
        return {"disagreement": {"seen": 0}}


def test_a_label_is_taken_whichever_worker_is_asked(tmp_path, upstream, cheap):
    path = certified(tmp_path, upstream, "{share: 1.0, label_days: 7}")
    cheap.word = "5"
    with process_of(path, tmp_path, "--workers", "2") as process:
        both(process)
        asked = [process.chat("auto").json["id"] for _ in range(4)]

        def wanted() -> list[str]:
            return [one["action"] for one in process.request("GET", "/v1/feedback").json["data"]]

        until(lambda: sorted(wanted()) == sorted(asked), seconds=20)
        for _ in range(12):
            assert sorted(wanted()) == sorted(asked)

        def label(action: str, **more: Any) -> Any:
            body = json.dumps({"action": action, "correct": False, **more}).encode()
            return process.request("POST", "/v1/feedback", body, {"content-type": "application/json"})

        for action in asked:
            assert label(action).json["needs"] == ["reference"]
            for _ in range(6):
                again = label(action)
                assert (again.status, "needs no label" in again.error["message"]) == (409, True)
            assert label(action, answer="reference").json["needs"] == []
        assert label("act_none").status == 404
        assert wanted() == []
    assert "Traceback" not in process.log()


def test_evidence_of_shadows_stays_with_the_certificate_over_reloads(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path, "--workers", "2") as process:
        both(process)
        for _ in range(5):
            process.chat("auto")
        until(lambda: all_say(process, 5), seconds=20)
        text = path.read_text()
        path.write_text(text + "stored_responses: {count: 5}\n")
        assert reload(process).returncode == 0
        until(lambda: all_say(process, 5), seconds=20)  # the other worker is told by the one that keeps it
        process.chat("auto")
        until(lambda: all_say(process, 6), seconds=20)

        path.write_text(text.replace("length: 99", "length: 5"))
        told = reload(process)
        assert told.returncode == 1
        assert "certify the route again" in told.stderr
        process.chat("auto")
        until(lambda: all_say(process, 7), seconds=20)

        certificate_for(planning.load(path), {}).write(tmp_path / "auto.json")
        assert reload(process).returncode == 0
        until(lambda: all_say(process, 0), seconds=20)
        process.chat("auto")
        path.write_text("\n".join(line for line in text.splitlines() if not line.startswith("routes")))
        assert reload(process).returncode == 0
        assert "tierwise_route_evidence{" not in process.request("GET", "/metrics").body.decode()
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    assert "Traceback" not in process.log()
