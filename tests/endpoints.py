"""An endpoint around scripted engines, served for real on the loopback; no config file, no model."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event as Event_
from threading import Thread
from typing import Any

import openai
import uvloop

from tierwise.engines.engine import Deployment
from tierwise.gateway.app import application
from tierwise.gateway.server import HttpServer
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.records import Record
from tierwise.ledger.store import LedgerHealth
from tierwise.policies import Policy, Single
from tierwise.router import Router
from tierwise.router.certified import CertifiedRoutes
from tierwise.run import Tier
from tierwise.service import Service
from tierwise.spec.stored import StoredResponses
from tierwise.testing import ScriptedEngine, with_routes

HELLO = [{"role": "user", "content": "hello"}]
PRICES = PriceBook({"fake": Price(prompt=1.0, cached=0.1, completion=2.0)})


@dataclass
class Notebook:
    """A ledger that keeps what it is told."""

    records: list[Record] = field(default_factory=list)

    def write(self, record: Record, prices: PriceBook | None = None) -> None:
        self.records.append(record)

    def health(self) -> LedgerHealth:
        return LedgerHealth(pending=0, unjournaled=0, lost=0, orphans=0, alarms=())


@dataclass
class Event:
    """One block of an event stream, with the moment in which it came."""

    text: str
    seconds: float

    @property
    def data(self) -> Any:
        return json.loads(self.text.removeprefix("data: "))

    @property
    def is_comment(self) -> bool:
        return self.text.startswith(":")


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes
    events: list[Event]
    """Of a stream, `[DONE]` included."""
    first_bytes: float
    """Seconds until the headers were there."""
    began: float
    """The moment of `time.monotonic()` that all seconds count from."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        return self.json["error"]

    @property
    def chunks(self) -> list[Any]:
        return [event.data for event in self.events if not event.is_comment and event.text != "data: [DONE]"]

    @property
    def text(self) -> str:
        """What a stream said, or a whole answer."""
        if not self.events:
            return str(self.json["choices"][0]["message"]["content"])
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    @property
    def is_done(self) -> bool:
        return bool(self.events) and self.events[-1].text == "data: [DONE]"


@dataclass
class Endpoint:
    """A running endpoint, and how to talk to it."""

    service: Service
    app: Any
    port: int
    notebook: Notebook
    call: Callable[[Callable[[], Any]], Any]
    """Runs a function in the endpoint's own thread."""

    key = ""
    """Sent with every request, if there is one."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def records(self) -> list[Record]:
        return self.notebook.records

    @contextmanager
    def client(self) -> Iterator[openai.OpenAI]:
        with openai.OpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0, timeout=20) as client:
            yield client

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answered:
        """One request on a connection of its own; an event stream is read event by event."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            began = time.monotonic()
            held = {"authorization": f"Bearer {self.key}"} if self.key else {}
            connection.request(method, path, body, {**held, **(headers or {})})
            response = connection.getresponse()
            first_bytes = time.monotonic() - began
            events: list[Event] = []
            content = b""
            if response.headers.get("content-type", "").startswith("text/event-stream"):
                events += (
                    Event(line.decode().rstrip("\n"), time.monotonic() - began)
                    for line in iter(response.readline, b"")
                    if line.strip()
                )
            else:
                content = response.read()
            return Answered(response.status, dict(response.headers), content, events, first_bytes, began)
        finally:
            connection.close()

    def chat(self, model: str = "tier", **fields: Any) -> Answered:
        body = {"model": model, "messages": HELLO, **fields}
        return self.raw(json.dumps(body).encode())

    def raw(self, body: bytes, headers: Mapping[str, str] | None = None) -> Answered:
        return self.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json", **(headers or {})}
        )

    def dial(self, model: str = "tier", **fields: Any) -> socket.socket:
        """Send a chat request and leave the answer unread."""
        body = json.dumps({"model": model, "messages": HELLO, **fields}).encode()
        line = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        line.sendall(head_of(len(body)) + body)
        return line

    def metric(self, name: str) -> float:
        """The value of a line of /metrics."""
        lines = self.request("GET", "/metrics").body.decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def head_of(length: int | None, **headers: object) -> bytes:
    """The head of a chat request whose body has so many bytes; None if it says so itself."""
    named = {"host": "localhost", "content-type": "application/json", **headers}
    if length is not None:
        named["content-length"] = length
    lines = (f"{name.replace('_', '-')}: {value}" for name, value in named.items())
    return "\r\n".join(["POST /v1/chat/completions HTTP/1.1", *lines, "", ""]).encode()


def until(predicate: Callable[[], Any], *, seconds: float = 5.0) -> float:
    """Wait for something to become true; returns how long it took."""
    began = time.monotonic()
    while not predicate():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.001)
    return time.monotonic() - began


def ready(process: Any) -> None:
    """Wait until a served process is ready."""
    until(lambda: process.request("GET", "/ready").status == 200, seconds=10)


def shadows(process: Any) -> Any:
    """What a served process says of the shadows of its route `auto`."""
    models = process.request("GET", "/v1/models").json["data"]
    return next(one["tierwise"]["shadow"] for one in models if one["id"] == "auto")


def tier_of(
    policy: Policy | None = None,
    engine: ScriptedEngine | None = None,
    *,
    name: str = "tier",
    slots: int = 64,
    context: int | None = None,
    **more: Any,
) -> Tier:
    deployment = Deployment(name="fake", engine=engine or ScriptedEngine("hi there"), slots=slots, context=context)
    return Tier(name=name, deployment=deployment, policy=policy or Single(), **more)


class House:
    """A server in a thread of its own, which one application after the other moves into."""

    def __init__(self) -> None:
        self.app: Any = None
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._server = HttpServer(self)  # type: ignore[arg-type]
        self._is_up = Event_()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._is_up.wait(10)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)

    def answering(self, path: str) -> Any:
        return self.app.answering(path)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._is_up.set()
        await self._server.serve(sockets=[self._listener])

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in there."""

        async def in_there() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(in_there(), self._loop).result(10)

    def tasks(self) -> set[Any]:
        """What runs in there, apart from the server itself."""
        return self.call(lambda: asyncio.all_tasks() - {self._task, asyncio.current_task()})

    def pull_down(self, *, at_once: bool = False) -> None:
        self._server.should_exit, self._server.force_exit = True, at_once
        self._thread.join(20)
        assert not self._thread.is_alive()
        self._listener.close()


EMPTY: list[House] = []
"""Houses that nobody lives in: building one and pulling it down again takes longer than most tests."""


@contextmanager
def serving(
    *tiers: Tier,
    routes: Mapping[str, tuple[str, ...]] | None = None,
    ledger: Any = None,
    certified: CertifiedRoutes | None = None,
    stored: StoredResponses | None = None,
    desk: Any = None,
    **settings: Any,
) -> Iterator[Endpoint]:
    """Serve these tiers until the block ends; then nothing may be left running. `settings` are the application's."""
    notebook = Notebook()
    service = Service(
        router=Router(tiers=with_routes(tiers, routes or {}), certified=certified or CertifiedRoutes()),
        deployments={tier.name: tier.deployment for tier in tiers},
        prices=PRICES,
        ledger=ledger or notebook,
        stored=stored or StoredResponses(),
        desk=desk,
    )
    house = EMPTY.pop() if EMPTY else House()
    house.app = application(service, **settings)
    try:
        endpoint = Endpoint(service, house.app, house.port, notebook, house.call)
        endpoint.key = house.app.access.key
        yield endpoint
        until(lambda: not house.tasks())
        for tier in tiers:
            assert tier.deployment.occupancy.running == 0, "a pass outlived its endpoint"
    except BaseException:
        house.pull_down(at_once=True)
        raise
    EMPTY.append(house)
