"""An action is counted while it runs and remembered once, however it ends and whatever protocol asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from endpoints import HELLO, PRICES, Notebook, tier_of
from tierwise.gateway.account import UsageReport, usage_of
from tierwise.gateway.lifecycle import RequestContext, RequestLifecycle
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.wire import read
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.router import Router
from tierwise.service import Service
from tierwise.spec.call import Call, Chunk, Usage
from tierwise.spec.errors import Broken, SpecError, TierwiseError
from tierwise.testing import Reply, ScriptedEngine


class Front:
    """A lifecycle around one scripted engine, and what it leaves behind."""

    def __init__(self, *replies: Reply | str, step: float = 0.0) -> None:
        self.notebook = Notebook()
        self.engine = ScriptedEngine(*replies, step=step)
        self.metrics = Metrics({})
        tier = tier_of(engine=self.engine)
        self.service = Service(
            router=Router(tiers={"tier": tier}),
            deployments={"tier": tier.deployment},
            prices=PRICES,
            ledger=self.notebook,
        )
        self.lifecycle = RequestLifecycle(self.service, self.metrics)
        self.shown: list[tuple[int, str]] = []

    def receive(self, **fields: object) -> RequestContext:
        body = {"model": "tier", "messages": HELLO, **fields}
        return self.lifecycle.receive(self.service.new_trace(), read(json.dumps(body).encode()))

    async def show(self, choice: int, chunks) -> None:
        assert not self.notebook.records, "nothing is remembered while something is still shown"
        self.shown += [(choice, chunk.delta.get("content", "")) for chunk in chunks]

    async def answer(self, context: RequestContext, *, stream: bool, is_stopped: bool = False) -> None:
        await self.lifecycle.answer(context, self.show if stream else None, is_stopped=lambda: is_stopped)

    @property
    def running(self) -> float:
        return self.metrics.registry.get_sample_value("tierwise_actions_running") or 0.0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choices", [1, 3])
def test_an_answered_action_is_remembered_when_its_answer_is_there(stream, choices):
    front = Front("two words")

    async def main() -> None:
        context = front.receive(n=choices, stream=stream)
        await front.answer(context, stream=stream)
        (record,) = front.notebook.records
        assert (record.ending, record.error, len(record.answers)) == ("answered", "", choices)
        assert (record.first_output is not None, context.ending, front.running) == (True, "answered", 0)
        assert [answer.completion.text for answer in context.answers] == ["two words"] * choices

    asyncio.run(main())
    assert {choice for choice, _ in front.shown} == (set(range(choices)) if stream else set())
    for number in range(choices if stream else 0):
        assert "".join(text for choice, text in front.shown if choice == number) == "two words"


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_action_is_remembered_before_anybody_is_told(stream):
    front = Front(Reply(error=Broken("gone")))

    async def main() -> None:
        with pytest.raises(TierwiseError, match="gone"):
            await front.answer(front.receive(stream=stream), stream=stream)
        (record,) = front.notebook.records
        assert (record.ending, record.error, front.running) == ("failed", "Broken: gone", 0)

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("is_stopped", "ending", "error"), [(False, "disconnected", ""), (True, "failed", "the server was stopped")]
)
def test_a_cancelled_action_is_remembered_with_the_reason(stream, is_stopped, ending, error):
    front = Front("a b c d e f", step=0.02)

    async def main() -> None:
        task = asyncio.create_task(front.answer(front.receive(stream=stream), stream=stream, is_stopped=is_stopped))
        await asyncio.sleep(0.03)
        assert (front.running, front.engine.running) == (1, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (record,) = front.notebook.records
        assert (record.ending, record.error, front.running) == (ending, error, 0)

    asyncio.run(main())


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_cannot_be_shown_anything_is_a_failure_that_is_remembered_once(stream):
    front = Front("a b c")

    async def broken(choice: int, chunk) -> None:
        raise OSError("the pipe is broken")

    async def main() -> None:
        show = broken if stream else None
        if stream:
            with pytest.raises(TierwiseError, match="the pipe is broken"):
                await front.lifecycle.answer(front.receive(stream=True), show, is_stopped=lambda: False)
        else:
            await front.lifecycle.answer(front.receive(), show, is_stopped=lambda: False)
        assert [record.ending for record in front.notebook.records] == ["failed" if stream else "answered"]
        assert front.running == 0

    asyncio.run(main())


def test_a_request_that_cannot_be_answered_is_not_begun():
    front = Front("hi")

    async def main() -> None:
        with pytest.raises(SpecError, match="no model"):
            front.receive(model="tire")

    asyncio.run(main())
    assert (front.notebook.records, front.running) == ([], 0)


def test_a_ledger_that_breaks_its_promise_costs_an_alarm_and_no_answer(caplog):
    front = Front("hi")
    front.notebook.write = lambda record, prices: 1 / 0  # type: ignore[method-assign]

    async def main() -> None:
        context = front.receive()
        await front.answer(context, stream=False)
        assert context.answers[0].completion.text == "hi"

    asyncio.run(main())
    assert front.metrics.registry.get_sample_value("tierwise_ledger_alarms_total") == 1
    assert "is not recorded: ZeroDivisionError" in caplog.text


def test_metrics_that_break_cost_neither_the_answer_nor_its_place_in_the_ledger(caplog):
    front = Front("hi")
    front.metrics.ended = lambda record, prices: 1 / 0  # type: ignore[method-assign]

    async def main() -> None:
        context = front.receive()
        await front.answer(context, stream=False)
        assert context.answers[0].completion.text == "hi"

    asyncio.run(main())
    assert [record.ending for record in front.notebook.records] == ["answered"]
    assert front.metrics.registry.get_sample_value("tierwise_actions_running") == 0
    assert "is missing in the metrics: ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("count", [-1, 10**400, -(10**400)])
def test_an_absurd_count_of_an_engine_costs_neither_the_answer_nor_its_place_in_the_books(count, tmp_path):
    front = Front("hi")

    async def stream(call: Call) -> AsyncGenerator[Chunk]:
        yield Chunk(delta={"content": "hi"})
        yield Chunk(finish="stop", usage=Usage(prompt=count, completion=count))

    front.engine.stream = stream  # type: ignore[method-assign]
    with Ledger.open(tmp_path / "ledger.db", PRICES, print) as ledger:
        front.service = replace(front.service, ledger=ledger)
        front.lifecycle = RequestLifecycle(front.service, front.metrics)

        async def main() -> None:
            context = front.receive()
            await front.answer(context, stream=False)
            assert context.answers[0].completion.text == "hi"

        asyncio.run(main())
    with Reader(tmp_path / "ledger.db") as reader:
        (summary,) = reader.recent()
    assert summary.action.ending == "answered"
    assert summary.spent.completion in {0, 1, 2**63 - 1}
    assert (
        front.metrics.registry.get_sample_value("tierwise_actions_total", {"tier": "tier", "ending": "answered"}) == 1
    )


def test_every_protocol_tells_the_same_account():
    front = Front("two words")

    async def main() -> None:
        context = front.receive(tierwise={"candidates": True})
        await front.answer(context, stream=False)
        account, usage = UsageReport.of(context, PRICES), usage_of(context, PRICES)
        ours = usage["tierwise"]
        assert (ours["action"], ours["tier"], ours["reason"]) == (account.action, account.tier, account.reason)
        assert (ours["dollars"], usage["completion_tokens"]) == (account.dollars, account.usage.completion)
        assert [one["number"] for one in ours["passes"]] == [one.number for one in account.passes] == [0]
        assert ours["passes"][0]["message"]["content"] == "two words"
        assert "message" not in account.as_usage(candidates=False)["tierwise"]["passes"][0]

    asyncio.run(main())
