"""Any OpenAI-compatible server, near or far. The engines that we launch speak through this one too."""

from __future__ import annotations

import asyncio
import io
import os
import time
from contextlib import aclosing, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec

from tierwise.engines.engine import Health
from tierwise.engines.metrics import Page
from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.openai.wire import Failure, read_event, read_failure
from tierwise.spec.errors import Broken, EngineError, Garbled, Refused, SpecError, TimedOut

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Iterable

    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.engines.metrics import Table
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.json import Fields, Json
    from tierwise.spec.sampling import Sampling

_FAREWELL_SECONDS = 0.5  # from `[DONE]` to the end of the response; a server that lets it stand open is left
_FAILED_SECONDS = 10.0  # how long one failure counts: a remote server tells us nothing between two passes
_MOST_ERROR_BYTES = 64 * 1024
_MOST_EVENT_BYTES = 64 * 1024 * 1024
_LARGE_BYTES = 1024 * 1024  # from here on aiohttp wants a file, and sends it in parts

MULTIPLIERS = frozenset({"n", "n_cmpl", "best_of"})
"""Fields that start several passes at once, of which servers count one. `n_cmpl` is llama.cpp's, `best_of` vLLM's."""


class ChatClient:
    """Streams chat completions from one base URL over a pool of connections.

    Args:
        name: the deployment's, for blame.
        model: sent as `model`.
        extras: fields that this engine needs in every request, whatever the client sends: so that it counts what we
            must know.
        silent_seconds: without a byte for so long, a pass is given up.
        proxy: URL of the proxy on the way, with its user and password if it wants them.
        translate: puts a prompt's fields into the engine's words.
        read: makes a chunk, or a failure, of one event, for an engine that sends more than OpenAI's fields.
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
        # Not compressed: an event must not wait in somebody's buffer.
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
        """One pass against `base_url` (which ends in /v1). Closing it drops the connection, which aborts the pass."""
        body = self._encode(call)
        events, is_finished = Events(), False
        try:
            async with await self._post(f"{base_url}/chat/completions", body) as response:
                await self._require_stream(response)
                async for block in response.content.iter_any():
                    for event in events.feed(block):
                        chunk = self._read(event)
                        is_finished |= chunk.finish is not None
                        yield chunk
                    if events.is_done:
                        await _farewell(response)
                        break
                for event in events.rest():
                    chunk = self._read(event)
                    is_finished |= chunk.finish is not None
                    yield chunk
        except (aiohttp.ClientError, ConnectionError) as error:
            if not is_finished:  # a connection that dies after the last word takes nothing away
                raise self._blame(error, had_begun=events.has_any) from error
        except ValueError as error:
            raise Garbled(f"deployment {self._name!r} {error}", engine=self._name) from error
        if not is_finished:
            raise self._unfinished(events)

    async def whole(self, base_url: str, call: Call) -> bytes:
        """One pass that is not streamed: the body of its answer, for what an engine tells in no other way.

        Cancelling it drops the connection, which aborts the pass.
        """
        try:
            async with await self._post(f"{base_url}/chat/completions", self._encode(call, streamed=False)) as response:
                if response.status != 200:
                    raise read_failure(response.status, await _beginning(response), response.headers).blame(self._name)
                return await response.read()
        except (aiohttp.ClientError, ConnectionError) as error:
            raise self._blame(error, had_begun=False) from error

    async def _post(self, url: str, body: bytes) -> aiohttp.ClientResponse:
        """Send a request. A connection kept from before that the server has closed meanwhile is exchanged, unseen.

        llama.cpp closes every connection after a stream, some microseconds after promising to keep it.
        """
        while True:
            way: list[str] = []
            try:
                return await self._open().post(
                    url,
                    data=io.BytesIO(body) if len(body) > _LARGE_BYTES else body,
                    headers=self._headers,
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
            # No bound on connections: slots are bounded by the panel and by the engine's own queue.
            # No cookies either: one user's answer would leave a trace in the next one's request.
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                trace_configs=[tracing],
            )
        return self._session

    def _encode(self, call: Call, *, streamed: bool = True) -> bytes:
        asked = call.prompt.fields if self._translate is None else self._translate(call.prompt.fields)
        fields = {**asked, **self._extras}
        for name in MULTIPLIERS & fields.keys():
            if fields.pop(name) not in (1, None):
                why = f"{name}: a pass is one completion; ask for several with `n`, or by a policy"
                raise Refused(why, engine=self._name)
        body: dict[str, Json] = {
            **fields,
            "model": self._model,
            "messages": [dict(message) for message in call.prompt.messages],
            "seed": call.seed,
            "stream": streamed,
            "stream_options": {
                **_mapping(call.prompt.fields.get("stream_options")),
                **_mapping(self._extras.get("stream_options")),
                "include_usage": True,
            },
        }
        if not streamed:
            del body["stream_options"]
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError as error:
            raise Refused(f"half a character cannot be sent: {error}", engine=self._name) from error

    async def _require_stream(self, response: aiohttp.ClientResponse) -> None:
        """Raise what a response reports that is not a stream of events."""
        if response.status != 200:
            words = await _beginning(response)
            if 300 <= response.status < 400 and (place := response.headers.get("Location")):
                words = f"it moved to {place}; mend `url`".encode()
            raise read_failure(response.status, words, response.headers).blame(self._name)
        if response.content_type not in ("application/json", "text/html"):
            return
        words = await _beginning(response)
        with suppress(ValueError):
            if isinstance(failure := read_event(words), Failure):
                raise failure.blame(self._name)
        raise ValueError(f"answered with {response.content_type} instead of a stream of events: {_shown(words)}")

    def _read(self, event: bytes) -> Chunk:
        try:
            chunk = self._read_event(event)
        except ValueError as error:
            raise ValueError(f"sent {_shown(event)}: {error}") from error
        if isinstance(chunk, Failure):
            raise chunk.blame(self._name)
        return chunk

    def _blame(self, error: Exception, *, had_begun: bool) -> EngineError:
        what = str(error) or type(error).__name__
        match error:
            case aiohttp.ServerTimeoutError():
                return TimedOut(f"deployment {self._name!r} went silent: {what}", engine=self._name)
            case aiohttp.ClientResponseError():
                return Garbled(f"deployment {self._name!r} does not speak HTTP: {error.message}", engine=self._name)
            case _ if had_begun:
                return Broken(f"deployment {self._name!r} died in mid-answer: {what}", engine=self._name)
            case _:
                return Broken(f"deployment {self._name!r} cannot be reached: {what}", engine=self._name)

    def _unfinished(self, events: Events) -> EngineError:
        if events.foreign and not events.has_any:
            return Garbled(f"deployment {self._name!r} sent no event, but {_shown(events.foreign)}", engine=self._name)
        return Broken(f"deployment {self._name!r} ended its stream in mid-answer", engine=self._name)


async def _note_reuse(session: aiohttp.ClientSession, way: Any, params: object) -> None:  # noqa: ARG001 - aiohttp's
    way.trace_request_ctx.append("kept")


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """What is said of a failure, or as much of it as is worth reading."""
    parts: list[bytes] = []
    with suppress(aiohttp.ClientPayloadError):
        async for part in response.content.iter_any():
            parts.append(part)
            if sum(map(len, parts)) > _MOST_ERROR_BYTES:
                break
    return b"".join(parts)[:_MOST_ERROR_BYTES]


async def _farewell(response: aiohttp.ClientResponse) -> None:
    """Read to the end of the response, so that its connection can be used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_FAREWELL_SECONDS):
            async for _ in response.content.iter_any():
                pass


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def _shown(words: bytes) -> str:
    return repr(words[:120].decode(errors="replace"))


class Events:
    """Cuts a byte stream into the data of its server-sent events; comments and other fields are skipped.

    Follows the HTML standard, and takes servers as they are: events without a blank line between them are told apart
    too, since no JSON holds `}` and `{` on neighbouring lines.
    """

    def __init__(self) -> None:
        self.is_done = False
        """Whether `[DONE]` came."""
        self.has_any = False
        """Whether an event came."""
        self.foreign = b""
        """The first line that is no part of a stream of events."""
        self._line: list[bytes] = []
        self._size = 0
        self._data: list[bytes] = []
        self._after_return = False

    def feed(self, block: bytes) -> list[bytes]:
        """The events that this block completes, without the closing `[DONE]`."""
        if b"\r" in block or self._after_return:
            block = self._plain(block)
        first, *more = block.split(b"\n")
        self._line.append(first)
        self._size += len(block)
        found: list[bytes] = []
        for line in more:
            self._take(b"".join(self._line), found)
            self._line, self._size = [line], len(line)
        if self._size > _MOST_EVENT_BYTES:
            raise ValueError(f"sent a line of more than {_MOST_EVENT_BYTES >> 20} MiB")
        return found

    def rest(self) -> list[bytes]:
        """What a stream that is over has left unfinished, where that can be read."""
        found: list[bytes] = []
        self._take(b"".join(self._line), found)
        self._flush(found)
        return [event for event in found if _is_json(event)]

    def _plain(self, block: bytes) -> bytes:
        """The block with line feeds for every kind of line end."""
        if self._after_return and block.startswith(b"\n"):
            block = block[1:]
        self._after_return = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take(self, line: bytes, found: list[bytes]) -> None:
        if not line:
            self._flush(found)
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            value = value.strip()
            if self._data and self._data[-1].endswith(b"}") and value.startswith((b"{", b"[DONE]")):
                self._flush(found)
            self._data.append(value)
        elif name == b"error":  # llama.cpp before September 2025
            self._flush(found)
            found.append(b'{"error":' + value + b"}")
        elif name not in (b"", b"event", b"id", b"retry"):
            self.foreign = self.foreign or line

    def _flush(self, found: list[bytes]) -> None:
        event = b"\n".join(self._data).strip()
        self._data.clear()
        if event == b"[DONE]":
            self.is_done = True
        elif event:
            self.has_any = True
            found.append(event)


DIALECT = Dialect(
    engine="http",
    advice=dict.fromkeys(
        ("thinking_tokens", "active_experts", "priority"), "servers differ in it; say it in their words under `extra`"
    ),
)

LEVERS: tuple[Lever, ...] = ()
"""Whatever can be set was set where the server was launched."""


class Http(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="http", tag_field="engine"):
    """Any OpenAI-compatible server that runs already: vLLM, SGLang, llama-server, TGI, Ollama, a hosted one."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")]
    """Where it answers, with its `/v1`. A far one is reached as HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""
    model: str = "default"
    """What it calls the model."""
    api_key_env: str | None = None
    """The environment variable that holds its key; keys never stand in the file."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    """How many passes of one action run there side by side at the most."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """Without a byte from it for so long, a pass is given up."""
    extra: dict[str, Any] = {}
    """Fields to send with every request, whatever the client sends: what this server wants to be told."""

    @property
    def context(self) -> None:
        return None

    @property
    def loads(self) -> None:
        return None

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - it loads none
        if self.url.rstrip("/").endswith("/chat/completions"):
            yield "url", f"{self.url!r} names one endpoint; give the base that ends in /v1"
        if "@" in urlsplit(self.url).netloc:
            yield "url", "it holds a user name or password; name the variable that holds the key under `api_key_env`"
        for name in MULTIPLIERS & self.extra.keys():
            yield "extra", f"{name} would start passes that nobody counts; draw several by a policy"

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        return DIALECT.refuses(sampling, knows_checkpoint=False)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:  # noqa: ARG002 - nothing of it is on this machine
        return ()

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return LEVERS

    def command(self, site: Site) -> str:  # noqa: ARG002 - it runs elsewhere
        return f"(runs already) {self.url}"

    def build(self, name: str, site: Site) -> HttpEngine:  # noqa: ARG002
        key = None
        if self.api_key_env is not None and not (key := os.environ.get(self.api_key_env, "").strip()):
            raise SpecError(
                f"the environment variable {self.api_key_env} is empty; it must hold the key of {self.url}",
                field=f"deployments.{name}.api_key_env",
            )
        return HttpEngine(name, self, api_key=key, proxy=proxy_to(self.url))


def proxy_to(url: str) -> str | None:
    """The proxy that the environment names for a server; none for one on this machine, whatever NO_PROXY forgot."""
    place = urlsplit(url)
    host = place.hostname or ""
    if host == "localhost" or _is_loopback(host) or proxy_bypass(place.netloc):
        return None
    return getproxies().get(place.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class HttpEngine:
    """A server that somebody else runs.

    Args:
        name: the deployment's.
        settings: where it is, and what it wants to be told.
        api_key: sent with every request.
        proxy: URL of the proxy on the way.
        client: speaks to it in an engine's own words; one for any server where it is not given.
        table: what its metrics page calls things, where that is known.
        clock: seconds.
    """

    def __init__(
        self,
        name: str,
        settings: Http,
        *,
        api_key: str | None = None,
        proxy: str | None = None,
        client: ChatClient | None = None,
        table: Table | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = settings.url.rstrip("/")
        self._page = Page(url=f"{self._url.removesuffix('/v1')}/metrics", table=table) if table else None
        self._client = client or ChatClient(
            name,
            settings.model,
            api_key=api_key,
            extras=settings.extra,
            silent_seconds=settings.silent_seconds,
            proxy=proxy,
        )
        self._clock = clock
        self._failed_at = float("-inf")
        self._reason = ""

    async def start(self) -> None:
        """Nothing to start: a server that is away is found out, and named, by the pass that needs it."""

    async def stop(self) -> None:
        await self._client.close()

    def health(self) -> Health:
        """Failed for some seconds after a failure, and then given another chance: only a pass can tell."""
        if self._clock() - self._failed_at < _FAILED_SECONDS:
            return Health(state="failed", reason=self._reason)
        return Health(state="ready", reason=self._reason, page=self._page)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        try:
            async with aclosing(self._client.stream(self._url, call)) as stream:
                async for chunk in stream:
                    self._failed_at, self._reason = float("-inf"), ""
                    yield chunk
        except Broken as error:
            self._failed_at, self._reason = self._clock(), str(error)
            raise
