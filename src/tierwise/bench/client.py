"""One action as a client of the endpoint sees it: what was said, when, at which price, or what went wrong.

While a stream runs, its blocks are only put aside with their moments, and read when it is over: what the client does
for one stream is what another one waits for.
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

from tierwise.bench.connection import Connections
from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.wire import WireChoice
from tierwise.runs.durations import Durations
from tierwise.runs.records import PassSpend
from tierwise.spec.call import Chunk, Recorder
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.spec.call import Completion
    from tierwise.spec.json import Json

ATTEMPTS = 4
"""How often an action is asked for while the endpoint says that it has no room."""

LONGEST_WAIT = 30.0
"""Seconds between two attempts, whatever the endpoint asks for."""

_NO_ROOM = frozenset({429, 503})


class ActionAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint says an action took: `usage.tierwise`."""

    dollars: float
    passes: list[PassSpend]
    why: list[str] = []
    agreement: list[float | None] = []
    exact: bool = True


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class ActionUsage(msgspec.Struct, frozen=True):
    """`usage` of one action, over all its passes."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    tierwise: ActionAccount | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0


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
    """Why an action brought no whole answer."""

    message: str
    status: int | None = None
    """Of HTTP; None when it broke off later, or when nothing answered at all."""
    code: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReply:
    """What came of one action. Times are the client's own, from the moment at which it was due."""

    completion: Completion
    late: float
    """Seconds until the first attempt."""
    first_byte: float | None
    """Seconds until the endpoint began to answer; None when it did not."""
    first_output: float | None
    """Seconds until the model said something; None when it did not."""
    seconds: float
    """Until the end of the stream: the whole action, as its user waits for it."""
    gaps: Durations | None
    """Between two pieces of the answer."""
    tokens: ActionUsage | None
    """None when the endpoint did not tell."""
    failure: ActionFailure | None
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModels:
    """What an endpoint says about itself."""

    most_passes: Mapping[str, int]
    """How many passes each tier may spend on one prompt, other tiers included."""
    candidates: bool
    """Whether it tells what each pass said, when it is asked to."""
    composed: frozenset[str]
    """Tiers that ask other tiers. They have no average mode of their own: it would be another tier's."""


class Client:
    """Asks one endpoint for actions, streamed.

    Args:
        url: the endpoint's root, without `/v1`.
        timeout: seconds that an action may take.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._connections = Connections(self._url)

    async def __aenter__(self) -> Self:
        await self._connections.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connections.__aexit__()

    async def served(self) -> ServedModels:
        """The tiers of the endpoint, its routes among them.

        Raises:
            SpecError: there is no Tierwise.
            TierwiseError: nothing answers there.
        """
        try:
            async with aiohttp.ClientSession() as session, session.get(f"{self._url}/v1/models") as response:
                listing = msgspec.json.decode(await response.read(), type=_ModelListing)
        except (aiohttp.ClientError, OSError) as error:
            raise TierwiseError(f"nothing answers at {self._url}: {error}") from error
        except msgspec.DecodeError as error:
            raise SpecError(f"{self._url}/v1/models lists no models: {error}") from error
        models = {model.id: model.tierwise for model in listing.data if model.tierwise is not None}
        found = {name: about.most_passes for name, about in models.items() if about.most_passes is not None}
        if not found:
            names = ", ".join(model.id for model in listing.data) or "none"
            raise SpecError(
                f"{self._url} serves no tier; its models: {names}. An endpoint of `tierwise serve` is wanted"
            )
        return ServedModels(
            most_passes=found,
            candidates=all(models[name].candidates for name in found),
            composed=frozenset(name for name in found if models[name].tiers),
        )

    async def act(self, body: Mapping[str, Json], due: float | None = None) -> ActionReply:
        """Ask for one action, again for as long as the endpoint has no room; never raises at what goes wrong.

        Args:
            body: the request.
            due: the moment of `time.monotonic()` from which its user waits; now when not given.
        """
        heard = _Heard(time.monotonic() if due is None else due)
        try:
            async with asyncio.timeout(self._timeout):
                attempts, failure = await self._insist(msgspec.json.encode(body), heard)
        except TimeoutError:
            attempts, failure = 1, ActionFailure(message=f"not over after {self._timeout:g} s", code="timed_out")
        return heard.reply(failure, attempts)

    async def _insist(self, body: bytes, heard: _Heard) -> tuple[int, ActionFailure | None]:
        """How often it was asked, and what went wrong the last time."""
        for attempt in range(1, ATTEMPTS + 1):
            failure = await self._attempt(body, heard)
            if failure is None or failure.status not in _NO_ROOM or attempt == ATTEMPTS:
                break
            wait = 0.5 * 2.0 ** (attempt - 1) if failure.retry_after is None else failure.retry_after
            await asyncio.sleep(min(LONGEST_WAIT, wait))
        return attempt, failure

    async def _attempt(self, body: bytes, heard: _Heard) -> ActionFailure | None:
        try:
            await self._connections.post("/v1/chat/completions", body, heard)
        except OSError as error:
            return ActionFailure(
                message=f"connection lost: {str(error) or type(error).__name__}", code="connection_lost"
            )
        return heard.refusal()


class _Heard:
    """An action while its stream is put aside, and what it said once that is over."""

    def __init__(self, due: float) -> None:
        self._due = due
        self._late = time.monotonic() - due
        self._status = 200
        self._headers: Mapping[str, str] = {}
        self._first_byte: float | None = None
        self.blocks: list[bytes] = []
        self._reads: list[tuple[float, int]] = []
        """When something was read, and how many blocks there were afterwards."""
        self._recorder = Recorder()
        self._texts: list[str] = []
        self._outputs: list[float] = []
        self._tokens: ActionUsage | None = None
        self._error: _Error | None = None

    def begun(self, status: int, headers: Mapping[str, str], moment: float) -> None:
        self._status, self._headers = status, headers
        self._first_byte = moment - self._due

    def read(self, moment: float) -> None:
        self._reads.append((moment, len(self.blocks)))

    def refusal(self) -> ActionFailure | None:
        """What a response without a stream says; None when there is a stream."""
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
        """What came of it all; `failure` is what went wrong on the way."""
        seconds = time.monotonic() - self._due
        failure = self._read() or failure
        if failure is None:
            failure = self._lacking()
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
        """Take in what was put aside; None when all of it can be read."""
        blocks = list(self._joined())
        try:
            moments, texts = _plain(blocks) or _any(blocks)
            self._add_all(moments, _read_events(b"[%b]" % b",".join(texts)))
        except ValueError as error:
            return ActionFailure(message=f"an event cannot be read: {error}", code="garbled")
        return None

    def _joined(self) -> Iterator[tuple[float, bytes]]:
        """What came with each read, and its moment."""
        reached = 0
        for moment, count in self._reads:
            if count > reached:
                yield moment, b"".join(self.blocks[reached:count])
            reached = count

    def _add_all(self, moments: Sequence[float], events: Sequence[_Event]) -> None:
        plain: list[str] = []  # text is handed on in long pieces: most of a stream is nothing else
        for moment, event in zip(moments, events, strict=True):
            for choice in event.choices[:1]:
                delta = choice.delta or {}
                if len(delta) == 1 and choice.finish_reason is None and isinstance(text := delta.get("content"), str):
                    if text:
                        plain.append(text)
                        self._outputs.append(moment)
                    continue
                self._add(plain)
                plain = []
                chunk = Chunk(delta=delta, finish=choice.finish_reason)
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

    def _lacking(self) -> ActionFailure | None:
        """What a stream that ended by itself lacks; None when it is whole."""
        if self._error is not None:
            return ActionFailure(message=self._error.message, code=str(self._error.code or ""))
        if self._recorder.finish is None:
            return ActionFailure(message="the stream ended in mid-answer", code="connection_lost")
        return None


def _plain(blocks: Sequence[tuple[float, bytes]]) -> tuple[list[float], list[bytes]] | None:
    """The events of a stream as our own endpoint writes it, and when each was whole; None for any other stream."""
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
                continue  # a sign of life
            return None
        texts += events
        moments += [moment] * len(events)
    if begun:
        return None
    if texts and texts[-1] == b"[DONE]":
        del moments[-1], texts[-1]
    return moments, texts


def _any(blocks: Sequence[tuple[float, bytes]]) -> tuple[list[float], list[bytes]]:
    """The same for every stream of events that the HTML standard knows, and for some that it does not."""
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
    """Other tiers that it asks."""


class _Model(msgspec.Struct):
    id: str
    tierwise: _About | None = None


class _ModelListing(msgspec.Struct):
    data: list[_Model]
