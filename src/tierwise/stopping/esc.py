"""Early-stopping self-consistency (Li et al., 2024, arXiv 2401.10480)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from tierwise.stopping.votes import VotesSoFar


class Esc(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop when the last `window` votes are equal."""

    is_lossless: ClassVar[bool] = False
    needs_confidence: ClassVar[bool] = False

    window: Annotated[int, msgspec.Meta(ge=2, le=64)] = 5
    """Equal votes in a row, in draw order. The paper draws window by window; here the window slides by one vote."""

    def stops(self, votes: VotesSoFar) -> bool:
        return last_are_equal(votes.answers, self.window)


def last_are_equal(answers: Sequence[str], window: int) -> bool:
    """Whether there are at least `window` votes and the last of them are equal."""
    return len(answers) >= window and len(set(answers[-window:])) == 1
