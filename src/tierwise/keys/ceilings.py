"""What a client allows one of its sessions: a coding task of many requests, an agent's run."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from tierwise.keys.account import Bound, nano
from tierwise.keys.records import MOST_DOLLARS
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.keys.records import Caller

DOLLARS, PASSES = "x-tierwise-session-dollars", "x-tierwise-session-passes"
"""The headers, over gRPC the metadata, with the ceilings of a request's session."""
_MOST_PASSES = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """What all requests of a session that say so may use together."""

    session: str
    dollars: float | None = None
    passes: int | None = None

    def bounds(self, caller: Caller | None) -> list[Bound]:
        """Its accounts. A session belongs to the key that names it; without a stored key, to all who have none."""
        place = f"{'' if caller is None else caller.key.id}|{self.session}"
        words, found = f"the session {self.session}", []
        if self.passes is not None:
            found.append(Bound(f"session-passes:{place}", "passes", self.passes, 0, 0.0, words, fades=True))
        if self.dollars is not None:
            limit = nano(self.dollars)
            found.append(Bound(f"session-dollars:{place}", "dollars", limit, 0, 0.0, words, fades=True))
        return found


def ceilings_of(session: str, dollars: str, passes: str) -> Ceilings | None:
    """The ceilings that headers give a session; None if they give none.

    Args:
        session: its id.
        dollars: the value of `x-tierwise-session-dollars`; empty if it was not sent.
        passes: the value of `x-tierwise-session-passes`, likewise.

    Raises:
        SpecError: they are no amounts, or there is no session.
    """
    if not dollars and not passes:
        return None
    if not session:
        field = DOLLARS if dollars else PASSES
        raise SpecError(f"{field}: the request names no session; send x-tierwise-session too", field=field)
    return Ceilings(
        session=session,
        dollars=_dollars(dollars) if dollars else None,
        passes=_passes(passes) if passes else None,
    )


def _dollars(text: str) -> float:
    try:
        found = float(text) if text.isascii() and "_" not in text else -1.0
    except ValueError:
        found = -1.0
    if not isfinite(found) or not 0 <= found <= MOST_DOLLARS:
        raise SpecError(f"{DOLLARS}: {text[:40]!r}; allowed are dollars from 0 to {MOST_DOLLARS:g}", field=DOLLARS)
    return found


def _passes(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > _MOST_PASSES:
        raise SpecError(f"{PASSES}: {text[:40]!r}; allowed are whole numbers from 0 to 10⁹", field=PASSES)
    return int(text)
