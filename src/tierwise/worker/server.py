"""The process that runs a model with Transformers: `python -m tierwise.worker SETTINGS` (JSON).

A separate process, so that a crash affects one deployment and not the gateway, and a restart frees all memory. This
thread serves HTTP while another runs the model (batching.py).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tierwise.engines.transformers.settings import WorkerSettings
from tierwise.spec.errors import Overloaded, SpecError
from tierwise.worker.chat import Chat, CompletionEvents, ContextExceeded, WorkerChatRequest
from tierwise.worker.job import Job, Update
from tierwise.worker.metrics import exposition
from tierwise.worker.text import render_prompt

if TYPE_CHECKING:
    from tierwise.worker.batching import Loop


class Worker:
    """The HTTP side of one model."""

    def __init__(self, settings: WorkerSettings, chat: Chat, facts: dict[str, str]) -> None:
        self.loop: Loop
        """Set before the first request, because it needs `deliver` of this object."""
        self._settings = settings
        self._chat = chat
        self._facts = facts
        self._began = int(time.time())
        self._asyncio: asyncio.AbstractEventLoop

    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/facts", self._facts_page),
                Route("/tokenize", self._tokenize, methods=["POST"]),
            ],
            lifespan=self._lifespan,
        )

    def deliver(self, updates: list[tuple[Job, Update]]) -> None:
        """Pass updates to the HTTP thread; called in the loop's thread."""
        self._asyncio.call_soon_threadsafe(_dispatch, updates)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None, None]:
        self._asyncio = asyncio.get_running_loop()
        self.loop.start()
        yield
        self.loop.stop()

    async def _complete(self, request: Request) -> Response | CompletionResponse:
        updates: asyncio.Queue[Update | None] = asyncio.Queue()
        try:
            asked = msgspec.json.decode(await request.body(), type=WorkerChatRequest)
            job = self._chat.job(asked, updates.put_nowait)
            self.loop.submit(job)
        except ContextExceeded as error:
            return _failure(400, str(error), code="context_length_exceeded", field=error.field)
        except SpecError as error:
            return _failure(400, str(error), field=error.field)
        except msgspec.DecodeError as error:
            return _failure(400, str(error))
        except Overloaded as error:
            return _failure(503, str(error), code="overloaded", headers={"Retry-After": "1"})
        events = CompletionEvents(self._chat, asked, self._settings.alias)
        return CompletionResponse(job, updates, events, self.loop, is_stream=bool(asked.stream))

    async def _models(self, _: Request) -> Response:
        model = {"id": self._settings.alias, "object": "model", "created": self._began, "owned_by": "tierwise"}
        return _json({"object": "list", "data": [{**model, "max_model_len": self._settings.context}]})

    async def _health(self, _: Request) -> Response:
        return _json({"status": "ok"})

    async def _metrics(self, _: Request) -> Response:
        return Response(exposition(self.loop.counts), media_type="text/plain; version=0.0.4")

    async def _facts_page(self, _: Request) -> Response:
        return _json({name: str(fact) for name, fact in self._facts.items()})  # PyTorch's version is a subclass of str

    async def _tokenize(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await request.body(), type=TokenizeRequest)
            text = asked.content
            if text is None:
                text = render_prompt(self._chat.tokenizer, asked.messages, asked.chat_template_kwargs)
        except SpecError as error:
            return _failure(400, str(error), field=error.field)
        except msgspec.DecodeError as error:
            return _failure(400, str(error))
        tokens = self._chat.tokens(text)
        return _json({"tokens": tokens, "count": len(tokens), "max_model_len": self._settings.context})


class TokenizeRequest(msgspec.Struct):
    """Either text, or messages for the chat template."""

    content: str | None = None
    messages: list[dict[str, Any]] = []
    chat_template_kwargs: dict[str, Any] = {}


class CompletionResponse:
    """Sends the updates of a job as an HTTP response; aborts the job if the client disconnects."""

    def __init__(
        self, job: Job, updates: asyncio.Queue[Update | None], events: CompletionEvents, loop: Loop, *, is_stream: bool
    ) -> None:
        self._job = job
        self._updates = updates
        self._events = events
        self._loop = loop
        self._is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_until_disconnected(receive))
        gone.add_done_callback(lambda _: self._updates.put_nowait(None))
        try:
            if self._is_stream:
                await self._stream(send)
            else:
                await self._whole(scope, receive, send)
        finally:
            gone.cancel()
            self._loop.abort(self._job)

    async def _stream(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while (update := await self._updates.get()) is not None:
            is_last = bool(update.finish or update.fault)
            body = b"".join(b"data: %b\n\n" % msgspec.json.encode(event) for event in self._events.of(update))
            if update.finish:
                body += b"data: [DONE]\n\n"
            if body:
                await send({"type": "http.response.body", "body": body, "more_body": not is_last})
            if is_last:
                return

    async def _whole(self, scope: Scope, receive: Receive, send: Send) -> None:
        received: list[Update] = []
        while (update := await self._updates.get()) is not None:
            received.append(update)
            if update.fault:
                await _failure(update.status, update.fault)(scope, receive, send)
                return
            if update.finish:
                await _json(self._events.whole(received))(scope, receive, send)
                return


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _dispatch(updates: list[tuple[Job, Update]]) -> None:
    for job, update in updates:
        job.on_update(update)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def _failure(
    status: int, message: str, *, code: str | None = None, field: str = "", headers: dict[str, str] | None = None
) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    error = {"message": message, "type": kind, "param": field or None, "code": code}
    return _json({"error": error}, status, headers)


def main() -> None:
    """Serve until a signal arrives. On failure the last line on stderr is the error."""
    began = time.monotonic()
    # Signals end the process at once, even while the model loads or computes: there is nothing to save.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    try:
        settings = msgspec.json.decode(sys.argv[1], type=WorkerSettings)
        worker = _load_worker(settings)
    except (SpecError, msgspec.ValidationError, ImportError, MemoryError) as error:
        sys.exit(f"error: {str(error) or type(error).__name__}")
    sys.stderr.write(f"transformers serves {settings.model} after {time.monotonic() - began:.2f} s\n")
    config = uvicorn.Config(
        worker.application(), host=settings.host, port=settings.port, log_level="warning", access_log=False
    )
    _WorkerServer(config).run()


class _WorkerServer(uvicorn.Server):
    """Installs no signal handlers."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _load_worker(settings: WorkerSettings) -> Worker:
    # Imported after the settings are validated, because these imports take seconds.
    from tierwise.worker.batching import Loop  # noqa: PLC0415
    from tierwise.worker.loading import load  # noqa: PLC0415
    from tierwise.worker.packing import pack  # noqa: PLC0415
    from tierwise.worker.routers import Routers  # noqa: PLC0415

    loaded = load(Path(settings.model), settings)
    if loaded.tokenizer.chat_template is None:
        raise SpecError(f"{settings.model} has no chat template; put its chat_template.jinja beside the weights")
    if settings.packed:
        loaded.facts["packed_layers"] = str(pack(loaded.model))
    routers = Routers(loaded.model)
    chat = Chat(
        loaded.tokenizer,
        context=settings.context,
        thinks=settings.thinks,
        active=routers.unsupported,
        is_sampled=_evenly_sampled(settings.experts_sampled),
    )
    worker = Worker(settings, chat, loaded.facts)
    worker.loop = Loop(
        loaded.model,
        ends=_end_tokens(loaded.model, loaded.tokenizer),
        slots=settings.slots,
        queue=settings.queue,
        routers=routers,
        deliver=worker.deliver,
        deterministic=settings.deterministic,
        prefix_cache=settings.prefix_cache,
    )
    loaded.facts["batching"] = "joined" if worker.loop.joins else "one by one"
    loaded.facts["prefix_cache"] = "on" if worker.loop.keeps_prefixes else "off"
    return worker


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the generation config, and the tokenizer's."""
    configured = model.generation_config.eos_token_id
    ends = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id}
    return frozenset(end for end in ends if end is not None)


def _evenly_sampled(share: float) -> Callable[[], bool]:
    """A function that returns True for this share of its calls, evenly spaced."""
    calls = itertools.count()

    def is_one() -> bool:
        call = next(calls)
        return int((call + 1) * share) > int(call * share)

    return is_one
