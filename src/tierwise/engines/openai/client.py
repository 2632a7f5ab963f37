"""Streams chat completions from any OpenAI-compatible server, including the engines that Tierwise launches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from tierwise.engines.engine import PassOn, one_by_one
from tierwise.engines.http1 import HttpPool, head_lines, place_of
from tierwise.engines.openai.events import MOST_BYTES
from tierwise.engines.openai.exchange import Exchange, advice_on_url
from tierwise.engines.openai.failure import Failure, read_failure
from tierwise.engines.openai.masking import masked
from tierwise.engines.openai.receive import Response, beginning, drain, reading, silence_limit
from tierwise.engines.openai.receiver import Receiver
from tierwise.engines.openai.request import RequestEncoder
from tierwise.engines.openai.vectors import other_size
from tierwise.engines.openai.wire import read_event, read_vectors, read_whole
from tierwise.spec.errors import Broken, EngineError, Garbled, Misconfigured, Refused, TimedOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence

    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt

_LINGER_SECONDS = 1.0
"""The longest wait after the finish reason for usage, `[DONE]` and the end of the response. Then the connection is
closed."""
_LARGE_BYTES = 1024 * 1024  # above this size aiohttp wants an iterator
_SLICE_BYTES = 256 * 1024


class ChatClient:
    """Streams chat completions from one base URL over a pool of connections: our own to `http://`, otherwise aiohttp's.

    Args:
        name: the deployment's, for error messages.
        model: sent as `model`.
        extras: fields sent with every request, so that the engine reports the counts that the ledger needs.
        drop: names of fields never sent, whoever sets them.
        silent_seconds: a pass is aborted after this long without a byte.
        proxy: URL of the proxy to use, with user and password if it requires them.
        translate: converts a prompt's fields to the engine's.
        thinking_off: the request fields that turn thinking off; None if no switch is known.
        read: parses one event into a chunk or a failure, for an engine that sends more than OpenAI's fields.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        api_key: str | None = None,
        extras: Fields | None = None,
        drop: Collection[str] = (),
        silent_seconds: float = 600.0,
        proxy: str | None = None,
        translate: Callable[[Fields], Fields] | None = None,
        thinking_off: Fields | None = None,
        read: Callable[[bytes], Chunk | Failure] = read_event,
    ) -> None:
        self._request = RequestEncoder(name, model, extras=extras or {}, drop=drop, translate=translate)
        self.thinking_off = thinking_off
        self._read_event = read
        self._name = name
        self._key = api_key
        # No compression, so that no buffer delays an event.
        self._headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
        }
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._silent_seconds = silent_seconds
        self._timeout = aiohttp.ClientTimeout(total=None, connect=10)
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._head_lines = head_lines(self._headers.items())
        self._pool = HttpPool()

    async def close(self) -> None:
        self._pool.close()
        if self._session is not None:
            await self._session.close()
            self._session = None

    @property
    def waiting(self) -> int:
        """Number of passes that wait here, and not in the engine."""
        return 0

    def stream(self, base_url: str, call: Call) -> AsyncGenerator[Chunk, None]:
        """Run one pass against `base_url` (which ends in /v1). Closing the generator aborts the pass."""
        return one_by_one(self.blocks(base_url, call))

    async def blocks(
        self, base_url: str, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """As `stream`, in blocks; `at_once` and `pass_on` as of `engine.SendsBlocks`."""
        if not self._request.streams(call):
            yield [self._whole_answer(await self.whole(base_url, call), base_url, call)]
            return
        exchange = Exchange(
            lambda event: self._read(event, base_url, call),
            batches=self._read_event is read_event,
            joins=at_once,
            linger_seconds=_LINGER_SECONDS,
        )
        body = await self._request.encode(call)
        try:
            page, headers = _page(base_url, call), call.prompt.headers
            async with await self._post(page, body, headers, gathers=at_once) as response:
                await self._require_success(response, base_url, call)
                with reading(response, self._silent_seconds) as answer:
                    receiver = Receiver(exchange, answer, at_once=at_once, pass_on=pass_on)
                    while (chunks := await receiver.chunks()) is not None:
                        yield chunks
                        exchange.require()
                    if exchange.is_done:
                        await drain(response)
                if chunks := self._rest(exchange, response, base_url, call):
                    yield chunks
                exchange.require()
        except (aiohttp.ClientError, ConnectionError) as error:
            if not exchange.is_finished:  # after the last token, a broken connection loses nothing
                raise self._blame(error, had_begun=exchange.has_begun) from error
        except ValueError as error:
            raise self._garbled(str(error)) from error
        if not exchange.is_finished:
            raise self._unfinished(exchange)

    def _rest(self, exchange: Exchange, response: Response, base_url: str, call: Call) -> list[Chunk]:
        """The chunks at the end of a response, or of one that is a document.

        Raises:
            ValueError: as `_documented`.
        """
        chunks: list[Chunk] = []
        if (document := exchange.document) is not None:
            chunks = self._documented(document, response, base_url, call)
            exchange.is_finished |= any(chunk.finish is not None for chunk in chunks)
        return chunks + exchange.rest()

    async def whole(self, base_url: str, call: Call) -> bytes:
        """Run one pass without streaming and return the body of the response.

        Cancelling it aborts the pass.
        """
        body = await self._request.encode(call, streamed=False)
        return await self._document(_page(base_url, call), body, base_url, call)

    async def count_tokens(self, base_url: str, prompt: Prompt) -> int:  # noqa: ARG002 - for engines that can
        """The tokens of a prompt.

        Raises:
            Refused: the server has no known way to count them.
        """
        raise Refused(
            f"deployment {self._name!r} cannot count the tokens of a prompt; send it with max_tokens 1, and the "
            "usage of the answer has them",
            engine=self._name,
        )

    async def _asked(self, base_url: str, path: str, body: list[bytes], call: Call) -> dict[str, Any]:
        """The JSON object with which a page beside `/v1` answers."""
        document = await self._document(f"{base_url.removesuffix('/v1')}{path}", body, base_url, call)
        try:
            answer = msgspec.json.decode(document)
        except ValueError as error:
            raise self._garbled(f"sent {_shown(self._masked(document))} from {path}") from error
        if not isinstance(answer, dict):
            raise self._garbled(f"sent {_shown(self._masked(document))} from {path}")
        return answer

    async def _document(self, url: str, body: list[bytes], base_url: str, call: Call) -> bytes:
        """Send a request and return the body of the response."""
        try:
            async with await self._post(url, body, call.prompt.headers) as response:
                await self._require_success(response, base_url, call)
                document = bytearray()
                with reading(response, self._silent_seconds) as answer:
                    while block := await answer.next():
                        document += block
                        if len(document) > MOST_BYTES:
                            raise self._garbled(f"sent more than {MOST_BYTES >> 20} MiB")
                return bytes(document)
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._blame(error, had_begun=False) from error

    async def _post(
        self, url: str, body: list[bytes], forwarded: Mapping[str, str], *, gathers: bool = False
    ) -> Response:
        """Send a request. If the server has closed a reused connection, the request is sent again on a new one.

        llama.cpp closes every connection after a stream, microseconds after announcing keep-alive.
        """
        if self._proxy is None and (place := place_of(url)) is not None:
            headers = head_lines({**forwarded, **self._headers}.items()) if forwarded else self._head_lines
            silent_seconds = self._silent_seconds
            return await self._pool.post(place, headers, body, silent_seconds=silent_seconds, gathers=gathers)
        return await self._post_with_aiohttp(url, body, forwarded)

    async def _post_with_aiohttp(
        self, url: str, body: list[bytes], forwarded: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        size = sum(map(len, body))
        is_large = size > _LARGE_BYTES
        length = {"Content-Length": str(size)} if is_large else {}
        while True:
            way: list[str] = []
            try:
                async with silence_limit(self._silent_seconds):
                    return await self._open().post(
                        url,
                        data=_slices(body) if is_large else b"".join(body),
                        headers={**forwarded, **self._headers, **length},
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
                connector=aiohttp.TCPConnector(limit=0),  # the panel and the engine's own queue limit passes
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[tracing],
            )
        return self._session

    async def _require_success(self, response: Response, base_url: str, call: Call) -> None:
        """Raise the error of a response that has another status than 200."""
        if response.status == 200:
            return
        body = await beginning(response)
        if 300 <= response.status < 400 and (place := response.headers.get("location")):
            body = f"redirects to {place}; correct `url`".encode()
        raise self._error(read_failure(response.status, self._masked(body), response.headers), base_url, call)

    def _documented(self, document: bytes, response: Response, base_url: str, call: Call) -> list[Chunk]:
        """The chunks of a response that is a JSON document although a stream was requested, or one event a line.

        Raises:
            ValueError: it is neither.
        """
        lines = document.splitlines()
        for read, texts in ((read_whole, [document]), (self._read_event, lines if len(lines) > 1 else [])):
            with suppress(ValueError):
                if chunks := [self._read(text, base_url, call, read=read) for text in texts if text.strip()]:
                    return chunks
        shown = f"{_shown(self._masked(document))}{advice_on_url(base_url)}"
        raise ValueError(f"answered with {response.content_type} instead of an event stream: {shown}")

    def _whole_answer(self, body: bytes, base_url: str, call: Call) -> Chunk:
        try:
            chunk = self._read(body, base_url, call, read=read_whole if call.prompt.embeds is None else read_vectors)
        except ValueError as error:
            raise self._garbled(str(error)) from error
        if not has_echo(call, chunk):
            raise Refused(f"echo: deployment {self._name!r} did not repeat the prompt", engine=self._name)
        if (size := other_size(call, chunk)) is not None:
            why = f"dimensions: the vectors of deployment {self._name!r} have {size}; ask for that, or leave it out"
            raise Refused(why, engine=self._name)
        return chunk

    def _read(
        self, event: bytes, base_url: str, call: Call, *, read: Callable[[bytes], Chunk | Failure] | None = None
    ) -> Chunk:
        reader = read or self._read_event
        try:
            chunk = reader(event)
            if not isinstance(chunk, Failure):
                return chunk
            failure = reader(self._masked(event))
        except ValueError as error:
            raise ValueError(f"sent {_shown(self._masked(event))}: {error}") from error
        raise self._error(failure if isinstance(failure, Failure) else chunk, base_url, call)

    def _error(self, failure: Failure, base_url: str, call: Call) -> EngineError:
        """The error that a failure is, and what to change if our settings are at fault."""
        failure = replace(failure, message=masked(failure.message, self._key))
        if failure.kind is Refused and (advice := self._request.fault(call, failure)):
            text = f"deployment {self._name!r} refuses our settings: {failure.message}; {advice}"
            return Misconfigured(text, engine=self._name)
        advice = advice_on_url(base_url) if failure.status in (404, 405) else ""
        return failure.blame(self._name, hint=advice.removeprefix("; "))

    def _masked(self, words: bytes) -> bytes:
        return masked(words.decode(errors="replace"), self._key).encode()

    def _garbled(self, what: str) -> Garbled:
        return Garbled(f"deployment {self._name!r} {masked(what, self._key)}", engine=self._name)

    def _blame(self, error: Exception, *, had_begun: bool) -> EngineError:
        what = masked(str(error), self._key) or type(error).__name__
        match error:
            case aiohttp.ServerTimeoutError():
                return TimedOut(f"deployment {self._name!r} stopped sending: {what}", engine=self._name)
            case aiohttp.ClientResponseError():
                return Garbled(f"deployment {self._name!r} sent invalid HTTP: {error.message}", engine=self._name)
            case _ if had_begun:
                return Broken(f"deployment {self._name!r} broke off during an answer: {what}", engine=self._name)
            case _:
                return Broken(f"deployment {self._name!r} cannot be reached: {what}", engine=self._name)

    def _unfinished(self, exchange: Exchange) -> EngineError:
        if exchange.foreign and not exchange.has_begun:
            return self._garbled(f"sent {_shown(exchange.foreign)}, not events")
        return Broken(f"deployment {self._name!r} ended its stream during an answer", engine=self._name)


def has_echo(call: Call, chunk: Chunk) -> bool:
    """Whether the answer to a raw prompt begins with it, if that was asked for and can be seen."""
    raw = call.prompt.raw
    if raw is None or not call.prompt.fields.get("echo"):
        return True
    if isinstance(raw, str):
        return str(chunk.delta.get("content", "")).startswith(raw)
    logprobs: Any = (chunk.response or {}).get("logprobs")
    return not isinstance(logprobs, dict) or len(logprobs.get("tokens") or ()) >= len(raw)


def _page(base_url: str, call: Call) -> str:
    if call.prompt.embeds is not None:
        return f"{base_url}/embeddings"
    return f"{base_url}/{'chat/completions' if call.prompt.raw is None else 'completions'}"


async def _note_reuse(session: aiohttp.ClientSession, way: Any, params: object) -> None:  # noqa: ARG001 - aiohttp's
    way.trace_request_ctx.append("kept")


async def _slices(parts: list[bytes]) -> AsyncGenerator[memoryview]:
    """A body in slices, without a copy of it."""
    for part in parts:
        view = memoryview(part)
        for start in range(0, len(view), _SLICE_BYTES):
            yield view[start : start + _SLICE_BYTES]


def _shown(body: bytes) -> str:
    return repr(body[:120].decode(errors="replace"))
