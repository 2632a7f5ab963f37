"""The endpoint that a bench launches for itself: `tierwise serve` as a child that never outlives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from tierwise.engines.process import guard
from tierwise.ledger.location import locate
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

_SERVING = re.compile(r"^serving on (https?://\S+)$", re.MULTILINE)

STOP_SECONDS = 15.0
"""That the child has to end by itself, and again after it was told a second time."""

TELLING_SECONDS = 10.0
"""That an endpoint has to tell what runs behind it; it looks at memory of processes, which may be many."""

GLANCE_SECONDS = 0.1
"""Between two looks at whether it is ready."""


def serve_command(config: Path) -> list[str]:
    """How this Tierwise is launched again, to serve on a free port. Its ledger is in `ledger_environment`."""
    return [sys.executable, "-m", "tierwise", "serve", str(config), "--port", "0"]


def ledger_environment(ledger: str | Path) -> dict[str, str]:
    """What tells `serve` where its ledger is. Not an argument, because everybody may read those, and a URL may hold a
    password.
    """
    return {"TIERWISE_LEDGER": locate(ledger).address}


@asynccontextmanager
async def launched(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[str, None]:
    """Run an endpoint until the block is left; gives its URL once it is ready.

    It runs under a process guard (engines/process/guard.py), so that it ends even when this process is killed.

    Args:
        command: a program that prints `serving on URL` and answers `/ready` there.
        log: gets all that it says, after what it holds already.
        environment: variables that it gets beside ours.

    Raises:
        SpecError: it ended with code 2, finding its input wrong.
        TierwiseError: it ended otherwise before it was ready. Its last words are in the message.
    """
    with log.open("ab") as said:
        before = said.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", guard.__file__, str(STOP_SECONDS), "--", *command),
            stdin=asyncio.subprocess.PIPE,
            stdout=said,
            stderr=said,
            env=os.environ | (environment or {}),
            start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
        )
    try:
        yield await _ready(process, log, before)
    finally:
        await _end(process)


async def _end(process: Process) -> None:
    """Let the program end by itself, for it ends its engines in an order of its own; then let the guard do it."""
    try:
        for pid in guard.descendants(process.pid)[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        pass
    finally:
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _ready(process: Process, log: Path, before: int) -> str:
    async with aiohttp.ClientSession() as session:
        while process.returncode is None:
            serving = _SERVING.search(_words(log, before))
            if serving is not None and await is_ready(serving[1], session):
                return serving[1]
            await asyncio.sleep(GLANCE_SECONDS)
    words = " / ".join(_words(log, before).strip().splitlines()[-3:])
    message = f"the tiers did not start: {words or 'nothing was said'} (see {log})"
    raise SpecError(message) if process.returncode == 2 else TierwiseError(message)


def _words(log: Path, before: int) -> str:
    """What was said since the log was so many bytes long."""
    return log.read_bytes()[before:].decode(errors="replace")


async def deployments(url: str) -> list[Deployed] | None:
    """What runs behind an endpoint; None where it does not tell, or not in words of this version."""
    wait = aiohttp.ClientTimeout(total=TELLING_SECONDS)
    try:
        async with aiohttp.ClientSession(timeout=wait) as session, session.get(f"{url}/v1/deployments") as response:
            return msgspec.json.decode(await response.read(), type=_DeploymentListing).data
    except (aiohttp.ClientError, OSError, msgspec.DecodeError):
        return None


class _DeploymentListing(msgspec.Struct):
    data: list[Deployed]


async def is_ready(url: str, session: aiohttp.ClientSession) -> bool:
    """Whether every engine behind an endpoint is up."""
    try:
        async with session.get(f"{url}/ready") as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False
