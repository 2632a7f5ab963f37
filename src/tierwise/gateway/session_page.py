"""The page of a session: its actions, each with tokens, dollars and seconds, and whether they are all there."""

from __future__ import annotations

import asyncio
from time import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from tierwise.keys.caller import CALLER
from tierwise.keys.records import seconds_of
from tierwise.ledger.sessions import SessionAction, SessionLedger

if TYPE_CHECKING:
    from starlette.requests import Request

    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.siblings import Siblings
    from tierwise.ledger.location import Location
    from tierwise.ledger.store import Ledger
    from tierwise.service import Service

PATH = "/v1/sessions/{session:path}"


class SessionPage:
    """What the ledger holds of a session, and what it does not hold yet.

    A client whose requests of the session have all ended asks until nothing is running or pending: from then on the
    answer does not change.
    """

    def __init__(self, service: Service, metrics: Metrics, siblings: Siblings) -> None:
        self._service = service
        self._metrics = metrics
        self._siblings = siblings

    async def __call__(self, request: Request) -> JSONResponse:
        """Answer a request: of the caller's key, or of all keys for an administrator."""
        caller, ledger = CALLER.get(), self._service.ledger
        if ledger is None:
            raise HTTPException(501, "there is no ledger, so nothing is known about sessions")
        session = request.path_params["session"]
        key = None if caller is None or caller.key.is_admin else caller.key.id
        since = time() - seconds_of(request.query_params.get("since", "30d"))
        # Before the ledger is read: what has ended by now is in it, if nothing is pending.
        all_of = [standing(ledger, self._metrics, session), *await self._siblings.gather("running", session)]
        running, pending = (sum(counts) for counts in zip(*all_of, strict=True))
        found = await asyncio.to_thread(_read, ledger.location, session, since, key)
        said = SessionLedger(id=session, running=running, pending=pending, actions=found)
        return JSONResponse({"object": "session", **msgspec.to_builtins(said)})


def standing(ledger: Ledger, metrics: Metrics, session: str) -> tuple[int, int]:
    """The running actions of a session in this process, and its ledger's actions that are not in the database."""
    health = ledger.health()
    return metrics.running_of.get(session, 0), health.pending + health.orphans + health.lost


def _read(location: Location, session: str, since: float, key: str | None) -> list[SessionAction]:
    from tierwise.ledger.read import Reader  # noqa: PLC0415 - SQLAlchemy is slow to import

    with Reader(location) as reader:
        return reader.session(session, since, key=key)


def told_of(asked: Any, ledger: Ledger | None, metrics: Metrics | None) -> list[int] | None:
    """The same for another process that asks; None if this one does not serve."""
    if ledger is None or metrics is None:
        return None
    return [*standing(ledger, metrics, str(asked))]
