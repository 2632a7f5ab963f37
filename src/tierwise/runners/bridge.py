"""Lets a program on this machine run commands in a sandbox: a socket, and a small program that speaks to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shlex
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tierwise.environments import Sandbox, SandboxEndedError

_MOST_ORDER_BYTES = 64 * 2**20

_CLIENT = Path(__file__).with_name("bridge_client.py")


@asynccontextmanager
async def bridged(sandbox: Sandbox, folder: Path) -> AsyncGenerator[dict[str, str], None]:
    """Serve a sandbox on a socket in a folder. Yields the variables that name it.

    `SANDBOX` is a program: `"$SANDBOX" 'ls -l'` runs a line of bash there and ends with its exit code. `SANDBOX_SOCKET`
    is the socket: a JSON object in a line (`command`, and if wanted `cwd`, `env`, `seconds`) is answered by one with
    `code`, `stdout`, `stderr` (both base64) and `timed_out`.
    """
    program, socket = folder / "sandbox", folder / "sandbox.socket"
    line = shlex.join([sys.executable, "-I", "-S", str(_CLIENT), str(socket)])
    program.write_text(f'#!/bin/sh\nexec {line} "$@"\n', encoding="utf-8")
    program.chmod(0o700)
    serving: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise AssertionError
        serving.add(task)
        try:
            await _serve(sandbox, reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_unix_server(connected, socket, limit=_MOST_ORDER_BYTES)
    try:
        yield {"SANDBOX": str(program), "SANDBOX_SOCKET": str(socket)}
    finally:
        server.close()
        for task in [*serving]:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _serve(sandbox: Sandbox, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Run the orders of one connection, one after the other. A client that leaves ends its command."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError, ValueError):
            while order := await reader.readline():
                running = asyncio.ensure_future(_run(sandbox, order))
                leaving = asyncio.ensure_future(reader.read(1))
                leaving.add_done_callback(partial(_leave, running))
                try:
                    said = await running
                except asyncio.CancelledError:
                    running.cancel()
                    raise
                finally:
                    leaving.cancel()
                    await asyncio.wait([leaving])
                writer.write(json.dumps(said).encode() + b"\n")
                await writer.drain()
    finally:
        writer.close()


def _leave(running: asyncio.Future[Any], leaving: asyncio.Future[bytes]) -> None:
    if not leaving.cancelled():
        running.cancel()


async def _run(sandbox: Sandbox, order: bytes) -> dict[str, Any]:
    asked = json.loads(order)
    try:
        done = await sandbox.run(
            str(asked["command"]),
            cwd=asked.get("cwd") or None,
            env={str(name): str(value) for name, value in (asked.get("env") or {}).items()},
            stdin=base64.b64decode(asked.get("stdin") or ""),
            seconds=asked.get("seconds"),
        )
    except SandboxEndedError as error:
        return {"code": 125, "stdout": "", "stderr": _text(str(error).encode()), "timed_out": False}
    cut = f"\n[{done.cut} bytes of output were left out]\n".encode() if done.cut else b""
    return {
        "code": done.code,
        "stdout": _text(done.stdout),
        "stderr": _text(done.stderr + cut),
        "timed_out": done.timed_out,
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
