"""The same service over gRPC: answers, streams, errors, deadlines, and callers who leave."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from endpoints import PRICES, Notebook, serving, tier_of, until
from test_serve import FILE, config, process_of
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.server import serve_forever
from tierwise.gateway.settings import ServerSettings
from tierwise.plan import parse
from tierwise.policies import Majority
from tierwise.router import Router
from tierwise.router.certified import CertifiedRoute, CertifiedRoutes
from tierwise.run import Tier
from tierwise.service import Service
from tierwise.spec import errors
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken, Garbled, Overloaded, Refused, TimedOut, TooLong
from tierwise.testing import Reply, ScriptedEngine, with_routes

pytest.importorskip("grpc", reason="no gRPC here: pip install 'tierwise[grpc]'")

import grpc.aio
from grpc import StatusCode

from tierwise.gateway.failures import STATUSES, status_of
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc.server import ACCOUNT, CODE, GrpcServer
from tierwise.gateway.grpc.tierwise_pb2_grpc import TierwiseStub

HELLO = [pb.Message(role="user", content="hello")]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A server, and a client that is connected to it."""

    stub: Any
    server: GrpcServer
    notebook: Notebook
    metrics: Metrics

    def chat(self, *, timeout: float | None = 20, **fields: Any) -> Any:
        return self.stub.Chat(pb.ChatRequest(**{"model": "tier", "messages": HELLO, **fields}), timeout=timeout)

    def stream(self, *, timeout: float | None = 20, **fields: Any) -> Any:
        return self.stub.ChatStream(pb.ChatRequest(**{"model": "tier", "messages": HELLO, **fields}), timeout=timeout)


def over(tiers: list[Tier], main: Any, certified: CertifiedRoutes | None = None, **routes: tuple[str, ...]) -> Any:
    """Run `main(line)` against these tiers; then nothing may be left running."""

    async def whole() -> Any:
        notebook, metrics = Notebook(), Metrics({})
        service = Service(
            router=Router(tiers=with_routes(tiers, routes), certified=certified or CertifiedRoutes()),
            deployments={tier.name: tier.deployment for tier in tiers},
            prices=PRICES,
            ledger=notebook,  # type: ignore[arg-type]
        )
        server = GrpcServer(service, metrics)
        port = await server.start("127.0.0.1", 0)
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                line = Line(stub=TierwiseStub(channel), server=server, notebook=notebook, metrics=metrics)
                found = await asyncio.wait_for(main(line), 30)
        finally:
            await server.stop()
        assert all(tier.deployment.occupancy.running == 0 for tier in tiers), "a pass outlived its endpoint"
        return found

    return asyncio.run(whole())


async def failed(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (read_all(call) if hasattr(call, "read") else call)
    return caught.value


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def true(predicate: Callable[[], Any]) -> float:
    """Seconds until something became true."""
    began = asyncio.get_running_loop().time()
    while not predicate():  # noqa: ASYNC110 - it happens behind a connection
        await asyncio.sleep(0.001)
    return asyncio.get_running_loop().time() - began


def metadata(error: Any) -> dict[str, Any]:
    return dict(error.trailing_metadata())


def fields(**values: Any) -> str:
    return json.dumps(values)


def test_a_whole_answer_comes_with_its_account_and_is_remembered():
    async def main(line: Line) -> None:
        call = line.chat(max_tokens=50, temperature=0, seed=3)
        answer = await call
        assert [choice.message.content for choice in answer.choices] == ["hi there"]
        assert (answer.choices[0].finish_reason, answer.account.tier) == ("stop", "tier")
        assert answer.account.usage.completion_tokens == 2
        assert answer.account.passes[0].outcome == "finished"
        assert dict(await call.initial_metadata())["x-tierwise-action"] == answer.id
        record = line.notebook.records[0]
        assert (record.trace.action, record.ending, record.stream) == (answer.id, "answered", False)
        assert record.prompt.seed == 3

    over([tier_of()], main)


def test_a_stream_brings_deltas_of_every_choice_and_its_account_at_the_end():
    async def main(line: Line) -> None:
        events = [event async for event in line.stream(n=2)]
        said = ["", ""]
        for event in events[:-1]:
            said[event.delta.index] += event.delta.content
        assert said == ["a b c", "a b c"]
        assert [event.delta.finish_reason for event in events if event.delta.finish_reason] == ["stop", "stop"]
        assert events[-1].account.usage.completion_tokens == 6
        assert line.notebook.records[0].stream

    over([tier_of(engine=ScriptedEngine("a b c"))], main)


def test_other_fields_and_policies_are_those_of_http():
    engine = ScriptedEngine("4")

    async def main(line: Line) -> None:
        message = pb.Message(json=json.dumps({"role": "user", "content": [{"type": "text", "text": "2+2"}]}))
        extra = fields(stop=["x"], top_k=5, tierwise={"action": "mine", "budget": {"passes": 2}})
        answer = await line.chat(messages=[message], fields_json=extra)
        assert len(answer.account.passes) == 2
        assert engine.calls[0].prompt.fields == {"stop": ["x"], "top_k": 5}
        assert engine.calls[0].prompt.messages[0]["content"] == [{"type": "text", "text": "2+2"}]
        assert line.notebook.records[0].caller == "mine"

    over([tier_of(Majority(n=5), engine)], main)


def test_a_budget_that_is_used_up_is_marked_as_over_http():
    async def main(line: Line) -> None:
        budget = fields(tierwise={"budget": {"completion_tokens": 2}})
        account = (await line.chat(fields_json=budget)).account
        assert list(account.limits) == ["completion_tokens"]
        said = "the budget of 2 completion tokens is used up: the answer is the best so far"
        assert list(account.notes) == [said]
        events = [event async for event in line.stream(fields_json=budget)]
        assert list(events[-1].account.limits) == ["completion_tokens"]
        error = await failed(line.chat(fields_json=fields(tierwise={"budget": {"dollars": -1}})))
        assert error.code() == StatusCode.INVALID_ARGUMENT

    over([tier_of(engine=ScriptedEngine("a b c d"))], main)


def test_a_session_is_named_by_metadata_or_a_field():
    async def main(line: Line) -> None:
        request = pb.ChatRequest(model="tier", messages=HELLO)
        named = (("x-tierwise-session", "agent-7"),)
        await line.stub.Chat(request, timeout=20, metadata=named)
        await line.chat(fields_json=fields(tierwise={"session": "agent-8"}))
        assert [record.trace.session for record in line.notebook.records] == ["agent-7", "agent-8"]
        error = await failed(line.stub.Chat(request, timeout=20, metadata=(("x-tierwise-session", "two words"),)))
        assert error.code() == StatusCode.INVALID_ARGUMENT

    over([tier_of()], main)


def test_models_are_tiers_and_routes():
    async def main(line: Line) -> None:
        models = (await line.stub.Models(pb.ModelsRequest())).models
        assert {model.id: list(model.cascade) for model in models} == {"tier": [], "all": ["tier"]}

    over([tier_of()], main, all=("tier",))


@pytest.mark.parametrize(
    ("asked", "status", "code", "words"),
    [
        ({"model": "nobody"}, StatusCode.NOT_FOUND, "model_not_found", "there is no model 'nobody'"),
        ({"messages": []}, StatusCode.INVALID_ARGUMENT, "invalid_value", "messages"),
        ({"max_tokens": -2}, StatusCode.INVALID_ARGUMENT, "invalid_value", "max_tokens"),
        ({"fields_json": "{"}, StatusCode.INVALID_ARGUMENT, "invalid_value", "fields_json: not JSON"),
        ({"fields_json": "[]"}, StatusCode.INVALID_ARGUMENT, "invalid_value", "must be a JSON object"),
        ({"fields_json": '{"model": "x"}'}, StatusCode.INVALID_ARGUMENT, "invalid_value", "has its own field"),
        ({"fields_json": '{"top_p": 2}'}, StatusCode.INVALID_ARGUMENT, "invalid_value", "top_p"),
        ({"messages": [pb.Message(role="King")]}, StatusCode.INVALID_ARGUMENT, "invalid_value", "messages[0].role"),
    ],
)
def test_a_wrong_request_is_refused_with_its_field(asked, status, code, words):
    async def main(line: Line) -> None:
        for call in (line.chat(**asked), line.stream(**asked)):
            error = await failed(call)
            assert (error.code(), metadata(error)["tierwise-code"]) == (status, code)
            assert words in error.details()
        assert line.notebook.records == []

    over([tier_of()], main)


FATES = [
    (Refused("no"), StatusCode.INVALID_ARGUMENT, "engine_refused"),
    (TooLong("too long"), StatusCode.INVALID_ARGUMENT, "context_length_exceeded"),
    (Overloaded("full", retry_after=3), StatusCode.RESOURCE_EXHAUSTED, "engine_overloaded"),
    (TimedOut("slow"), StatusCode.DEADLINE_EXCEEDED, "engine_timed_out"),
    (Broken("gone"), StatusCode.UNAVAILABLE, "engine_broken"),
    (Garbled("???"), StatusCode.INTERNAL, "engine_garbled"),
]


@pytest.mark.parametrize(("error", "status", "code"), FATES, ids=str)
def test_what_engines_do_has_a_status_a_code_and_what_was_spent(error, status, code):
    async def main(line: Line) -> None:
        for call in (line.chat(), line.stream()):
            caught = await failed(call)
            told = metadata(caught)
            assert (caught.code(), told["tierwise-code"]) == (status, code)
            assert str(error) in caught.details()
            assert told.get("retry-after") == ("3" if isinstance(error, Overloaded) else None)
            assert pb.Account.FromString(told["tierwise-account-bin"]).usage.completion_tokens >= 1
        assert [record.ending for record in line.notebook.records] == ["failed", "failed"]

    over([tier_of(engine=ScriptedEngine(Reply(text="half an", error=error)))], main)


def every_error() -> list[type[errors.TierwiseError]]:
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.TierwiseError)]


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_that_fits_the_one_over_http(kind):
    fitting = {
        400: {StatusCode.INVALID_ARGUMENT},
        401: {StatusCode.UNAUTHENTICATED},
        403: {StatusCode.PERMISSION_DENIED},
        415: {StatusCode.INVALID_ARGUMENT},
        404: {StatusCode.NOT_FOUND},
        409: {StatusCode.ALREADY_EXISTS},
        410: {StatusCode.FAILED_PRECONDITION},
        413: {StatusCode.RESOURCE_EXHAUSTED},
        429: {StatusCode.RESOURCE_EXHAUSTED},
        500: {StatusCode.INTERNAL},
        502: {StatusCode.UNAVAILABLE, StatusCode.INTERNAL, StatusCode.FAILED_PRECONDITION},
        503: {StatusCode.UNAVAILABLE},
        504: {StatusCode.DEADLINE_EXCEEDED},
    }
    error = kind([errors.SpecError("wrong")]) if kind is errors.ConfigErrors else kind("wrong")
    status = status_of(error)
    assert StatusCode[status.grpc] in fitting[status.http]


def test_every_status_of_the_table_is_one_that_grpc_knows():
    assert {status.grpc for status in STATUSES.values()} <= StatusCode.__members__.keys()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_who_leaves_has_everything_aborted_and_recorded(streamed):
    engine = ScriptedEngine(" ".join(["word"] * 2000), step=0.01)

    async def main(line: Line) -> None:
        call = line.stream() if streamed else line.chat()
        if streamed:
            await call.read()
        await true(lambda: engine.running)
        call.cancel()
        assert await true(lambda: not engine.running and line.notebook.records) < 1
        record = line.notebook.records[0]
        assert record.ending == "disconnected"
        assert record.trace.passes[0].outcome == "aborted"
        assert record.trace.usage.completion == engine.produced.completion

    over([tier_of(engine=engine)], main)


def test_a_callers_deadline_is_the_budgets_seconds_and_what_was_made_until_then_arrives():
    engine = ScriptedEngine(" ".join(["word"] * 500), step=0.02)

    async def main(line: Line) -> None:
        answer = await line.chat(timeout=1.5)
        assert answer.choices[0].finish_reason == "length"
        assert answer.choices[0].message.content.startswith("word word")
        assert answer.account.passes[0].outcome == "cut"

    over([tier_of(engine=engine)], main)


def test_a_tiers_own_budget_is_not_loosened_by_a_deadline():
    async def main(line: Line) -> None:
        error = await failed(line.chat(timeout=20))
        assert (error.code(), metadata(error)["tierwise-code"]) == (StatusCode.DEADLINE_EXCEEDED, "budget_exhausted")

    over([tier_of(engine=ScriptedEngine("late", step=5), budget=Budget(seconds=0.05))], main)


def test_a_bug_of_ours_is_internal_and_logged(caplog):
    class Buggy(ScriptedEngine):
        def stream(self, call):
            raise KeyError("a bug")

    async def main(line: Line) -> None:
        assert (await failed(line.chat())).code() == StatusCode.INTERNAL

    over([tier_of(engine=Buggy())], main)


def test_tools_and_thinking_come_through():
    calls = [{"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    delta = {"reasoning_content": "hm", "tool_calls": calls}
    engine = ScriptedEngine(Reply(delta=delta, finish="tool_calls"))

    async def main(line: Line) -> None:
        answer = await line.chat()
        message = answer.choices[0].message
        assert message.reasoning == "hm"
        assert json.loads(message.json)["tool_calls"][0]["function"]["name"] == "f"
        deltas = [event.delta async for event in line.stream()]
        assert "hm" in [delta.reasoning for delta in deltas]
        assert [json.loads(delta.json)["tool_calls"][0]["id"] for delta in deltas if delta.json] == ["1"]

    over([tier_of(engine=engine)], main)


def test_calls_that_the_server_ends_are_recorded_as_failed():
    engine = ScriptedEngine(" ".join(["word"] * 2000), step=0.01)

    async def main(line: Line) -> None:
        call = line.stream()
        await call.read()
        await line.server.stop()
        error = await failed(call)
        assert (error.code(), metadata(error)[CODE]) == (StatusCode.UNAVAILABLE, "server_stopping")
        assert "the server was stopped" in error.details()
        assert pb.Account.FromString(metadata(error)[ACCOUNT]).tier == "tier"
        record = line.notebook.records[0]
        assert (record.ending, record.error) == ("failed", "the server was stopped")

    over([tier_of(engine=engine)], main)


def test_a_call_that_waits_for_a_client_that_reads_nothing_does_not_hold_up_the_stop():
    engine = ScriptedEngine(" ".join(["word" * 50_000] * 2000), step=0.0)

    async def main(line: Line) -> None:
        call = line.stream(timeout=None)
        await call.read()
        await true(lambda: engine.produced.completion or engine.running)
        await asyncio.sleep(0.3)  # until the window of the connection is full
        await asyncio.wait_for(line.server.stop(), 10)
        record = line.notebook.records[0]
        assert (record.ending, record.error) == ("failed", "the server was stopped")
        await failed(call)

    over([tier_of(engine=engine)], main)


def test_a_stop_ends_every_call_and_later_calls_find_no_server():
    engine = ScriptedEngine(" ".join(["word"] * 2000), step=0.05)

    async def main(line: Line) -> None:
        calls = [start() for _ in range(5) for start in (line.chat, line.stream)]
        told = [asyncio.create_task(failed(call)) for call in calls]
        await true(lambda: engine.running == len(calls))
        draining = asyncio.create_task(line.server.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        await line.server.stop()
        await draining
        errors = await asyncio.gather(*told)
        assert {error.code() for error in errors} == {StatusCode.UNAVAILABLE}
        assert {metadata(error)[CODE] for error in errors} == {"server_stopping"}
        assert [record.ending for record in line.notebook.records] == ["failed"] * len(calls)
        assert (await failed(line.chat(timeout=2))).code() in (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED)

    over([tier_of(engine=engine)], main)


def test_logprobs_come_where_they_were_asked_for():
    async def main(line: Line) -> None:
        for extra, expected in (("", ""), (fields(logprobs=True), "-0.5")):
            answer = await line.chat(fields_json=extra)
            told = [event.delta.logprobs_json async for event in line.stream(fields_json=extra)]
            assert expected in answer.choices[0].logprobs_json
            assert bool(answer.choices[0].logprobs_json) == any(told) == bool(extra)

    over([tier_of(engine=ScriptedEngine(Reply(text="a", logprob=-0.5)))], main)


def address_of(process):
    """Where a real process serves gRPC, once it does."""
    said = re.compile(r"gRPC on (127\.0\.0\.1:\d+)")
    until(lambda: said.search(process.log()))
    return said.search(process.log())[1]


def test_the_real_process_serves_it_beside_http_and_drains_it(tmp_path):
    """`tierwise serve --grpc-port 0`: a call under way when SIGTERM comes is finished."""
    engine = ScriptedEngine(" ".join(["word"] * 40), step=0.02)
    with (
        serving(tier_of(engine=engine)) as upstream,
        process_of(config(upstream), tmp_path, "--grpc-port", "0") as process,
    ):
        with grpc.insecure_channel(address_of(process)) as channel:
            request = pb.ChatRequest(model="fast", messages=HELLO)
            call = TierwiseStub(channel).Chat.future(request, timeout=20)  # type: ignore[no-untyped-call]
            until(lambda: engine.running == 1)
            process.process.send_signal(signal.SIGTERM)
            answer = call.result()
        assert len(answer.choices[0].message.content.split()) == 40
        assert process.process.wait(10) == 0
        assert process.actions()[answer.id] == ("answered", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_streams_with_an_error_status(tmp_path, number):
    engine = ScriptedEngine(" ".join(["word"] * 2000), step=0.05)
    with (
        serving(tier_of(engine=engine)) as upstream,
        process_of(config(upstream), tmp_path, "--grpc-port", "0") as process,
    ):
        with grpc.insecure_channel(address_of(process)) as channel:
            stub = TierwiseStub(channel)  # type: ignore[no-untyped-call]
            request = pb.ChatRequest(model="fast", messages=HELLO)
            streamed, whole = stub.ChatStream(request, timeout=20), stub.Chat.future(request, timeout=20)
            next(streamed)
            until(lambda: engine.running == 2)
            process.process.send_signal(number)
            until(lambda: "draining" in process.log())
            process.process.send_signal(number)
            for call in (streamed, whole):
                with pytest.raises(grpc.RpcError) as caught:
                    call.result() if call is whole else list(call)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "the server was stopped" in caught.value.details()
        assert process.process.wait(10) == 0
        assert list(process.actions().values()) == [("failed", "the server was stopped")] * 2
        assert "Traceback" not in process.log()


def test_without_grpc_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tierwise.gateway.grpc.server", None)  # as if it could not be imported
    with pytest.raises(errors.SpecError, match=r"pip install 'tierwise\[grpc\]'"):
        serve_forever(parse(FILE, tmp_path / "t.yaml"), ServerSettings(port=0, grpc_port=0), ledger=tmp_path / "l")


def test_a_port_that_is_taken_is_said_so():
    async def main(line: Line) -> None:
        other = GrpcServer(line.server._front.now.answering.service, Metrics({}))
        port = await other.start("127.0.0.1", 0)
        with pytest.raises(errors.SpecError, match="choose another --grpc-port"):
            await line.server.start("127.0.0.1", port)
        await other.stop()

    over([tier_of()], main)


def test_the_metadata_says_whether_a_route_s_certificate_holds():
    async def main(line: Line) -> list[str]:
        labels = []
        for model in ("auto", "tier"):
            call = line.chat(model=model)
            metadata = dict(await call.initial_metadata())
            await call
            labels.append(str(metadata.get("x-tierwise-certificate", "")))
        return labels

    certified = CertifiedRoutes({"auto": CertifiedRoute(certificate="ab" * 32, safe="tier")})
    certified.void("auto", "größer")
    labels = over([tier_of(engine=ScriptedEngine("4"))], main, certified, auto=("tier",))
    assert labels[1] == ""
    assert labels[0].startswith("void; gr")
    assert labels[0].isascii()
