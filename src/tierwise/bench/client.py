"""One action as a client of the endpoint sees it: what was said, when, at which price, or what went wrong."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import aiohttp
import msgspec

from tierwise.engines.http import Events
from tierwise.engines.wire import WireChoice
from tierwise.spec.call import Chunk, Completion, Recorder
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.spec.json import Json

ATTEMPTS = 4
"""How often an action is asked for while the endpoint says that it has no room."""

LONGEST_WAIT = 30.0
"""Seconds between two attempts, whatever the endpoint asks for."""

_NO_ROOM = frozenset({429, 503})


class PassSpend(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass of an action was for, and what it took, as the endpoint told it."""

    role: str
    outcome: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    dollars: float


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What the endpoint says an action took: `usage.tierwise`."""

    dollars: float
    passes: list[PassSpend]
    why: list[str] = []
    agreement: list[float | None] = []
    exact: bool = True


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True):
    """`usage` of one action, over all its passes."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    tierwise: Account | None = None

    @property
    def cached_tokens(self) -> int:
        details = self.prompt_tokens_details
        return (details.cached_tokens or 0) if details is not None else 0


class _Error(msgspec.Struct):
    message: str = ""
    code: str | int | None = None


class _Event(msgspec.Struct):
    choices: list[WireChoice] = []
    usage: Tokens | None = None
    error: _Error | None = None


_read_event = msgspec.json.Decoder(_Event).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why an action brought no whole answer."""

    message: str
    status: int | None = None
    """Of HTTP; None when it broke off later, or when nothing answered at all."""
    code: str = ""
    retry_after: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one action. Times are the client's own, from the first attempt on."""

    completion: Completion
    first_output: float | None
    """Seconds until the model said something; None when it did not."""
    seconds: float
    """Until the end of the stream: the whole action, as its user waits for it."""
    tokens: Tokens | None
    """None when the endpoint did not tell."""
    failure: Failure | None
    attempts: int = 1


class Client:
    """Asks one endpoint for actions, streamed.

    Args:
        url: the endpoint's root, without `/v1`.
        timeout: seconds that an action may take.
    """

    def __init__(self, url: str, *, timeout: float) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def most_passes(self) -> dict[str, int]:
        """The tiers of the endpoint, and how many passes each may spend on one prompt.

        Raises:
            SpecError: there is no Tierwise.
            TierwiseError: nothing answers there.
        """
        try:
            async with self._session.get(f"{self._url}/v1/models") as response:
                listing = msgspec.json.decode(await response.read(), type=_Listing)
        except (aiohttp.ClientError, OSError) as error:
            raise TierwiseError(f"nothing answers at {self._url}: {error}") from error
        except msgspec.DecodeError as error:
            raise SpecError(f"{self._url}/v1/models lists no models: {error}") from error
        tiers = {model.id: model.tierwise.most_passes for model in listing.data if model.tierwise is not None}
        found = {name: most for name, most in tiers.items() if most is not None}
        if not found:
            names = ", ".join(model.id for model in listing.data) or "none"
            raise SpecError(
                f"{self._url} serves no tier; its models: {names}. An endpoint of `tierwise serve` is wanted"
            )
        return found

    async def act(self, body: Mapping[str, Json]) -> Reply:
        """Ask for one action, again for as long as the endpoint has no room; never raises at what goes wrong."""
        heard = _Heard(time.monotonic())
        try:
            async with asyncio.timeout(self._timeout):
                return await self._insist(body, heard)
        except TimeoutError:
            return heard.reply(Failure(message=f"not over after {self._timeout:g} s", code="timed_out"))

    async def _insist(self, body: Mapping[str, Json], heard: _Heard) -> Reply:
        for attempt in range(1, ATTEMPTS + 1):
            reply = heard.reply(await self._attempt(body, heard))
            failure = reply.failure
            if failure is None or failure.status not in _NO_ROOM or attempt == ATTEMPTS:
                break
            wait = 0.5 * 2.0 ** (attempt - 1) if failure.retry_after is None else failure.retry_after
            await asyncio.sleep(min(LONGEST_WAIT, wait))
        return replace(reply, attempts=attempt)

    async def _attempt(self, body: Mapping[str, Json], heard: _Heard) -> Failure | None:
        try:
            async with self._session.post(f"{self._url}/v1/chat/completions", json=body) as response:
                if response.status != 200:
                    return heard.refused(response.status, await response.read(), response.headers)
                events = Events()
                async for block in response.content.iter_any():
                    for event in events.feed(block):
                        heard.add(_read_event(event))
        except (aiohttp.ClientError, OSError) as error:
            return Failure(message=f"connection lost: {str(error) or type(error).__name__}", code="connection_lost")
        except msgspec.DecodeError as error:
            return Failure(message=f"an event cannot be read: {error}", code="garbled")
        return heard.failure()


class _Heard:
    """An action while its stream is read."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._recorder = Recorder()
        self._first_output: float | None = None
        self._tokens: Tokens | None = None
        self._error: _Error | None = None

    def add(self, event: _Event) -> None:
        for choice in event.choices[:1]:
            chunk = Chunk(delta=choice.delta or {}, finish=choice.finish_reason)
            self._recorder.add(chunk)
            if self._first_output is None and chunk.is_output:
                self._first_output = time.monotonic() - self._began
        self._tokens = event.usage or self._tokens
        self._error = event.error or self._error

    def refused(self, status: int, body: bytes, headers: Mapping[str, str]) -> Failure:
        """What a response without a stream says."""
        try:
            event = _read_event(body)
        except msgspec.DecodeError:
            event = _Event()
        error = event.error or _Error()
        self._tokens = event.usage
        wait = headers.get("Retry-After", "")
        return Failure(
            message=error.message or body.decode(errors="replace").strip()[:500] or f"HTTP {status}",
            status=status,
            code=str(error.code or ""),
            retry_after=float(wait) if re.fullmatch(r"\d+(\.\d+)?", wait) else None,
        )

    def failure(self) -> Failure | None:
        """What a stream that ended by itself lacks; None when it is whole."""
        if self._error is not None:
            return Failure(message=self._error.message, code=str(self._error.code or ""))
        if self._recorder.finish is None:
            return Failure(message="the stream ended in mid-answer", code="connection_lost")
        return None

    def reply(self, failure: Failure | None) -> Reply:
        return Reply(
            completion=self._recorder.completion(""),
            first_output=self._first_output,
            seconds=time.monotonic() - self._began,
            tokens=self._tokens,
            failure=failure,
        )


class _About(msgspec.Struct):
    most_passes: int | None = None
    """None for a route."""


class _Model(msgspec.Struct):
    id: str
    tierwise: _About | None = None


class _Listing(msgspec.Struct):
    data: list[_Model]
