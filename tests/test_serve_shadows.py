"""`tierwise serve` with a certified route that is shadowed: quiet while nothing changes, safe once something does."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certificates import certificate_for
from endpoints import Endpoint, ready, serving, shadows, tier_of, until
from test_serve import process_of, run
from tierwise import plan as planning
from tierwise.cli import app
from tierwise.testing import Reply, ScriptedEngine


class Cheap(ScriptedEngine):
    """Says 4 until it is changed."""

    word = "4"

    def reply_to(self, number, call):
        return Reply(text=self.word)


def config(url: str, shadow: str = "{share: 1.0}") -> str:
    return f"""
deployments:
  small: {{engine: http, url: "{url}/v1", model: small}}
  large: {{engine: http, url: "{url}/v1", model: large}}
tiers:
  fast: {{deployment: small, policy: single}}
  max: {{deployment: large, policy: single}}
routes: {{auto: {{cascade: [fast, max], signals: [{{length: 99}}], certificate: auto.json, shadow: {shadow}}}}}
prices: {{small: {{completion: 1.0}}, large: {{completion: 100.0}}}}
"""


@pytest.fixture
def cheap() -> Cheap:
    return Cheap(step=0.0)


@pytest.fixture
def upstream(cheap: Cheap) -> Iterator[Endpoint]:
    dear = ScriptedEngine("4", step=0.0)
    with serving(tier_of(engine=cheap, name="small"), tier_of(engine=dear, name="large")) as endpoint:
        yield endpoint


def certified(folder: Path, upstream: Endpoint, shadow: str = "{share: 1.0}") -> Path:
    path = folder / "tierwise.yaml"
    path.write_text(config(upstream.url, shadow))
    certificate_for(planning.load(path), {}).write(folder / "auto.json")
    return path


def test_an_alarm_reaches_header_metrics_log_and_ledger_and_a_restart_finds_it_again(tmp_path, upstream, cheap):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path) as process:
        ready(process)
        for number in range(1, 11):
            assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
            until(lambda: shadows(process)["observed"] == number)  # noqa: B023 - it is called here only
        assert process.metric('tierwise_shadows_total{outcome="agreed",route="auto"}') == 10
        assert process.metric('tierwise_actions_total{ending="answered",tier="fast"}') == 10
        assert process.metric('tierwise_route_evidence{detector="disagreement",route="auto"}') < 0.5
        cheap.word = "5"
        for number in range(11, 80):
            if process.chat("auto").headers["x-tierwise-tier"] == "max":
                break
            until(lambda: shadows(process)["observed"] == number)  # noqa: B023 - as above
        answer = process.chat("auto")
        assert answer.headers["x-tierwise-certificate"].startswith("void; shadowed traffic has changed")
        assert answer.text == "4"
        assert number < 40
        assert process.metric('tierwise_route_certified{route="auto"}') == 0
        assert process.metric('tierwise_route_evidence{detector="disagreement",route="auto"}') >= 1
        observed = shadows(process)
        said = CliRunner().invoke(app, ["status", "--url", process.url]).output
        assert "void, so max answers: shadowed traffic has changed" in said
        assert f"auto: {observed['observed']} actions observed, {observed['differing']:.0f} answers differ" in said
        assert observed["alarm"] in answer.json["usage"]["tierwise"]["certificate"]["reasons"]
    with process_of(path, tmp_path) as process:
        ready(process)
        assert process.chat("auto").headers["x-tierwise-certificate"].startswith("void; shadowed traffic has changed")
        assert shadows(process)["observed"] == observed["observed"]
        process.process.send_signal(signal.SIGTERM)  # what is pending is in the ledger then
        assert process.process.wait(20) == 0
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        rows = ledger.execute("SELECT model, tier, count(*) FROM actions GROUP BY 1, 2 ORDER BY 1, 2").fetchall()
        cost = ledger.execute(
            "SELECT sum(dollars_tokens) FROM passes JOIN actions ON action = id WHERE model = 'auto (shadow)'"
        ).fetchone()
    assert ("auto (shadow)", "max", observed["observed"]) in rows
    assert cost[0] == pytest.approx(observed["observed"] * 100.0 / 1e6)


def test_no_shadow_turns_it_off(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    with process_of(path, tmp_path, "--no-shadow") as process:
        ready(process)
        for _ in range(5):
            assert process.chat("auto").headers["x-tierwise-tier"] == "fast"
        (model,) = (one for one in process.request("GET", "/v1/models").json["data"] if one["id"] == "auto")
        assert "shadow" not in model["tierwise"]
    assert not (tmp_path / "ledger.db.shadows.json").exists()


def test_streams_are_shadowed_too_and_texts_are_kept_where_the_file_says_so(tmp_path, upstream):
    path = certified(tmp_path, upstream, "{share: 1.0, keep_days: 2}")
    with process_of(path, tmp_path) as process:
        ready(process)
        assert process.chat("auto", stream=True).text == "4"
        until(lambda: shadows(process)["observed"] == 1)
        until((tmp_path / "ledger.db.shadowed.jsonl").exists)
        process.process.send_signal(signal.SIGTERM)
        assert process.process.wait(20) == 0
    (line,) = (tmp_path / "ledger.db.shadowed.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["route"], kept["messages"][0]["content"], kept["differs"]) == ("auto", "hello", False)
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        assert ledger.execute("SELECT count(*) FROM actions").fetchone() == (2,)
        assert ledger.execute("SELECT count(*) FROM contents").fetchone() == (0,)


def test_a_request_with_a_budget_of_its_own_or_with_tools_is_not_shadowed(tmp_path, upstream):
    path = certified(tmp_path, upstream)
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    with process_of(path, tmp_path) as process:
        ready(process)
        assert process.chat("auto", tierwise={"budget": {"seconds": 30}}).status == 200
        turn = process.chat("auto", tools=tools)
        assert turn.headers["x-tierwise-tier"] == "max"
        said = "auto: it offers tools, and such turns are not labelled: max answers"
        assert turn.json["usage"]["tierwise"]["reason"] == said
        assert process.chat("auto").status == 200
        until(lambda: shadows(process)["observed"] == 1)
        assert shadows(process)["observed"] == 1


def test_a_shadow_that_runs_does_not_delay_the_end(tmp_path, cheap):
    slow = ScriptedEngine(Reply(text="4", step=600.0))
    with serving(tier_of(engine=cheap, name="small"), tier_of(engine=slow, name="large")) as upstream:
        path = certified(tmp_path, upstream)
        with process_of(path, tmp_path) as process:
            ready(process)
            assert process.chat("auto").text == "4"
            until(lambda: slow.running == 1)
            process.process.send_signal(signal.SIGTERM)
            assert process.process.wait(20) == 0
        until(lambda: slow.running == 0)
    with sqlite3.connect(tmp_path / "ledger.db") as ledger:
        rows = ledger.execute("SELECT ending, error FROM actions WHERE model = 'auto (shadow)'").fetchall()
    assert rows == [("failed", "the endpoint was stopped")]


def test_shadowing_without_a_certificate_is_an_error_of_the_file(tmp_path):
    (tmp_path / "tierwise.yaml").write_text(config("http://127.0.0.1:1").replace("certificate: auto.json, ", ""))
    done = run(tmp_path / "tierwise.yaml", "--port", "0", "--ledger", tmp_path / "ledger.db")
    assert done.returncode == 2
    assert "tierwise.yaml:8: routes.auto.shadow: shadowing watches a certificate" in done.stderr
