"""What HTTP in Rust would bring: CPU per request of minimal servers and clients, in Python, in C and in Rust.

    python benchmarks/native_servers.py [--blocks 5] [--seconds 1] [--page]

Every server answers JSON of about 300 bytes or 19 events, and does nothing else (`native_programs/answers.py`). Every
client reads that from the same server (`native_programs/asking.py`). All are measured in one run, in alternating
blocks. CPU is user and system time: of a server's process tree, and of a client's process without its start. `--page`
writes docs/serving.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from overhead import KINDS, MESSAGES, load
from pages import write_between
from peers.environments import default_folder, installed, version
from processes import HERE, cpu_seconds
from proxies import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PROGRAMS = HERE / "native_programs"
PAGE = HERE.parent / "docs" / "serving.md"
BEGIN, END = "<!-- native: begin -->", "<!-- native: end -->"
ASKED = ("json", "stream")
CALLERS = (1, 32)
OURS = """
import sys
import uvicorn
from tierwise.gateway.protocol import HttpProtocol
sys.path.insert(0, sys.argv[2])
from answers import asgi

class Bare:
    def answering(self, path):
        return None  # ASGI answers everything

    async def __call__(self, scope, receive, send):
        await asgi(scope, receive, send)

settings = {"proxy_headers": False, "loop": "uvloop", "lifespan": "off", "access_log": False, "log_level": "error"}
uvicorn.run(Bare(), port=int(sys.argv[1]), http=HttpProtocol, **settings)
"""
START_SECONDS = 60.0

Medians = dict[tuple[str, str, int], float]
"""CPU µs per request by name, kind and number of callers."""


def servers(folder: Path) -> dict[str, tuple[str | Path, ...]]:
    """The commands of the servers by name; the port is where `PORT` stands."""
    granian: list[str | Path] = [
        installed("granian", folder) / "granian",
        "--port",
        "PORT",
        "--http",
        "1",
        "--no-ws",
        "--workers",
        "1",
    ]
    granian += ["--loop", "uvloop", "--log-level", "error", "--working-dir", PROGRAMS]
    answers = PROGRAMS / "answers.py"
    return {
        "bare httptools protocol": (sys.executable, answers, "httptools", "PORT"),
        "uvicorn, httptools, uvloop": (sys.executable, answers, "uvicorn", "PORT"),
        "our `HttpProtocol`, bare ASGI": (sys.executable, "-c", OURS, "PORT", PROGRAMS),
        "granian, ASGI": (*granian, "--interface", "asginl", "answers:asgi"),
        "granian, RSGI": (*granian, "--interface", "rsgi", "answers:rsgi"),
        "robyn": (installed("robyn", folder) / "python", answers, "robyn", "PORT"),
    }


def clients(folder: Path) -> dict[str, tuple[str | Path, str]]:
    """The interpreter of each client, and what `asking.py` calls it."""
    return {
        "bare httptools protocol": (sys.executable, "httptools"),
        "aiohttp": (sys.executable, "aiohttp"),
        "our `engines/http1.py`": (sys.executable, "tierwise"),
        "pyreqwest": (installed("pyreqwest", folder) / "python", "pyreqwest"),
    }


@contextmanager
def serving(command: Sequence[str | Path], log: Path) -> Iterator[tuple[int, str]]:
    """Run a server. Yields its process and its URL, which ends in /v1."""
    port = free_port()
    parts = [str(port) if part == "PORT" else str(part) for part in command]
    with log.open("ab") as file, subprocess.Popen(parts, stdout=file, stderr=file) as process:
        try:
            until = time.monotonic() + START_SECONDS
            while not listens(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{' '.join(parts)} does not listen:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(0.1)
            yield process.pid, f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


async def server_block(process: int, url: str, kind: str, callers: int, seconds: float) -> float:
    """CPU seconds per request of a server."""
    body = {"model": "fast", "messages": MESSAGES, **KINDS[kind]}
    before = cpu_seconds(process)
    done = await load(url, body, callers=callers, seconds=seconds)
    return (cpu_seconds(process) - before) / done.requests


def client_block(python: str | Path, name: str, url: str, kind: str, callers: int, seconds: float) -> float:
    """CPU seconds per request of a client."""
    command = [python, PROGRAMS / "asking.py", name, f"{url}/chat/completions", kind, str(callers), str(seconds)]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return float(found["cpu"] / found["requests"])


def measure(folder: Path, blocks: int, seconds: float) -> tuple[Medians, Medians]:
    """Servers and clients, in turns."""
    of_servers: dict[tuple[str, str, int], list[float]] = {}
    of_clients: dict[tuple[str, str, int], list[float]] = {}
    commands, programs = servers(default_folder()), clients(default_folder())
    with ExitStack() as stack:
        started = {
            name: stack.enter_context(serving(command, folder / f"{number}.log"))
            for number, (name, command) in enumerate(commands.items())
        }
        (_, upstream), *_ = started.values()
        for block in range(-1, blocks):
            lasting = seconds if block >= 0 else 0.3  # the first round is a warm-up
            for kind in ASKED:
                for callers in CALLERS:
                    for name, (process, url) in started.items():
                        used = uvloop.run(server_block(process, url, kind, callers, lasting))
                        of_servers.setdefault((name, kind, callers), []).append(used)
                    for name, (python, program) in programs.items():
                        used = client_block(python, program, upstream, kind, callers, lasting)
                        of_clients.setdefault((name, kind, callers), []).append(used)
    return medians(of_servers), medians(of_clients)


def medians(found: Mapping[tuple[str, str, int], list[float]]) -> Medians:
    return {key: 1e6 * statistics.median(values[1:]) for key, values in found.items()}


def table(head: str, found: Medians) -> list[list[str]]:
    """Rows of text; a head first."""
    columns = [(kind, callers) for kind in ASKED for callers in CALLERS]
    rows = [[head, *(f"{'JSON' if kind == 'json' else '19 events'}, c={callers}" for kind, callers in columns)]]
    names = dict.fromkeys(name for name, _, _ in found)
    return rows + [[name, *(f"{found[name, kind, callers]:.0f}" for kind, callers in columns)] for name in names]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rest]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each block")
    parser.add_argument("--page", action="store_true", help="write the tables into docs/serving.md")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        of_servers, of_clients = measure(Path(folder), wanted.blocks, wanted.seconds)
    tables = [table("CPU µs of a server, per request", of_servers), table("of a client", of_clients)]
    for rows in tables:
        for first, *cells in rows:
            print(f"{first:34}" + "".join(f"{cell:>17}" for cell in cells))
    if wanted.page:
        versions = [f"{name} {version(name)}" for name in ("granian", "robyn", "pyreqwest")]
        versions += [f"{name} {metadata.version(name)}" for name in ("uvicorn", "httptools", "uvloop", "aiohttp")]
        command = f"python benchmarks/native_servers.py --blocks {wanted.blocks} --seconds {wanted.seconds:g} --page"
        cores, python = os.cpu_count(), platform.python_version()
        about = f"`{command}`, {date.today():%Y-%m-%d}, {cores} cores, Python {python}; {', '.join(versions)}."  # noqa: DTZ011 - as read
        write_between(PAGE, BEGIN, END, "\n\n".join((about, *map(markdown, tables))))


if __name__ == "__main__":
    main()
