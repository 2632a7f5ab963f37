"""`tierwise tune --caps`: which draws are asked again with less thinking, and what becomes of them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.runs.directory import RunDirectory
from tierwise.spec.errors import SpecError
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest, in_a_thread
from tierwise.tuning.caps import thought

TASKS, DRAWS = 64, 2
CONFIG = """
deployments:
  own: {{engine: vllm, url: "{url}", model: own, slots: 8, reasoning_parser: qwen3}}
tiers:
  best: {{deployment: own, policy: single, sampling: {{temperature: 0}}}}
prices:
  own: {{prompt: 1, completion: 1}}
"""


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """A chunk with the log-probability of its token, which is a thinking one too."""
    tokens = [{"token": text, "logprob": -0.5, "top_logprobs": []} for text in delta.values()]
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": {"content": tokens}}
    return (
        b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"
    )


def counts(tokens: int) -> bytes:
    usage = {"prompt_tokens": 3, "completion_tokens": tokens, "total_tokens": tokens + 3}
    return b"data: " + json.dumps({"id": "x", "choices": [], "usage": usage}).encode() + b"\n\n"


class Thinks(FakeServer):
    """Thinks for 30 to 90 tokens by task and seed, and then gives the right answer, whether it was stopped or not.

    Attributes:
        forgets: whether a seed does not repeat a draw where thinking is capped. Free draws always repeat, so the caps
            that a test gets do not depend on the order in which requests arrive.
    """

    forgets = False

    def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
        asked = request.body
        said = asked["messages"][-1]["content"], asked.get("seed"), asked.get("temperature")
        cap = asked.get("thinking_token_budget")
        rng = random.Random(f"{said}/{number if self.forgets and cap is not None else 0}")
        words = [f"w{rng.randrange(100)} " for _ in range(rng.randrange(30, 90))]
        words = words[:cap]
        deltas = [{"reasoning_content": one} for one in words] + [{"content": "4"}]
        return HttpReply(raw=[*map(event, deltas), event({}, "stop"), counts(len(deltas)), b"data: [DONE]\n\n"])


@pytest.fixture
def place(tmp_path: Path, write_tasks: Any) -> Any:
    """A folder with a config file and a workload, and the server behind them."""
    write_tasks(
        *(
            {"id": f"t{n}", "messages": [{"role": "user", "content": f"{n}?"}], "check": {"number": {"equals": 4}}}
            for n in range(TASKS)
        )
    )
    with in_a_thread(Thinks()) as server:
        (tmp_path / "served.yaml").write_text(CONFIG.format(url=server.url))
        yield tmp_path, server


def tune(place: Path, *more: object) -> Any:
    workload = next(place.glob("*.jsonl"))
    command = ["tune", str(place / "served.yaml"), str(workload), "--loss", "0.1", "--orders", "1", "--caps"]
    return CliRunner().invoke(app, [*command, "--draws", str(DRAWS), "--out", str(place / "out"), *map(str, more)])


def test_only_draws_that_thought_longer_are_asked_again_and_a_capped_tier_is_served(place):
    folder, server = place
    done = tune(folder)
    assert done.exit_code == 0, done.output
    assert "without thinking: the thinking switch of this checkpoint is unknown" in done.output
    records = RunDirectory(folder / "out" / "capped").read_records()
    capped = {one.tier for one in records} - {"best"}
    assert len(capped) == 2
    free = {(one.tier, one.task, one.repeat): one for one in records}
    for one in records:
        if one.tier not in capped:
            continue
        cap = int(one.tier.rpartition("-")[2])
        of = free["best", one.task, one.repeat]
        assert of.draw is not None
        assert one.draw is not None
        assert one.draw.reasoning == " ".join(of.draw.reasoning.split()[:cap]) + " " * (cap > 0)
        assert (one.taken == "tier") == ((thought(of) or 0) <= cap - 4)
    asked = sum(one.taken == "request" for one in records if one.tier in capped)
    assert len(capped) * TASKS * DRAWS * 0.5 < asked < len(capped) * TASKS * DRAWS * 0.75
    facts = json.loads((folder / "out" / "report.json").read_text())
    assert "best-thinking-" in facts["serve"]
    count = len(server.requests)
    assert tune(folder).exit_code == 0
    assert len(server.requests) == count


def test_where_a_seed_does_not_repeat_a_draw_all_are_asked(place):
    folder, server = place
    server.forgets = True
    done = tune(folder)
    assert done.exit_code == 0, done.output
    assert "all of its draws are asked, because" in done.output
    assert all(one.taken == "request" for one in RunDirectory(folder / "out" / "capped").read_records())


def test_a_pool_that_is_given_has_no_other_caps(place):
    folder, _ = place
    done = tune(folder, "--pool", folder / "none")
    assert isinstance(done.exception, SpecError)
    assert "capped.yaml" in str(done.exception)
