"""Attacks budgets: several endpoints on one database, killed amid streams, with clocks that jump. Overspent must be 0.

    python benchmarks/key_attacks.py [--seconds 60] [--processes 4] [--workers 1] [--sqlite] [--clients 12] [--seed 0]

Real `tierwise serve` processes share a private PostgreSQL and one key with a small budget per hour. Clients ask
without pause: streams and whole answers, `single` and a vote of 16, up to 16 choices, and some hang up. Meanwhile
processes are killed with SIGKILL and started again, and the clock of each jumps by up to an hour in both directions.
With `--workers`, each of the processes is several, and it is one of those that is killed. With `--sqlite` the database
is a file.
The engine counts what it was asked and what it sent, so it knows what was really spent, also in passes that no ledger
has.
Exits with 1 if that is more than what the budgets have charged, or if any period was charged more than its limit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from tierwise.keys.database import prepare
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import postgresql

PROMPT, COMPLETION = 1.0, 20.0
"""Dollars per million tokens."""
BUDGET = 0.25
JUMP_SECONDS = 3600
_PROGRAM = """
import pathlib, sys, time
file, real, last = pathlib.Path(sys.argv.pop(1)), time.time, [0.0, 0.0]
def jumping():
    now = time.monotonic()
    if now - last[0] > 0.05:
        last[:] = now, float(file.read_text() or 0)
    return real() + last[1]
time.time = jumping
from tierwise.cli import main
main()
"""
"""`tierwise` with a clock that is off by the seconds in a file."""


@dataclass
class Engine:
    """A server that answers with as many tokens as it may, and counts what it was asked and what it sent."""

    prompt: int = 0
    completion: int = 0
    port: int = 0
    _is_up: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True).start()
        self._is_up.wait()

    @property
    def dollars(self) -> float:
        return (self.prompt * PROMPT + self.completion * COMPLETION) / 1e6

    async def _main(self) -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] # noqa: SLF001
        self._is_up.set()
        await asyncio.Event().wait()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked = len(json.dumps(body["messages"])) // 3
        self.prompt += asked  # charged also if it is aborted at once
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with suppress(ConnectionError):
            await self._send(request, response, body, asked)
        return response

    async def _send(self, request: web.Request, response: web.StreamResponse, body: dict[str, Any], asked: int) -> None:
        await response.prepare(request)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 50
        for number in range(1, most + 1):
            self.completion += 1  # before it is sent
            usage = {"prompt_tokens": asked, "completion_tokens": number, "total_tokens": asked + number}
            choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            if number == most:
                choice["finish_reason"] = "length"
            await response.write(b"data: %b\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode())
            if number % 8 == 0:
                await asyncio.sleep(0.005)
        await response.write(b"data: [DONE]\n\n")


@dataclass
class Server:
    """One endpoint, which is killed and started again."""

    number: int
    folder: Path
    ledger: str
    workers: int
    process: subprocess.Popen[str] | None = None
    url: str = ""
    kills: int = 0

    @property
    def clock(self) -> Path:
        return self.folder / f"clock{self.number}"

    def start(self) -> None:
        command = [sys.executable, "-c", _PROGRAM, str(self.clock), "serve", str(self.folder / "tierwise.yaml")]
        with (self.folder / f"log{self.number}").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", "0", "--ledger", self.ledger, "--workers", str(self.workers)],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "TIERWISE_STATE": str(self.folder / f"state{self.number}")},
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().split()
        if not line:
            raise SystemExit((self.folder / f"log{self.number}").read_text()[-3000:])
        self.url = f"{line[-1]}/v1/chat/completions"

    def kill(self) -> None:
        """Kill the process, or one of its workers, which is then replaced."""
        if self.process is not None and self.workers > 1:
            (nursery,) = children(self.process.pid)
            if workers := children(nursery):
                os.kill(random.choice(workers), signal.SIGKILL)
                self.kills += 1
        elif self.process is not None:
            self.process.kill()
            self.process.wait()
            self.kills += 1

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
            self.process.kill()


def children(pid: int) -> list[int]:
    """The process ids of the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def ask(session: aiohttp.ClientSession, server: Server, secret: str, rng: random.Random) -> str:
    """One request; returns what became of it."""
    body: dict[str, Any] = {
        "model": rng.choice(["one", "vote"]),
        "messages": [{"role": "user", "content": "count " * rng.randint(1, 200)}],
        "max_tokens": rng.choice([1, 8, 40]),
        "stream": rng.random() < 0.6,
        "n": rng.choice([1, 1, 1, 4, 16]),
    }
    limit = aiohttp.ClientTimeout(total=rng.choice([0.05, 20, 20, 20]))  # some hang up
    try:
        async with session.post(
            server.url, json=body, headers={"authorization": f"Bearer {secret}"}, timeout=limit
        ) as response:
            content = await response.read()
            if response.status == 200:
                return "answered"
            return f"{response.status} {json.loads(content)['error']['code']}"
    except TimeoutError:
        return "hung up"
    except (aiohttp.ClientError, ValueError):
        return "connection lost"


async def attack(servers: list[Server], secret: str, options: argparse.Namespace) -> Counter[str]:
    """Ask, kill and jump until the time is over."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + options.seconds

    async def client(number: int) -> None:
        rng = random.Random(f"{options.seed}/{number}")
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < until:
                outcome = await ask(session, rng.choice(servers), secret, rng)
                outcomes[outcome] += 1
                if outcome != "answered":
                    await asyncio.sleep(0.05)

    async def chaos() -> None:
        rng = random.Random(f"{options.seed}/chaos")
        while time.monotonic() < until - 5:
            await asyncio.sleep(rng.uniform(1.0, 3.0))
            server = rng.choice(servers)
            server.kill()
            if server.workers == 1:
                await asyncio.to_thread(server.start)

    async def jumps() -> None:
        rng = random.Random(f"{options.seed}/jumps")
        while time.monotonic() < until:
            await asyncio.sleep(rng.uniform(0.5, 2.0))
            rng.choice(servers).clock.write_text(str(rng.choice([-JUMP_SECONDS, 0, 0, JUMP_SECONDS])))

    await asyncio.gather(
        jumps(), *([] if options.no_kills else [chaos()]), *(client(number) for number in range(options.clients))
    )
    return outcomes


def run(ledger: str, folder: Path, options: argparse.Namespace) -> int:
    """Attack one ledger. Returns the exit code."""
    engine = Engine()
    engine.start()
    tiers = {
        "one": {"deployment": "engine", "policy": "single"},
        "vote": {"deployment": "engine", "policy": {"majority": {"n": 16}}},
    }
    config = {
        "deployments": {"engine": {"engine": "http", "url": f"http://127.0.0.1:{engine.port}/v1", "model": "m"}},
        "tiers": tiers,
        "prices": {"engine": {"prompt": PROMPT, "completion": COMPLETION}},
    }
    (folder / "tierwise.yaml").write_text(json.dumps(config))
    location = locate(ledger)
    prepare(location)
    store = KeyStore(location, who="attack")
    _, secret = store.create(limits=Limits(max_budget=options.budget, budget_duration="1h"))
    servers = [Server(number, folder, ledger, options.workers) for number in range(options.processes)]
    for server in servers:
        server.clock.write_text("0")
        server.start()
    try:
        outcomes = asyncio.run(attack(servers, secret, options))
    finally:
        for server in servers:
            server.stop()
    charged = store.charged()
    store.close()
    held = {period: amounts[0] / 1e9 for (_, period), amounts in charged.items()}
    settled = sum(amounts[1] for amounts in charged.values()) / 1e9
    total, most = sum(held.values()), max(held.values(), default=0.0)
    for outcome, number in outcomes.most_common():
        print(f"{outcome:<28} {number:>7,}")
    print(f"killed with SIGKILL          {sum(server.kills for server in servers):>7,}")
    print(f"periods that clocks were in  {len(held):>7,}   each charged at most ${most:.9f} of ${options.budget:.9f}")
    print(f"charged                      ${total:.9f}   of which ${settled:.9f} is settled by actions that ended")
    print(f"spent at the engine          ${engine.dollars:.9f}")
    overspent = max(0.0, engine.dollars - total) + max(0.0, most - options.budget)
    print(f"overspent                    ${overspent:.9f}")
    return int(overspent > 1e-9 or not outcomes["answered"] or not engine.dollars)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1, help="of each process")
    parser.add_argument("--sqlite", action="store_true", help="a file instead of PostgreSQL")
    parser.add_argument("--clients", type=int, default=12)
    parser.add_argument("--no-kills", action="store_true", help="so that no lease of a killed process covers anything")
    parser.add_argument("--budget", type=float, default=BUDGET, help="dollars per hour")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.sqlite:
            return run(str(Path(folder, "ledger.db")), Path(folder), options)
        with postgresql.running() as server:
            return run(server.url(), Path(folder), options)


if __name__ == "__main__":
    sys.exit(main())
