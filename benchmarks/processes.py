"""Starts the processes of benchmarks (Tierwise, a fake backend, any Python program), and measures their CPU time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

HERE = Path(__file__).parent


def listen() -> tuple[socket.socket, str]:
    """A socket on a free port of the loopback, and its URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/v1"


async def serve(app: web.Application) -> None:
    """Serve an application on a free port until the process is stopped; prints its URL, as `running` reads it."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener, url = listen()
    await web.SockSite(runner, listener).start()
    print(url, flush=True)
    await asyncio.Event().wait()


@contextmanager
def running(*command: str | Path, log: Path, own_group: bool = False) -> Generator[tuple[int, str]]:
    """Run a Python program as a process. Yields its id and the URL in the first line that it prints.

    Args:
        command: its file, or `-m` and its name, and its arguments.
        log: gets what it writes to stderr.
        own_group: whether it is spared by signals to this process's group; who asks for it handles SIGTERM.
    """
    group = 0 if own_group else None
    with (
        log.open("ab") as errors,
        subprocess.Popen(
            [sys.executable, *command], stdout=subprocess.PIPE, stderr=errors, text=True, process_group=group
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline().split()
            if not line:
                raise SystemExit(f"{command} did not start:\n{log.read_text()[-2000:]}")
            yield process.pid, line[-1]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


@contextmanager
def tierwise(
    config: dict[str, Any],
    folder: Path,
    *program: str | Path,
    options: Sequence[str] = (),
    own_group: bool = False,
) -> Generator[tuple[int, str]]:
    """Run `tierwise serve` with a config and a ledger in `folder`. Yields its id and its URL, which ends in /v1.

    Args:
        config: of the server.
        folder: for its files.
        program: what runs the command line, with its first arguments; `-m tierwise` by default.
        options: more options of `serve`.
        own_group: as of `running`.
    """
    file = folder / "tierwise.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    serve_it = (*(program or ("-m", "tierwise")), "serve", file, "--port", "0", "--ledger", folder / "ledger.db")
    with running(*serve_it, *options, log=folder / "tierwise.log", own_group=own_group) as (process, url):
        yield process, f"{url}/v1"


@contextmanager
def backend(folder: Path, *, delay: float = 0.0) -> Generator[str]:
    """Run a fake server that returns the requested number of words. Yields its URL, which ends in /v1."""
    serve_it = ("-m", "tierwise.testing.server", "--delay", str(delay))
    with running(*serve_it, log=folder / "backend.log") as (_, url):
        yield url


def cpu_seconds(process: int) -> float:
    """User and system seconds of a process and its descendants."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(child) for child in children(process))


def children(process: int) -> list[int]:
    return [
        int(child)
        for tasks in Path(f"/proc/{process}/task").glob("*/children")
        for child in tasks.read_text(encoding="ascii").split()
    ]
