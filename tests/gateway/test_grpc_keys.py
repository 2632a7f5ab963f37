"""Stored keys over gRPC: the same limits as over HTTP, refused by a status and codes in the metadata."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import Any

import pytest

from endpoints import PRICES, Notebook, tier_of
from key_office import not_at_the_end_of_a_minute
from tierwise.gateway.metrics import Metrics
from tierwise.keys.database import prepare
from tierwise.keys.desk import Desk
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate
from tierwise.policies import Majority
from tierwise.router import Router
from tierwise.service import Service
from tierwise.testing import ScriptedEngine

pytest.importorskip("grpc", reason="no gRPC here: pip install 'tierwise[grpc]'")

import grpc.aio
from grpc import StatusCode

from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.grpc.server import CODE, GrpcServer
from tierwise.gateway.grpc.tierwise_pb2_grpc import TierwiseStub

HELLO = [pb.Message(role="user", content="hello")]


class Line:
    """A client of an endpoint with stored keys."""

    def __init__(self, stub: Any, notebook: Notebook) -> None:
        self.stub, self.notebook = stub, notebook

    async def ask(self, secret: str, *more: tuple[str, str], stream: bool = False, **fields: Any) -> Any:
        """An answer, or the error of the call."""
        request = pb.ChatRequest(**{"model": "tier", "messages": HELLO, **fields})
        metadata = (*([("authorization", f"Bearer {secret}")] if secret else []), *more)
        try:
            if not stream:
                return await self.stub.Chat(request, timeout=20, metadata=metadata)
            return [event async for event in self.stub.ChatStream(request, timeout=20, metadata=metadata)]
        except grpc.aio.AioRpcError as error:
            return error


@pytest.fixture
def line(tmp_path):
    """Runs a scene against an endpoint with these tiers and keys."""
    location = locate(tmp_path / "ledger.db")
    prepare(location)

    def run(scene: Any, *tiers: Any, **keys: dict[str, Any]) -> Any:
        with closing(KeyStore(location, who="test")) as store:
            secrets = {name: store.create(name=name, **about)[1] for name, about in keys.items()}

        async def whole() -> Any:
            desk = Desk(location, PRICES, refresh=3600.0)
            desk.open()
            notebook = Notebook()
            own = tiers or (tier_of(),)
            service = Service(
                router=Router(tiers={tier.name: tier for tier in own}),
                deployments={tier.name: tier.deployment for tier in own},
                prices=PRICES,
                ledger=notebook,  # type: ignore[arg-type]
                desk=desk,
            )
            server = GrpcServer(service, Metrics({}))
            port = await server.start("127.0.0.1", 0)
            try:
                async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                    return await asyncio.wait_for(scene(Line(TierwiseStub(channel), notebook), secrets), 30)
            finally:
                await server.stop()
                await asyncio.to_thread(desk.close)

        return asyncio.run(whole())

    return run


def assert_refused(found: Any, status: StatusCode, code: str, words: str) -> None:
    assert isinstance(found, grpc.aio.AioRpcError), found
    assert (found.code(), dict(found.trailing_metadata())[CODE]) == (status, code)
    assert words in found.details()


@pytest.mark.parametrize("stream", [False, True])
def test_keys_models_rates_and_budgets_hold(line, stream):
    async def scene(client: Line, secrets: dict[str, str]) -> None:
        for wrong in ("", "wrong", secrets["alice"] + "x"):
            refused = await client.ask(wrong, stream=stream)
            assert_refused(refused, StatusCode.UNAUTHENTICATED, "invalid_api_key", "as metadata")
        assert not isinstance(await client.ask(secrets["alice"], stream=stream), grpc.aio.AioRpcError)
        refused = await client.ask(secrets["alice"], stream=stream)
        assert_refused(refused, StatusCode.RESOURCE_EXHAUSTED, "rate_limit_exceeded", "rpm_limit")
        metadata = dict(refused.trailing_metadata())
        assert 0 < int(metadata["retry-after"]) <= 60
        assert metadata["x-ratelimit-limit-requests"] == "1"
        refused = await client.ask(secrets["alice"], stream=stream, model="dear")
        assert_refused(refused, StatusCode.PERMISSION_DENIED, "model_not_allowed", "allowed: tier")
        refused = await client.ask(secrets["bob"], stream=stream, max_tokens=100_000)
        assert_refused(refused, StatusCode.RESOURCE_EXHAUSTED, "insufficient_quota", "$0.01 of $0.01")
        assert len(client.notebook.records) == 1
        key = (("authorization", f"Bearer {secrets['alice']}"),)
        listed = await client.stub.Models(pb.ModelsRequest(), metadata=key)
        assert [one.id for one in listed.models] == ["tier"]

    about = {"alice": {"limits": Limits(models=("tier",), rpm_limit=1)}, "bob": {"limits": Limits(max_budget=0.01)}}
    not_at_the_end_of_a_minute()
    line(scene, tier_of(), tier_of(name="dear"), **about)


def test_actions_at_the_same_time_are_limited(line):
    async def scene(client: Line, secrets: dict[str, str]) -> None:
        found = await asyncio.gather(*(client.ask(secrets["alice"]) for _ in range(4)))
        refused = [one for one in found if isinstance(one, grpc.aio.AioRpcError)]
        assert len(refused) == 2
        assert_refused(refused[0], StatusCode.RESOURCE_EXHAUSTED, "rate_limit_exceeded", "max_parallel_requests")

    slow = ScriptedEngine("a b c d", step=0.2)
    line(scene, tier_of(engine=slow), alice={"limits": Limits(max_parallel_requests=2)})


@pytest.mark.parametrize("stream", [False, True])
def test_ceilings_of_a_session_hold(line, stream):
    async def scene(client: Line, secrets: dict[str, str]) -> None:
        given = (("x-tierwise-session", "task"), ("x-tierwise-session-passes", "5"))
        for _ in range(2):
            assert not isinstance(await client.ask(secrets["alice"], *given, stream=stream), grpc.aio.AioRpcError)
        refused = await client.ask(secrets["alice"], *given, stream=stream)
        assert_refused(refused, StatusCode.RESOURCE_EXHAUSTED, "insufficient_quota", "0 of 5")
        assert [len(record.trace.passes) for record in client.notebook.records] == [3, 2]
        wrong = await client.ask(secrets["alice"], ("x-tierwise-session-passes", "5"), stream=stream)
        assert_refused(wrong, StatusCode.INVALID_ARGUMENT, "invalid_value", "names no session")

    engine = ScriptedEngine("one", "two", "three", "four", "five")
    line(scene, tier_of(Majority(n=3), engine=engine), alice={})
