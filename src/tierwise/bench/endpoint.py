"""Launches `tierwise serve` for a bench run, as a child process that never outlives its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

import aiohttp
import msgspec

from tierwise.bench.connection import key_header
from tierwise.engines.process import guard
from tierwise.engines.within import within
from tierwise.ledger.location import locate
from tierwise.spec.deployed import Deployed
from tierwise.spec.errors import SpecError, TierwiseError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

_SERVING = re.compile(r"^serving on (https?://\S+)$", re.MULTILINE)

STOP_SECONDS = 15.0
"""Seconds for the child to exit after SIGTERM, and again after the guard's second signal."""

DEPLOYMENTS_TIMEOUT = 10.0
"""Seconds for the endpoint to list its deployments. It measures the memory of every process, which takes time."""

_READY_SECONDS = 5.0
"""The longest wait for one answer of `/ready`."""

POLL_SECONDS = 0.1
"""Seconds between two readiness checks."""


KEY_VARIABLE = "TIERWISE_BENCH_KEY"
"""Environment variable with the key of a launched endpoint, with which it says how its engines were launched."""


def serve_command(config: Path, *, uncertified: bool = False) -> list[str]:
    """The command that serves a config file on a free port. The ledger is passed by `ledger_environment`.

    Routes are not shadowed: a benchmark is no traffic. With `uncertified`, it starts whatever the certificates of
    routes say. `-P` keeps the current folder off the module path: a `timeit.py` beside the workload would be run
    otherwise.
    """
    command = [sys.executable, "-P", "-m", "tierwise", "serve", str(config), "--port", "0", "--no-shadow"]
    return [*command, "--api-key-env", KEY_VARIABLE, *(["--uncertified"] if uncertified else [])]


def ledger_environment(ledger: str | Path) -> dict[str, str]:
    """The variable that tells `serve` where its ledger is.

    It is not an argument: other users can read a process's arguments, and a URL may contain a password.
    """
    return {"TIERWISE_LEDGER": locate(ledger).address}


@asynccontextmanager
async def launched(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[str, None]:
    """Run an endpoint for the duration of the block. Yields its URL when it is ready.

    It runs under a process guard (engines/process/guard.py), so it ends even if this process is killed.

    Args:
        command: a program that prints `serving on URL` and answers `/ready` there.
        log: its output is appended to this file.
        environment: variables added to those of this process.

    Raises:
        SpecError: it exited with code 2, which means invalid input.
        TierwiseError: the log cannot be written, or it exited with another code before it was ready. The message has
            the end of its log.
    """
    with log.open("ab") as output:
        _begin_log(output, command)
        before = output.tell()
        process = await asyncio.create_subprocess_exec(
            *guard.command(command, STOP_SECONDS),
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=output,
            env=os.environ | (environment or {}),
            start_new_session=True,  # so that Ctrl-C in a terminal reaches only this process
        )
    try:
        yield await _ready(process, log, before)
    finally:
        await _end(process)


def _begin_log(output: BinaryIO, command: Sequence[str]) -> None:
    """Write the command to the log. On a full disk, this fails before the program does so without a word."""
    try:
        output.write(f"$ {shlex.join(command)}\n".encode(errors="replace"))
        output.flush()
    except OSError as error:
        raise TierwiseError(f"cannot write {output.name}: {error.strerror}") from error


async def _end(process: Process) -> None:
    """Send SIGTERM, so that the program can stop its engines in order; if it does not exit, the guard kills it."""
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
            serving = _SERVING.search(_output(log, before))
            if serving is not None and await is_ready(serving[1], session):
                return serving[1]
            await asyncio.sleep(POLL_SECONDS)
    tail = " / ".join(_output(log, before).strip().splitlines()[-3:])
    message = f"the tiers did not start: {tail or 'no output'} (see {log})"
    raise SpecError(message) if process.returncode == 2 else TierwiseError(message)


def _output(log: Path, before: int) -> str:
    """The log after its first `before` bytes."""
    return log.read_bytes()[before:].decode(errors="replace")


async def deployments(url: str, key: str = "") -> list[Deployed] | None:
    """The endpoint's deployments; None if it does not report them in a form that this version reads."""
    try:
        async with (
            aiohttp.ClientSession(headers=key_header(key)) as session,
            within(DEPLOYMENTS_TIMEOUT, session, f"{url}/v1/deployments") as response,
        ):
            return msgspec.json.decode(await response.read(), type=_DeploymentListing).data
    except (aiohttp.ClientError, OSError, msgspec.DecodeError):
        return None


class _DeploymentListing(msgspec.Struct):
    data: list[Deployed]


async def is_ready(url: str, session: aiohttp.ClientSession) -> bool:
    """Whether every engine of the endpoint is ready; no if it does not answer within some seconds."""
    try:
        async with within(_READY_SECONDS, session, f"{url}/ready") as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False
