"""The user's stream of one choice: one pass at a time may write to it, and output cannot be retracted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Protocol, cast

import msgspec

from tierwise.spec.call import Chunk
from tierwise.spec.errors import PolicyError


class Sink(Protocol):
    """Streams to the user. Blocks while the user's buffer is full."""

    async def __call__(self, chunks: Sequence[Chunk]) -> bool:
        """Send chunks that came together; true if they reached the user, so that a retry can no longer replace them."""


class SinkRelay(Protocol):
    """A sink that also takes chunks without waiting."""

    def pass_on(self, chunks: Sequence[Chunk]) -> bool:
        """Send chunks; false if the user's buffer is full, so that `caught_up` has to be awaited."""

    async def caught_up(self) -> None:
        """Wait until the user's buffer has room."""


async def discard(chunks: Sequence[Chunk]) -> bool:  # noqa: ARG001 - it discards the chunks
    """A sink for requests that do not stream."""
    return False


class DraftSink(Protocol):
    """Streams drafts to a user who asked for them. A draft is no part of the answer, whatever becomes of it."""

    async def __call__(self, choice: int, number: int, tier: str, chunk: Chunk) -> None:
        """Send a chunk of a pass: the index of its choice, its number and its tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftStream:
    """Shows the draft of one pass."""

    sink: DraftSink
    choice: int
    number: int
    tier: str
    is_discarded: ClassVar[bool] = False
    relay: ClassVar[None] = None

    async def show(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            if chunk.is_output:
                await self.sink(self.choice, self.number, self.tier, chunk)


class OutputStream:
    """A sink with an owner. The first delta names the role, and chunks that say nothing are not sent.

    Attributes:
        has_shown: whether the user has seen part of an answer.
        has_ended: whether the user has seen its finish reason.
        owner: the number of the pass that writes or that the user has seen; None if there is none.
        owner_was_seen: whether the user has seen part of the owner, and not only of passes that it continues.
        tier: the owner's tier.
    """

    __slots__ = ("_has_begun", "_late", "_relay", "_sink", "has_ended", "has_shown", "owner", "owner_was_seen", "tier")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._relay = cast("SinkRelay", sink) if hasattr(sink, "pass_on") else None
        self._late: list[Chunk] = []
        self.has_shown = False
        self.has_ended = False
        self.owner: int | None = None
        self.tier = ""
        self._has_begun = False
        self.owner_was_seen = False

    @contextmanager
    def owned(self, number: int, tier: str, *, instead_of: int | None = None) -> Iterator[None]:
        """Give a pass ownership. It keeps it after the block if the user has seen part of it.

        Args:
            number: of the pass.
            tier: its tier.
            instead_of: the number of the pass that it continues for the user, which is the owner again if the user has
                seen nothing of this one.

        Raises:
            PolicyError: another pass is the owner.
        """
        before = self.owner, self.tier
        if self.owner is not None and self.owner != instead_of:
            seen = "the user has seen a part of" if self.has_shown else "the user is being shown"
            raise PolicyError(f"tier {tier!r} tried to show pass {number}, but {seen} pass {self.owner}")
        self.owner, self.tier = number, tier
        self.owner_was_seen = False
        try:
            yield
        finally:
            if not self.has_shown:
                self.owner = None
            elif not self.owner_was_seen:
                self.owner, self.tier = before

    @property
    def is_discarded(self) -> bool:
        """Whether nobody looks at what is shown."""
        return self._sink is discard

    @property
    def relay(self) -> SinkRelay | None:
        """Takes what follows the first output of its owner without waiting; None if the sink cannot."""
        return self if self._relay is not None else None

    def pass_on(self, chunks: Sequence[Chunk]) -> bool:
        """As of `SinkRelay`."""
        assert self._relay is not None  # noqa: S101 - else nobody asks
        said = [chunk for chunk in chunks if chunk.delta or chunk.logprobs]
        if not said:
            return True
        if self.has_shown and self.owner_was_seen:
            return self._relay.pass_on(said)
        self._late += said  # `show` remembers what was seen first
        return False

    async def caught_up(self) -> None:
        """As of `SinkRelay`."""
        assert self._relay is not None  # noqa: S101 - else nobody asks
        late, self._late = self._late, []
        if late:
            await self.show(late)
        await self._relay.caught_up()

    async def show(self, chunks: Sequence[Chunk]) -> None:
        if self._sink is discard:
            return
        said = [chunk for chunk in chunks if chunk.delta or chunk.finish or chunk.logprobs]
        if not said:
            return
        if self.has_shown and self.owner_was_seen and said[-1].finish is None:  # both only ever become true
            await self._sink(said)
            return
        if not self._has_begun:
            self._has_begun = True
            said[0] = msgspec.structs.replace(said[0], delta={"role": "assistant", **said[0].delta})
        was_seen = True  # also if the deadline passes while waiting for the user: the chunks are on their way
        try:
            was_seen = await self._sink(said)
        finally:
            self.has_ended |= said[-1].finish is not None
            if not (self.has_shown and self.owner_was_seen):
                was_seen = was_seen and any(chunk.is_output for chunk in said)
                self.has_shown |= was_seen
                self.owner_was_seen |= was_seen
