"""Responses that requests may continue, in memory and bounded."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.spec.clock import now
from tierwise.spec.errors import NoSuchResponse, NotFound, SpecError
from tierwise.spec.limits import MIB
from tierwise.spec.stored import StoredResponses

if TYPE_CHECKING:
    from tierwise.gateway.siblings import Siblings

_IDS = re.compile(rb"\b[a-z]+_([0-9a-f]{24})(?![0-9a-f])")
"""The hexadecimal digits of a response's id, in its own or in that of one of its items."""
_MOST_BROUGHT = 256
"""Responses that one request may bring from other processes."""

_encode = msgspec.json.encode
_decode = msgspec.json.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """One response."""

    owner: str
    until: float
    response: bytes
    """The object as JSON."""
    segments: tuple[bytes, ...]
    """The items of the conversation up to it as JSON lists: input and output of every response that it continues, then
    its own. Responses of one conversation share them.
    """


class ResponseStore:
    """Keeps responses until there are too many of them, or they are too old. What one owner stored, no other sees.

    Args:
        limits: how many.
        clock: returns seconds.
        siblings: the other processes of the endpoint, which keep what they answered. Each has its part of the room.
    """

    def __init__(
        self, limits: StoredResponses, clock: Callable[[], float] = now, *, siblings: Siblings | None = None
    ) -> None:
        self._limits, self._clock, self._siblings = limits, clock, siblings
        self._parts = 1 if siblings is None else siblings.count
        self._most = -(-limits.count // self._parts)
        self._room = limits.mebibytes * MIB // self._parts
        self._all: dict[str, _Stored] = {}
        """In the order in which they were stored."""
        self._uses: Counter[int] = Counter()
        """How many responses have a segment, by the segment's identity."""
        self.size = 0
        """Bytes of all objects and segments."""

    def limit(self, limits: StoredResponses) -> None:
        """Keep no more than this from now on. What is kept already keeps its time."""
        self._limits = limits
        while self._all and (len(self._all) > limits.count or self.size > limits.mebibytes * MIB):
            self._drop(next(iter(self._all)))

    @property
    def is_on(self) -> bool:
        return self._limits.count > 0

    def __len__(self) -> int:
        return len(self._all)

    async def bring(self, text: bytes | bytearray, owner: str) -> None:
        """Fetch the responses whose ids are in a text, and that other processes keep. Here they are kept too then."""
        if self._siblings is None or self._parts == 1:
            return
        named = dict.fromkeys(f"resp_{found.decode()}" for found in _IDS.findall(text))
        if missing := [name for name in named if self._find(name, owner) is None][:_MOST_BROUGHT]:
            for found in await self._siblings.gather("responses", [missing, owner]):
                for name, seconds, response, segments in found:
                    self._keep(name, owner, self._clock() + seconds, response, tuple(segments))

    def lent(self, names: Sequence[str], owner: str) -> list[tuple[str, float, bytes, tuple[bytes, ...]]]:
        """What another process needs of some responses: id, seconds that are left, object and segments."""
        return [
            (name, one.until - self._clock(), one.response, one.segments)
            for name in names
            if (one := self._find(name, owner)) is not None
        ]

    async def delete_everywhere(self, response: str, owner: str) -> bool:
        """Drop a response in all processes. Returns whether it was stored."""
        others = [] if self._siblings is None else await self._siblings.gather("forget", [response, owner])
        return any([self.delete(response, owner), *others])

    def segments(self, response: str, owner: str) -> tuple[bytes, ...]:
        """The conversation up to a response, to be continued.

        Raises:
            NoSuchResponse: it is not stored.
        """
        found = self._find(response, owner)
        if found is None:
            field = "previous_response_id"
            raise NoSuchResponse(f"{field}: {self._missing(response)}; send the whole conversation", field=field)
        return found.segments

    def response(self, response: str, owner: str) -> bytes:
        """The object of a response as JSON.

        Raises:
            NotFound: it is not stored.
        """
        found = self._find(response, owner)
        if found is None:
            raise NotFound(self._missing(response), field="response_id")
        return found.response

    def item(self, item: str, owner: str, field: str) -> dict[str, Any]:
        """The output item of a stored response.

        Args:
            item: its id, which has that of its response.
            owner: whose.
            field: what refers to it.

        Raises:
            SpecError: it is not stored.
        """
        parts = item.split("_")
        found = self._find(f"resp_{parts[1]}", owner) if len(parts) == len(("kind", "response", "index")) else None
        items = [] if found is None else _decode(found.response)["output"]
        for one in items:
            if one["id"] == item:
                return dict(one)
        raise SpecError(f"{field}: item {item[:200]!r} is not stored, or no longer; send the item itself", field=field)

    def put(self, response: str, owner: str, value: bytes, before: Sequence[bytes], items: Sequence[Any]) -> bool:
        """Store a response.

        Args:
            response: its id.
            owner: whose it is.
            value: the object as JSON.
            before: segments of the response that it continues.
            items: its input and output.

        Returns:
            Whether it is stored: one that is larger than all of the room is not.
        """
        segments = (*before, _encode(list(items)))
        return self._keep(response, owner, self._clock() + self._limits.seconds, value, segments)

    def _keep(self, response: str, owner: str, until: float, value: bytes, segments: tuple[bytes, ...]) -> bool:
        size = len(value) + sum(map(len, segments))
        if not self.is_on or size > self._room:
            return False
        self.delete(response, owner)
        self._all[response] = _Stored(owner=owner, until=until, response=value, segments=segments)
        self.size += len(value)
        for segment in segments:
            if not self._uses[id(segment)]:
                self.size += len(segment)
            self._uses[id(segment)] += 1
        while len(self._all) > self._most or self.size > self._room:
            self._drop(next(iter(self._all)))
        self._drop_old()
        return True

    def delete(self, response: str, owner: str) -> bool:
        """Drop a response. Returns whether it was stored."""
        if self._find(response, owner) is None:
            return False
        self._drop(response)
        return True

    def missing(self, response: str) -> NotFound:
        """The error for a response that is not stored."""
        return NotFound(self._missing(response), field="response_id")

    def _find(self, response: str, owner: str) -> _Stored | None:
        self._drop_old()
        found = self._all.get(response)
        return found if found is not None and found.owner == owner else None

    def _drop_old(self) -> None:
        present = self._clock()
        while self._all and self._all[first := next(iter(self._all))].until <= present:
            self._drop(first)

    def _drop(self, response: str) -> None:
        stored = self._all.pop(response)
        self.size -= len(stored.response)
        for segment in stored.segments:
            self._uses[id(segment)] -= 1
            if not self._uses[id(segment)]:
                del self._uses[id(segment)]
                self.size -= len(segment)

    def _missing(self, response: str) -> str:
        name = f"response with id {response[:200]!r}"
        if not self.is_on:
            return f"{name} is not stored: `stored_responses.count` of this endpoint is 0"
        return f"{name} is not stored, or no longer: the newest are kept for {self._limits.seconds:g} s"
