"""The user's end of one choice: one pass at a time may write to it, and what was seen cannot be taken back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from tierwise.spec.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tierwise.spec.call import Chunk


class Sink(Protocol):
    """Streams to the user. Waits while the user cannot take more."""

    async def __call__(self, chunk: Chunk) -> bool:
        """Whether the user has it now: what was seen cannot be taken back by a second attempt."""


async def discard(chunk: Chunk) -> bool:  # noqa: ARG001 - it shows nothing
    """For a user who waits for the whole answer."""
    return False


class OutputStream:
    """A sink with an owner.

    Attributes:
        has_shown: whether the user has seen a part of an answer.
        owner: the number of the pass that writes, or of the one that the user has seen; None when there is neither.
        tier: the tier of what is being written.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.has_shown = False
        self.owner: int | None = None
        self.tier = ""

    @contextmanager
    def owned(self, number: int, tier: str) -> Iterator[None]:
        """While a pass may write. Its ownership outlives the block once the user has seen a part of it.

        Raises:
            PolicyError: another pass writes, or the user has seen another.
        """
        if self.owner is not None:
            seen = "the user has seen a part of" if self.has_shown else "the user is being shown"
            raise PolicyError(f"tier {tier!r} tried to show pass {number}, but {seen} pass {self.owner}")
        self.owner, self.tier = number, tier
        try:
            yield
        finally:
            if not self.has_shown:
                self.owner = None

    async def show(self, chunk: Chunk) -> None:
        was_seen = True  # also when the deadline comes while the user is waited for: the chunk is on its way
        try:
            was_seen = await self._sink(chunk)
        finally:
            self.has_shown |= was_seen and chunk.is_output
