"""What a session cost, from the ledger of the endpoint, once all of it is there."""

from __future__ import annotations

import asyncio
import time
from urllib.parse import quote

import aiohttp
import msgspec

from tierwise.bench.connection import key_header
from tierwise.engines.within import within
from tierwise.ledger.sessions import SessionAction, SessionLedger
from tierwise.spec.errors import TierwiseError

STORED_SECONDS = 30.0
"""The longest wait for the ledger to store what has ended."""

POLL_SECONDS = 0.05
"""Pause before an answer counts: what an agent that was killed had sent is read by then. Also between two questions."""

_ANSWER_SECONDS = 20.0


class JoinFailed(TierwiseError):
    """The actions of a session are not known, or not all of them."""


async def joined(url: str, key: str, session: str, began: float) -> list[SessionAction]:
    """All actions of a session whose client has ended: nothing of it runs, and everything is stored.

    Two answers in a row must say so: what the client sent before it was killed may still wait in a socket at the first.

    Args:
        url: the endpoint's root.
        key: of the endpoint; empty if it needs none.
        session: its name.
        began: the `time.monotonic()` time after which its actions began.

    Raises:
        JoinFailed: the endpoint cannot tell, or did not store everything in time.
        OSError, aiohttp.ClientError: the endpoint is gone.
    """
    minutes = 2 + int((time.monotonic() - began) / 60)
    page = f"{url}/v1/sessions/{quote(session, safe='')}?since={minutes}m"
    deadline = time.monotonic() + STORED_SECONDS
    before: SessionLedger | None = None
    async with aiohttp.ClientSession(headers=key_header(key)) as client:
        while True:
            found = await _asked(client, page)
            is_whole = not found.running and not found.pending
            if is_whole and before is not None and len(before.actions) == len(found.actions):
                return found.actions
            if time.monotonic() > deadline:
                raise JoinFailed(
                    f"the ledger does not have all of the session {session}: {found.running} of its actions still run, "
                    f"and {found.pending} actions of the endpoint are not stored after {STORED_SECONDS:g} s"
                )
            before = found if is_whole else None
            await asyncio.sleep(POLL_SECONDS)


async def _asked(client: aiohttp.ClientSession, page: str) -> SessionLedger:
    async with within(_ANSWER_SECONDS, client, page) as response:
        body = await response.read()
        if response.status == 404:
            raise JoinFailed(
                "the endpoint has no /v1/sessions, so what an agent cost cannot be joined; run it with this version of "
                "Tierwise"
            )
        if response.status != 200:
            raise JoinFailed(f"/v1/sessions answered {response.status}: {body[:300].decode(errors='replace')}")
    try:
        return msgspec.json.decode(body, type=SessionLedger)
    except msgspec.DecodeError as error:
        raise JoinFailed(f"/v1/sessions does not return a session: {error}") from error
