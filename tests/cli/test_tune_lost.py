"""Answers that are lost to thinking and recovered: recorded, replayed and tuned, they are what the endpoint serves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.engines.probe.findings import Probed, Switch, remember
from tierwise.pools.grid import tiers_as_settings
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread

TASKS = 60
CONFIG = """
deployments:
  small: {{engine: http, url: "{url}", model: small, slots: 4}}
  large: {{engine: http, url: "{url}", model: large, slots: 4}}
tiers:
  fast: {{deployment: small, policy: single, sampling: {{temperature: 0.7}}}}
  best: {{deployment: large, policy: POLICY, sampling: {{temperature: 0}}}}
routes:
  auto: {{cascade: [fast, best], signals: [{{margin: 0.5}}]}}
prices:
  small: {{prompt: 1, completion: 1}}
  large: {{prompt: 20, completion: 20}}
"""
OFF = {"chat_template_kwargs": {"enable_thinking": False}}


def event(field: str, text: str, sure: float, finish: str | None = None) -> bytes:
    tokens = [
        {
            "token": text,
            "logprob": -0.1,
            "top_logprobs": [{"token": text, "logprob": -0.1}, {"token": "x", "logprob": -sure}],
        }
    ]
    choice: dict[str, Any] = {"index": 0, "delta": {field: text} if text else {}, "finish_reason": finish}
    if text:
        choice["logprobs"] = {"content": tokens}
    return b"data: " + json.dumps({"id": "x", "choices": [choice]}).encode() + b"\n\n"


class Thinks(FakeServer):
    """Thinks, and never comes to an answer: `large` on one of three tasks, `small` on one of five. With thinking off,
    `large` is always right, and `small` on two of three tasks, as its log-probabilities show.
    """

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        del number
        asked, task = request.body, int(request.body["messages"][-1]["content"].rstrip("?"))
        is_large, is_off = asked["model"] == "large", OFF.items() <= asked.items()
        is_lost = task % (3 if is_large else 5) == 0 and not is_off
        is_right = is_large or task % 3 > 0
        words = [] if is_off else [("reasoning_content", f"so{index} ") for index in range(4 + task % 3)]
        if not is_lost:
            words.append(("content", "4" if is_right else "5"))
        usage = {"prompt_tokens": 7, "completion_tokens": len(words), "total_tokens": 7 + len(words)}
        events = [event(*word, 5.0 if is_right else 0.2) for word in words]
        end = b"data: " + json.dumps({"id": "x", "choices": [], "usage": usage}).encode() + b"\n\n"
        return HttpReply(raw=[*events, event("", "", 0, "length" if is_lost else "stop"), end, b"data: [DONE]\n\n"])


@pytest.fixture
def record(tmp_path: Path, write_tasks: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Records a pool through a policy of the reference; returns its folder."""
    monkeypatch.setenv("TIERWISE_CACHE", str(tmp_path / "cache"))
    tasks = write_tasks(
        *(
            {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}], "check": {"number": {"equals": 4}}}
            for n in range(TASKS)
        )
    )
    with in_a_thread(Thinks()) as server:
        for model in ("small", "large"):
            switch = Switch(on={}, off=OFF)
            about = {"server": "", "version": "", "date": "2026-01-01", "findings": {}}
            remember(Probed(url=server.url, model=model, switch=switch, **about))

        def made(policy: str) -> Path:
            (tmp_path / "served.yaml").write_text(CONFIG.format(url=server.url).replace("POLICY", policy))
            done = invoke("pool", "record", tmp_path / "served.yaml", tasks, "--draws", 2, "--out", tmp_path / "pool")
            assert done.exit_code == 0, done.output
            return tmp_path

        yield made


def invoke(*command: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in command])


def tune(place: Path) -> Any:
    files = place / "served.yaml", place / "tasks.jsonl"
    limits = "--loss", 0.2, "--orders", 2
    return invoke("tune", *files, "--pool", place / "pool", *limits, "--out", place / "out")


def test_a_replay_serves_what_the_endpoint_serves(record):
    place = record("single")
    pool = read_pool(RunDirectory(place / "pool"))
    assert any("64 draws were lost to thinking: a replay answers 64 of them again" in one for one in pool.notes)
    tiers = [word for name in pool.plan.tiers for word in ("--tier", name)]
    run = invoke("bench", place / "served.yaml", place / "tasks.jsonl", *tiers, "--out", place / "run")
    assert run.exit_code == 0, run.output
    live = {(one.tier, one.task): one for one in RunDirectory(place / "run").read_records()}
    with Replayer(pool, pool.plan.file.prices) as replayer:
        settings, left_out = replayer.answerable(tiers_as_settings(pool.plan, list(pool.plan.tiers)).settings)
        assert not left_out
        for setting, actions in zip(settings, replayer.run(settings, orders=2), strict=True):
            assert len(actions) == 2 * TASKS
            for one in actions:
                theirs = live[setting.name, f"t{one.task}"]
                assert one.answer is not None
                assert (one.answer.text, one.correct) == (theirs.answer, theirs.is_solved)
                assert one.passes == len(theirs.passes)
                assert (one.prompt, one.completion) == (theirs.prompt_tokens, theirs.completion_tokens)
                assert one.dollars == pytest.approx(theirs.dollars)
    recovered = [one for one in live.values() if any(done.role == "recovery" for done in one.passes)]
    assert {one.tier for one in recovered} == {"fast", "best", "auto"}


def test_tune_certifies_against_the_reference_that_is_served(record):
    place = record("single")
    done = tune(place)
    assert done.exit_code == 0, done.output
    kept = json.loads((place / "out" / "tuning.json").read_text())["settings"]
    of = {one["name"]: one["figures"] for one in kept}
    assert (of["best"]["points"]["value"], of["fast"]["points"]["value"] < 1) == (1.0, True)
    pool = read_pool(RunDirectory(place / "pool"))
    assert all(one.served.correct for task in pool.tasks for one in task.draws[pool.sources[1].key])


def test_tune_refuses_a_reference_whose_recovery_was_not_recorded(record):
    place = record("{majority: {n: 2}}")
    done = tune(place)
    assert isinstance(done.exception, SpecError), done.output
    for said in ("reference 'best' cannot be replayed", "was lost to thinking", "`single`"):
        assert said in str(done.exception)
