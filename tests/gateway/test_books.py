"""What was spent is told to the token: in the answer, in the metrics, and in the ledger before the last byte leaves."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from endpoints import PRICES, Answered, Endpoint, Notebook, tier_of, until
from tierwise.engines.engine import Health
from tierwise.gateway.access import Access
from tierwise.ledger.records import Record
from tierwise.ledger.store import Ledger
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.spec.errors import Broken, LedgerError
from tierwise.testing import Reply, ScriptedEngine

POLICIES = [None, Majority(n=3), BestOfN(n=3), Refine()]


def usage_of(answer: Answered) -> Any:
    return answer.chunks[-1]["usage"] if answer.events else answer.json["usage"]


@pytest.mark.parametrize("policy", POLICIES, ids=["single", "vote", "best", "refine"])
@pytest.mark.parametrize("choices", [1, 3])
@pytest.mark.parametrize("stream", [False, True])
def test_usage_is_the_exact_sum_over_all_passes(serve, policy, choices, stream):
    engine = ScriptedEngine("one 4", "two words 4", "three more words 5", "four 4")
    endpoint = serve(tier_of(policy, engine))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    usage = usage_of(endpoint.chat(n=choices, **options))
    assert usage["prompt_tokens"] == engine.produced.prompt
    assert usage["completion_tokens"] == engine.produced.completion
    assert usage["total_tokens"] == engine.produced.prompt + engine.produced.completion
    ours = usage["tierwise"]
    assert sum(one["completion_tokens"] for one in ours["passes"]) == usage["completion_tokens"]
    assert sum(one["prompt_tokens"] for one in ours["passes"]) == usage["prompt_tokens"]
    assert sum(one["dollars"] for one in ours["passes"]) == pytest.approx(ours["dollars"])
    assert ours["dollars"] == pytest.approx((usage["prompt_tokens"] * 1.0 + usage["completion_tokens"] * 2.0) / 1e6)
    assert [one["number"] for one in ours["passes"]] == list(range(len(engine.calls)))
    assert len(ours["why"]) == choices
    assert ours["exact"] is True
    assert endpoint.records[0].trace.usage == engine.produced


def test_what_an_early_end_aborts_is_counted_as_far_as_it_came(serve):
    engine = ScriptedEngine("4", "4", Reply(text=" ".join(["x"] * 100), step=0.004), step=0.02)
    endpoint = serve(tier_of(Majority(n=3), engine))
    usage = endpoint.chat().json["usage"]
    assert usage["completion_tokens"] == engine.produced.completion > 2
    assert [one["outcome"] for one in usage["tierwise"]["passes"]] == ["finished", "finished", "aborted"]
    assert usage["tierwise"]["agreement"] == [1.0]
    assert usage["tierwise"]["why"] == ["2 of 2 votes"]


def test_the_breakdown_names_role_tier_and_times(serve):
    ours = serve(tier_of(Refine(), ScriptedEngine("a b", step=0.02))).chat().json["usage"]["tierwise"]
    assert [one["role"] for one in ours["passes"]] == ["draft", "critique", "refine"]
    assert {one["tier"] for one in ours["passes"]} == {"tier"}


def test_the_passes_of_an_action_that_judges_are_a_judges(serve):
    judging = serve(tier_of(Refine(), ScriptedEngine("a b"))).chat(tierwise={"judges": True}).json["usage"]["tierwise"]
    assert [one["role"] for one in judging["passes"]] == ["judge", "judge", "judge"]


def test_passes_tell_when_they_began(serve):
    ours = serve(tier_of(Refine(), ScriptedEngine("a b", step=0.02))).chat().json["usage"]["tierwise"]
    starts = [one["started"] for one in ours["passes"]]
    assert starts == sorted(starts)
    assert all(0 < one["first_token"] < one["seconds"] for one in ours["passes"])


@pytest.mark.parametrize("stream", [False, True])
def test_what_every_pass_said_is_told_to_those_who_ask_for_it(serve, stream):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    tool = Reply(delta={"tool_calls": [{"index": 0, **call}]}, finish="tool_calls")
    endpoint = serve(tier_of(BestOfN(n=3), ScriptedEngine("it is 4", tool, Reply(text="4 and", finish="length"))))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    passes = usage_of(endpoint.chat(tierwise={"candidates": True}, **options))["tierwise"]["passes"]
    assert [(one["draw"], one["finish"]) for one in passes] == [(0, "stop"), (1, "tool_calls"), (2, "length")]
    first, second, third = (one["message"] for one in passes)
    assert first == {"role": "assistant", "content": "it is 4"}
    assert (second["content"], second["tool_calls"]) == (None, [call])
    assert third["content"] == "4 and"


def test_a_pass_that_was_aborted_is_told_as_far_as_it_came(serve):
    engine = ScriptedEngine("4", "4", Reply(text=" ".join(["x"] * 100), step=0.004), step=0.02)
    usage = usage_of(serve(tier_of(Majority(n=3), engine)).chat(tierwise={"candidates": True}))
    last = usage["tierwise"]["passes"][2]
    assert (last["outcome"], last["draw"]) == ("aborted", 2)
    assert len(last["message"]["content"].split()) == last["completion_tokens"] < 100


def test_what_a_pass_said_is_not_told_unasked(serve):
    passes = usage_of(serve(tier_of(BestOfN(n=2), ScriptedEngine("4"))).chat())["tierwise"]["passes"]
    assert not {"draw", "message", "finish"} & {name for one in passes for name in one}


def test_every_tier_says_that_it_tells_candidates(serve):
    endpoint = serve(tier_of(name="one"), tier_of(Majority(n=3), name="three"), routes={"auto": ("one", "three")})
    listed = {model["id"]: model["tierwise"] for model in endpoint.request("GET", "/v1/models").json["data"]}
    assert [listed[name].get("candidates") for name in ("one", "three", "auto")] == [True, True, True]


def test_without_include_usage_a_stream_has_none_and_the_ledger_has(serve):
    endpoint = serve(tier_of())
    assert all("usage" not in chunk for chunk in endpoint.chat(stream=True).chunks)
    assert endpoint.records[0].trace.usage.completion == 2


def test_a_record_says_all_about_its_action(serve):
    endpoint = serve(tier_of(Majority(n=3), ScriptedEngine("4")))
    answer = endpoint.chat(stream=True, tierwise={"action": "mine"})
    record = endpoint.records[0]
    assert (record.model, record.tier, record.reason) == ("tier", "tier", "asked by name")
    assert (record.ending, record.finish, record.error, record.stream) == ("answered", "stop", "", True)
    assert record.trace.action == answer.headers["x-tierwise-action"]
    assert record.caller == "mine"
    assert 0 < record.first_output < record.seconds < 10
    assert abs(record.trace.started_at - time.time()) < 60


def test_a_failed_action_is_on_the_books_too(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine(Reply(text="half", error=Broken("gone")))))
    endpoint.chat()
    record = endpoint.records[0]
    assert (record.ending, record.error) == ("failed", "Broken: gone")
    assert record.first_output is None
    assert record.trace.usage.completion == 2


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_lost_to_thinking_is_told_everywhere_and_recovered(serve, stream):
    engine = ScriptedEngine(Reply(thinking="so", finish="length"), "4", thinking_off={"reasoning_effort": "none"})
    endpoint = serve(tier_of(engine=engine, name="single"))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = endpoint.chat("single", **options)
    usage = usage_of(answer)
    assert answer.text == "4"
    assert [one["outcome"] for one in usage["tierwise"]["passes"]] == ["lost_to_thinking", "finished"]
    assert usage["completion_tokens"] == engine.produced.completion == 2
    if stream:
        deltas = [choice["delta"] for chunk in answer.chunks for choice in chunk.get("choices", [])]
        assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == "so"
        ends = [choice["finish_reason"] for chunk in answer.chunks for choice in chunk.get("choices", [])]
        assert [end for end in ends if end] == ["stop"]
    else:
        assert answer.json["choices"][0]["message"]["reasoning_content"] == "so"
        assert "answered with thinking off" in answer.headers["x-tierwise-note"]
    (record,) = endpoint.records
    assert [(done.call.role, done.outcome) for done in record.trace.passes] == [
        ("draft", "lost_to_thinking"), ("recovery", "finished"),
    ]  # fmt: skip
    assert endpoint.metric('tierwise_passes_total{outcome="lost_to_thinking",role="draft",tier="single"}') == 1
    assert endpoint.metric('tierwise_passes_total{outcome="finished",role="recovery",tier="single"}') == 1


# ── metrics ─────────────────────────────────────────────────────────────
def test_metrics_count_actions_passes_tokens_and_dollars(serve):
    engine = ScriptedEngine("yes", "no no", "to be sure", Reply(text="x", error=Broken("gone")), "y")
    endpoint = serve(tier_of(Majority(n=3), engine, name="vote"), tier_of(engine=engine, name="single"))
    endpoint.chat("vote")
    endpoint.chat("single")
    read = endpoint.metric
    assert read('tierwise_actions_total{ending="answered",tier="vote"}') == 1
    assert read('tierwise_actions_total{ending="answered",tier="single"}') == 1
    assert read('tierwise_passes_total{outcome="finished",role="vote",tier="vote"}') == 3
    assert read('tierwise_passes_total{outcome="failed",role="draft",tier="single"}') == 1
    tokens = [read(f'tierwise_tokens_total{{kind="completion",tier="{name}"}}') for name in ("vote", "single")]
    assert sum(tokens) == engine.produced.completion
    dollars = [read(f'tierwise_dollars_total{{tier="{name}"}}') for name in ("vote", "single")]
    assert sum(dollars) == pytest.approx(sum(PRICES.total(one.trace.passes).dollars for one in endpoint.records))
    assert read('tierwise_action_seconds_count{tier="vote"}') == 1
    assert read('tierwise_action_first_output_seconds_count{tier="single"}') == 1
    assert read("tierwise_actions_running") == 0
    assert read('tierwise_deployment_up{deployment="vote"}') == 1


def test_verdicts_are_counted_by_kind(serve):
    endpoint = serve(tier_of(BestOfN(n=2), ScriptedEngine("3", "4")))
    endpoint.chat(tierwise={"verifier": {"number": {"equals": 4}}})
    assert endpoint.metric('tierwise_checks_total{accepted="true",kind="number"}') == 1


def test_running_actions_are_seen_while_they_run(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine("late", step=0.5)))
    with endpoint.dial():
        until(lambda: endpoint.metric("tierwise_actions_running") == 1)
    until(lambda: endpoint.metric("tierwise_actions_running") == 0)


def test_labels_come_from_the_config_alone(serve):
    endpoint = serve(tier_of())
    for number in range(20):
        endpoint.chat(f"model {number}")
        endpoint.chat(user=f"user {number}", tierwise={"action": f"action {number}"})
    text = endpoint.request("GET", "/metrics").body.decode()
    assert "model 1" not in text
    assert "action 1" not in text
    assert len(text.splitlines()) < 160


# ── the ledger ──────────────────────────────────────────────────────────
@dataclass
class Slow(Notebook):
    """Takes its time, and notes when it was done."""

    moments: list[float] = field(default_factory=list)

    def write(self, record: Record, prices: Any = None) -> None:
        time.sleep(0.1)
        super().write(record)
        self.moments.append(time.monotonic())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("error", [None, Broken("gone")])
def test_an_action_is_remembered_before_the_last_byte_of_its_answer(serve, stream, error):
    book = Slow()
    endpoint = serve(tier_of(engine=ScriptedEngine(Reply(text="half an", error=error))), ledger=book)
    answer = endpoint.chat(stream=stream)
    assert len(book.moments) == 1
    last = answer.events[-1].seconds if stream else answer.first_bytes
    assert answer.began + last >= book.moments[0]


@dataclass
class Heard:
    alarms: list[str] = field(default_factory=list)

    def __call__(self, error: LedgerError) -> None:
        self.alarms.append(str(error))


def journaled(folder: Path) -> set[str]:
    """The actions in the ledger's journals and in its database."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_bytes().splitlines()]
    found = {json.loads(line)["action"]["id"] for line in lines}
    with sqlite3.connect(folder / "ledger.db") as database:
        found |= {row[0] for row in database.execute("select id from actions")}
    database.close()
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_the_journal_has_it_when_the_last_byte_is_here(serve, tmp_path, stream):
    heard = Heard()
    with Ledger.open(tmp_path / "ledger.db", PRICES, heard) as book:
        endpoint = serve(tier_of(), ledger=book)
        for _ in range(20):
            answer = endpoint.chat(stream=stream)
            assert answer.headers["x-tierwise-action"] in journaled(tmp_path)
    assert not heard.alarms


def test_a_locked_ledger_does_not_hold_answers_up(serve, tmp_path):
    heard = Heard()
    with Ledger.open(tmp_path / "ledger.db", PRICES, heard, patience=0.05) as book:
        endpoint = serve(tier_of(), ledger=book)
        lock = sqlite3.connect(tmp_path / "ledger.db")
        lock.execute("begin exclusive")
        answers = [endpoint.chat() for _ in range(5)]
        until(lambda: heard.alarms)
        lock.rollback()
        lock.close()
        assert all(answer.status == 200 for answer in answers)
        assert min(answer.first_bytes for answer in answers) < 0.1
        assert book.flush()
    assert "cannot be written now" in heard.alarms[0]


class Refuses:
    """A ledger that is not what it should be."""

    def write(self, record: Record, prices: Any = None) -> None:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("stream", [False, True])
def test_even_a_ledger_that_breaks_does_not_cost_the_answer(serve, caplog, stream):
    endpoint = serve(tier_of(), ledger=Refuses())
    answer: Answered = endpoint.chat(stream=stream)
    assert (answer.status, answer.text) == (200, "hi there")
    assert "No space left on device" in caplog.text
    assert endpoint.metric("tierwise_ledger_alarms_total") == 1
    assert endpoint.metric("tierwise_actions_running") == 0


def test_readiness_follows_engines_and_draining(serve):
    endpoint: Endpoint = serve(tier_of())
    assert endpoint.request("GET", "/health").json == {"status": "ok"}
    ready = endpoint.request("GET", "/ready")
    assert (ready.status, ready.json["ready"], ready.json["draining"]) == (200, True, False)
    assert ready.json["deployments"] == {"tier": {"state": "ready"}}


def test_while_it_drains_it_is_not_ready_and_still_healthy(serve):
    endpoint: Endpoint = serve(tier_of())
    endpoint.app.state.draining = True
    ready = endpoint.request("GET", "/ready")
    assert (ready.status, ready.json["ready"], ready.json["draining"]) == (503, False, True)
    assert endpoint.request("GET", "/health").status == 200
    assert endpoint.chat().status == 200


def test_an_engine_that_is_not_ready_is_named_with_its_reason(serve):
    engine = ScriptedEngine()
    engine.health = lambda: Health(state="restarting", reason="out of memory")  # type: ignore[method-assign]
    endpoint: Endpoint = serve(tier_of(engine=engine), tier_of(name="other"), access=Access(key="secret"))
    ready = endpoint.request("GET", "/ready")
    assert ready.status == 503
    assert ready.json["deployments"]["tier"] == {"state": "restarting", "reason": "out of memory"}
    assert endpoint.metric('tierwise_deployment_up{deployment="tier"}') == 0


def test_a_silent_engine_is_not_ready_and_its_last_lines_are_shown(serve):
    engine = ScriptedEngine()
    health = Health(state="silent", reason="/health does not answer", last_lines=("step 7", "CUDA error"))
    engine.health = lambda: health  # type: ignore[method-assign]
    endpoint: Endpoint = serve(tier_of(engine=engine), access=Access(key="secret"))
    ready = endpoint.request("GET", "/ready")
    assert (ready.status, ready.json["deployments"]["tier"]["last_lines"]) == (503, ["step 7", "CUDA error"])
    assert endpoint.metric('tierwise_deployment_up{deployment="tier"}') == 0
