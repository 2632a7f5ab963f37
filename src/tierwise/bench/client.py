"""The bench's client: sends one action and returns its answer, timings, usage or failure.

While a stream runs, the client only stores its blocks with their arrival times. It parses them when the stream has
ended, because work done for one stream delays the others.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from operator import sub
from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec

from tierwise.bench.connection import Connections, key_header
from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.wire import WireChoice
from tierwise.runs.durations import Durations
from tierwise.runs.records import PassSpend
from tierwise.spec.call import Chunk, Recorder
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.bench.outage import Outage
    from tierwise.spec.call import Completion
    from tierwise.spec.json import Json

ATTEMPTS = 4
"""Attempts per action while the endpoint is at capacity."""

MAX_WAIT = 30.0
"""Maximum seconds between two attempts, even if the endpoint asks for more."""

MOST_OUTAGES = 3
"""Outages of the endpoint after which an action is not repeated: it may be what ends the endpoint."""

_AT_CAPACITY = frozenset({429, 503})

_LOST = "connection_lost"
_TIMED_OUT = "timed_out"


class ActionAccount(msgspec.Struct, frozen=True, kw_only=True):
    """The endpoint's account of an action: `usage.tierwise`."""

    dollars: float
    passes: list[PassSpend]
    why: list[str] = []
    agreement: list[float | None] = []
    exact: bool = True


class _Details(msgspec.Struct):
    """Parts of the prompt or of the completion tokens."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class ActionUsage(msgspec.Struct, frozen=True):
    """`usage` of one action, summed over its passes."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    tierwise: ActionAccount | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0

    @property
    def reasoning_tokens(self) -> int:
        details = self.completion_tokens_details
        return (details.reasoning_tokens or 0) if details is not None else 0


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Event(msgspec.Struct):
    choices: list[WireChoice] = []
    usage: ActionUsage | None = None
    error: _Error | None = None


_read_event = msgspec.json.Decoder(_Event).decode
_read_events = msgspec.json.Decoder(list[_Event]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionFailure:
    """Why an action has no complete answer."""

    message: str
    status: int | None = None
    """HTTP status; None if the stream failed later, or there was no response."""
    code: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReply:
    """The outcome of one action. The client measures all times, in seconds from the action's due time."""

    completion: Completion
    late: float
    """Until the first attempt."""
    first_byte: float | None
    """Until the response head; None if there was no response."""
    first_output: float | None
    """Until the first output of the model; None if there was none."""
    seconds: float
    """Until the end of the stream: the user's total wait."""
    gaps: Durations | None
    """Between consecutive pieces of the answer."""
    tokens: ActionUsage | None
    """None if the endpoint did not report usage."""
    failure: ActionFailure | None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModels:
    """The models that an endpoint reports."""

    most_passes: Mapping[str, int]
    """The maximum number of passes per prompt by tier, passes of other tiers included."""
    candidates: bool
    """Whether it can return the text of each candidate."""
    composed: frozenset[str]
    """Tiers that ask other tiers. They have no average mode of their own: their first pass belongs to another tier."""


class Client:
    """Sends actions to one endpoint and reads the streams.

    Args:
        url: the endpoint's root, without `/v1`.
        timeout: maximum seconds per action.
        key: the endpoint's key; empty if it needs none.
        outage: waits for the endpoint if it is gone; None to return the failure at once.
    """

    def __init__(self, url: str, *, timeout: float, key: str = "", outage: Outage | None = None) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._outage = outage
        self._authorization = key_header(key)
        self._connections = Connections(self._url, headers=self._authorization)

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.__aexit__()

    async def served(self) -> ServedModels:
        """The endpoint's tiers, including routes.

        Raises:
            SpecError: the endpoint is not a Tierwise endpoint.
            TierwiseError: the endpoint is unreachable.
        """
        try:
            async with (
                aiohttp.ClientSession(headers=self._authorization) as session,
                session.get(f"{self._url}/v1/models") as response,
            ):
                if response.status == 401:
                    raise SpecError(f"{self._url} needs a key; name its environment variable", field="--api-key-env")
                listing = msgspec.json.decode(await response.read(), type=_ModelListing)
        except (aiohttp.ClientError, OSError) as error:
            raise TierwiseError(f"the endpoint {self._url} is unreachable: {error}") from error
        except msgspec.DecodeError as error:
            raise SpecError(f"{self._url}/v1/models does not return a list of models: {error}") from error
        models = {model.id: model.tierwise for model in listing.data if model.tierwise is not None}
        found = {name: about.most_passes for name, about in models.items() if about.most_passes is not None}
        if not found:
            names = ", ".join(model.id for model in listing.data) or "none"
            raise SpecError(
                f"{self._url} serves no tier; its models: {names}. Give the URL of an endpoint run by `tierwise serve`"
            )
        return ServedModels(
            most_passes=found,
            candidates=all(models[name].candidates for name in found),
            composed=frozenset(name for name in found if models[name].tiers),
        )

    async def act(self, body: Mapping[str, Json], due: float | None = None) -> ActionReply:
        """Run one action, with retries while the endpoint is at capacity. Failures are returned, not raised.

        An action that an outage interrupted is repeated once the endpoint is back, and timed from then on.

        Args:
            body: the request.
            due: the `time.monotonic()` time from which the user waits; now by default.

        Raises:
            EndpointGone: the endpoint did not come back in time.
        """
        for _ in range(MOST_OUTAGES):
            began = time.monotonic()
            reply = await self._act(body, due)
            if not _is_lost(reply.failure) or self._outage is None or not await self._outage.was_gone(began):
                return reply
            due = None
        return await self._act(body, due)

    async def _act(self, body: Mapping[str, Json], due: float | None) -> ActionReply:
        capture = _StreamCapture(time.monotonic() if due is None else due)
        try:
            async with asyncio.timeout(self._timeout):
                attempts, failure = await self._with_retries(msgspec.json.encode(body), capture)
        except TimeoutError:
            attempts, failure = 1, ActionFailure(message=f"not finished after {self._timeout:g} s", code=_TIMED_OUT)
        return capture.reply(failure, attempts)

    async def _with_retries(self, body: bytes, capture: _StreamCapture) -> tuple[int, ActionFailure | None]:
        """The number of attempts, and the last failure."""
        for attempt in range(1, ATTEMPTS + 1):
            failure = await self._attempt(body, capture)
            if failure is None or failure.status not in _AT_CAPACITY or attempt == ATTEMPTS:
                break
            wait = 0.5 * 2.0 ** (attempt - 1) if failure.retry_after is None else failure.retry_after
            await asyncio.sleep(min(MAX_WAIT, wait))
        return attempt, failure

    async def _attempt(self, body: bytes, capture: _StreamCapture) -> ActionFailure | None:
        try:
            await self._connections.post("/v1/chat/completions", body, capture)
        except OSError as error:
            return ActionFailure(message=f"connection lost: {str(error) or type(error).__name__}", code=_LOST)
        return capture.refusal()


def _is_lost(failure: ActionFailure | None) -> bool:
    """Whether the endpoint may be gone."""
    return failure is not None and (failure.code in (_LOST, _TIMED_OUT) or failure.status == 503)


class _StreamCapture:
    """Stores the blocks of a stream while it runs, and parses them when it has ended."""

    def __init__(self, due: float) -> None:
        self._due = due
        self._late = time.monotonic() - due
        self._status = 200
        self._headers: Mapping[str, str] = {}
        self._first_byte: float | None = None
        self.blocks: list[bytes] = []
        self._reads: list[tuple[float, int]] = []
        """The time of each read, and the number of blocks after it."""
        self._recorder = Recorder()
        self._texts: list[str] = []
        self._outputs: list[float] = []
        self._tokens: ActionUsage | None = None
        self._error: _Error | None = None

    def on_head(self, status: int, headers: Mapping[str, str], moment: float) -> None:
        self._status, self._headers = status, headers
        self._first_byte = moment - self._due

    def on_read(self, moment: float) -> None:
        self._reads.append((moment, len(self.blocks)))

    def refusal(self) -> ActionFailure | None:
        """The failure reported by an error response; None for a stream."""
        if self._status == 200:
            return None
        body = b"".join(self.blocks)
        self.blocks, self._reads = [], []
        try:
            event = _read_event(body)
        except msgspec.DecodeError:
            event = _Event()
        error = event.error or _Error()
        self._tokens = event.usage
        wait = self._headers.get("retry-after", "")
        return ActionFailure(
            message=error.message or body.decode(errors="replace").strip()[:500] or f"HTTP {self._status}",
            status=self._status,
            code=str(error.code or ""),
            retry_after=float(wait) if re.fullmatch(r"\d+(\.\d+)?", wait) else None,
        )

    def reply(self, failure: ActionFailure | None, attempts: int) -> ActionReply:
        """The outcome of the action; `failure` is the transport's, if any."""
        seconds = time.monotonic() - self._due
        failure = self._read() or failure
        if failure is None:
            failure = self._incomplete()
        outputs = self._outputs
        gaps = Durations.of(map(sub, outputs[1:], outputs)) if len(outputs) > 1 else None
        return ActionReply(
            completion=self._recorder.completion(""),
            late=self._late,
            first_byte=self._first_byte,
            first_output=outputs[0] - self._due if outputs else None,
            seconds=seconds,
            gaps=gaps,
            tokens=self._tokens,
            failure=failure,
            attempts=attempts,
        )

    def _read(self) -> ActionFailure | None:
        """Parse the stored blocks; None if all of them are valid."""
        blocks = list(self._timed_reads())
        try:
            moments, texts = _split_own(blocks) or _split_any(blocks)
            self._record_events(moments, _read_events(b"[%b]" % b",".join(texts)))
        except ValueError as error:
            return ActionFailure(message=f"invalid event in the stream: {error}", code="garbled")
        return None

    def _timed_reads(self) -> Iterator[tuple[float, bytes]]:
        """The bytes of each read, with its time."""
        reached = 0
        for moment, count in self._reads:
            if count > reached:
                yield moment, b"".join(self.blocks[reached:count])
            reached = count

    def _record_events(self, moments: Sequence[float], events: Sequence[_Event]) -> None:
        plain: list[str] = []  # text deltas are joined before they are recorded: they are most of a stream
        for moment, event in zip(moments, events, strict=True):
            for choice in event.choices[:1]:
                delta = choice.delta or {}
                logprobs = choice.logprobs if isinstance(choice.logprobs, dict) else None
                is_plain = len(delta) == 1 and choice.finish_reason is None and logprobs is None
                if is_plain and isinstance(text := delta.get("content"), str):
                    if text:
                        plain.append(text)
                        self._outputs.append(moment)
                    continue
                self._add(plain)
                plain = []
                chunk = Chunk(delta=delta, finish=choice.finish_reason, logprobs=logprobs)
                self._recorder.add(chunk)
                if chunk.is_output:
                    self._outputs.append(moment)
            if event.usage is not None:
                self._tokens = event.usage
            if event.error is not None:
                self._error = event.error
        self._add(plain)

    def _add(self, texts: Sequence[str]) -> None:
        if texts:
            self._recorder.add(Chunk(delta={"content": "".join(texts)}))

    def _incomplete(self) -> ActionFailure | None:
        """Why a stream that ended normally is incomplete; None if it is complete."""
        if self._error is not None:
            return ActionFailure(message=self._error.message, code=str(self._error.code or ""))
        if self._recorder.finish is None:
            return ActionFailure(message="the stream ended in the middle of the answer", code=_LOST)
        return None


def _split_own(blocks: Sequence[tuple[float, bytes]]) -> tuple[list[float], list[bytes]] | None:
    """Event times and payloads of a stream in the form that Tierwise writes; None for any other form."""
    moments: list[float] = []
    texts: list[bytes] = []
    begun = b""
    for moment, piece in blocks:
        block = begun + piece if begun else piece
        if not block.endswith(b"\n\n"):
            begun = block
            continue
        begun = b""
        events = block[6:-2].split(b"\n\ndata: ")
        if not block.startswith(b"data: ") or block.count(b"\n") != 2 * len(events) or b"\r" in block:
            if block.startswith(b": ") and block.count(b"\n") == 2:
                continue  # a keep-alive comment
            return None
        texts += events
        moments += [moment] * len(events)
    if begun:
        return None
    if texts and texts[-1] == b"[DONE]":
        del moments[-1], texts[-1]
    return moments, texts


def _split_any(blocks: Sequence[tuple[float, bytes]]) -> tuple[list[float], list[bytes]]:
    """The same for any server-sent event stream, with a full parser that tolerates some deviations."""
    moments: list[float] = []
    texts: list[bytes] = []
    events = EventParser()
    for moment, block in blocks:
        found = events.feed(block)
        texts += found
        moments += [moment] * len(found)
    return moments, texts


class _About(msgspec.Struct):
    most_passes: int | None = None
    candidates: bool = False
    tiers: list[str] = []
    """Other tiers that it may ask."""


class _Model(msgspec.Struct):
    id: str
    tierwise: _About | None = None


class _ModelListing(msgspec.Struct):
    data: list[_Model]
