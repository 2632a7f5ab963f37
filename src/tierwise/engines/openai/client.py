"""Streams chat completions from any OpenAI-compatible server, including the engines that Tierwise launches."""

from __future__ import annotations

import asyncio
import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tierwise.engines.openai.connector import Connector
from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.wire import Failure, read_event, read_failure, read_whole
from tierwise.spec.errors import Broken, EngineError, Garbled, Refused, TimedOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping

    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields, Json

_DRAIN_SECONDS = 0.5  # from `[DONE]` to the end of the response; then the connection is closed
_MOST_ERROR_BYTES = 64 * 1024
_LARGE_BYTES = 1024 * 1024  # aiohttp wants a file above this size, and sends it in parts

MULTIPLIERS = frozenset({"n", "n_cmpl", "best_of"})
"""Fields that start several passes, of which servers count one: `n_cmpl` is llama.cpp's, `best_of` vLLM's."""


class ChatClient:
    """Streams chat completions from one base URL over a pool of connections.

    Args:
        name: the deployment's, for error messages.
        model: sent as `model`.
        extras: fields sent with every request, so that the engine reports the counts that the ledger needs.
        silent_seconds: a pass is aborted after this long without a byte.
        proxy: URL of the proxy to use, with user and password if it requires them.
        translate: converts a prompt's fields to the engine's.
        read: parses one event into a chunk or a failure, for an engine that sends more than OpenAI's fields.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        api_key: str | None = None,
        extras: Fields | None = None,
        silent_seconds: float = 600.0,
        proxy: str | None = None,
        translate: Callable[[Fields], Fields] | None = None,
        read: Callable[[bytes], Chunk | Failure] = read_event,
    ) -> None:
        self._translate = translate
        self._read_event = read
        self._name = name
        self._model = model
        self._extras = extras or {}
        # No compression, so that no buffer delays an event.
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._timeout = aiohttp.ClientTimeout(total=None, connect=10, sock_read=silent_seconds)
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def stream(self, base_url: str, call: Call) -> AsyncGenerator[Chunk, None]:
        """Run one pass against `base_url` (which ends in /v1). Closing the generator aborts the pass."""
        if not call.streamed:
            yield self._read(await self.whole(base_url, call), read=read_whole)
            return
        body = self._encode(call)
        events, is_finished = EventParser(), False
        try:
            async with await self._post(f"{base_url}/chat/completions", body, call.prompt.headers) as response:
                await self._require_stream(response)
                async for block in response.content.iter_any():
                    for event in events.feed(block):
                        chunk = self._read(event)
                        is_finished |= chunk.finish is not None
                        yield chunk
                    if events.is_done:
                        await _drain(response)
                        break
                for event in events.rest():
                    chunk = self._read(event)
                    is_finished |= chunk.finish is not None
                    yield chunk
        except (aiohttp.ClientError, ConnectionError) as error:
            if not is_finished:  # after the last token, a broken connection loses nothing
                raise self._blame(error, had_begun=events.has_any) from error
        except ValueError as error:
            raise Garbled(f"deployment {self._name!r} {error}", engine=self._name) from error
        if not is_finished:
            raise self._unfinished(events)

    async def whole(self, base_url: str, call: Call) -> bytes:
        """Run one pass without streaming and return the body of the response.

        Cancelling it aborts the pass.
        """
        try:
            body = self._encode(call, streamed=False)
            async with await self._post(f"{base_url}/chat/completions", body, call.prompt.headers) as response:
                if response.status != 200:
                    raise read_failure(response.status, await _beginning(response), response.headers).blame(self._name)
                return await response.read()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._blame(error, had_begun=False) from error

    async def _post(self, url: str, body: bytes, forwarded: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a request. If the server has closed a reused connection, the request is sent again on a new one.

        llama.cpp closes every connection after a stream, microseconds after announcing keep-alive.
        """
        while True:
            way: list[str] = []
            try:
                return await self._open().post(
                    url,
                    data=io.BytesIO(body) if len(body) > _LARGE_BYTES else body,
                    headers={**forwarded, **self._headers},
                    allow_redirects=False,
                    proxy=self._proxy,
                    trace_request_ctx=way,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not way:
                    raise

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            tracing = aiohttp.TraceConfig()
            tracing.on_connection_reuseconn.append(_note_reuse)
            # No cookies: a cookie from one user's response would be sent with another user's request.
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=Connector(),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[tracing],
            )
        return self._session

    def _encode(self, call: Call, *, streamed: bool = True) -> bytes:
        asked = call.prompt.fields if self._translate is None else self._translate(call.prompt.fields)
        fields = {**asked, **self._extras}
        for name in MULTIPLIERS & fields.keys():
            if fields.pop(name) not in (1, None):
                why = f"{name}: a pass is one completion; request several with `n` or a policy"
                raise Refused(why, engine=self._name)
        body: dict[str, Json] = {
            **fields,
            "model": self._model,
            "messages": [dict(message) for message in call.prompt.messages],
            "stream": streamed,
            "stream_options": {
                **_mapping(call.prompt.fields.get("stream_options")),
                **_mapping(self._extras.get("stream_options")),
                "include_usage": True,
            },
        }
        if call.sends_seed:
            body["seed"] = call.seed
        if not streamed:
            del body["stream_options"]
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            raise Refused(f"the request contains text that is not valid Unicode: {error}", engine=self._name) from error

    async def _require_stream(self, response: aiohttp.ClientResponse) -> None:
        """Raise an error if the response is not an event stream."""
        if response.status != 200:
            body = await _beginning(response)
            if 300 <= response.status < 400 and (place := response.headers.get("Location")):
                body = f"redirects to {place}; correct `url`".encode()
            raise read_failure(response.status, body, response.headers).blame(self._name)
        if response.content_type not in ("application/json", "text/html"):
            return
        body = await _beginning(response)
        with suppress(ValueError):
            if isinstance(failure := read_event(body), Failure):
                raise failure.blame(self._name)
        raise ValueError(f"answered with {response.content_type} instead of an event stream: {_shown(body)}")

    def _read(self, event: bytes, *, read: Callable[[bytes], Chunk | Failure] | None = None) -> Chunk:
        try:
            chunk = (read or self._read_event)(event)
        except ValueError as error:
            raise ValueError(f"sent {_shown(event)}: {error}") from error
        if isinstance(chunk, Failure):
            raise chunk.blame(self._name)
        return chunk

    def _blame(self, error: Exception, *, had_begun: bool) -> EngineError:
        what = str(error) or type(error).__name__
        match error:
            case aiohttp.ServerTimeoutError():
                return TimedOut(f"deployment {self._name!r} stopped sending: {what}", engine=self._name)
            case aiohttp.ClientResponseError():
                return Garbled(f"deployment {self._name!r} sent invalid HTTP: {error.message}", engine=self._name)
            case _ if had_begun:
                return Broken(f"deployment {self._name!r} broke off during an answer: {what}", engine=self._name)
            case _:
                return Broken(f"deployment {self._name!r} cannot be reached: {what}", engine=self._name)

    def _unfinished(self, events: EventParser) -> EngineError:
        if events.foreign and not events.has_any:
            return Garbled(f"deployment {self._name!r} sent {_shown(events.foreign)}, not events", engine=self._name)
        return Broken(f"deployment {self._name!r} ended its stream during an answer", engine=self._name)


async def _note_reuse(session: aiohttp.ClientSession, way: Any, params: object) -> None:  # noqa: ARG001 - aiohttp's
    way.trace_request_ctx.append("kept")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The body of an error response, up to a maximum size."""
    parts: list[bytes] = []
    with suppress(aiohttp.ClientPayloadError):
        async for part in response.content.iter_any():
            parts.append(part)
            if sum(map(len, parts)) > _MOST_ERROR_BYTES:
                break
    return b"".join(parts)[:_MOST_ERROR_BYTES]


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read to the end of the response, so that the connection can be reused."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for _ in response.content.iter_any():
                pass


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _shown(body: bytes) -> str:
    return repr(body[:120].decode(errors="replace"))
