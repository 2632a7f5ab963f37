"""Attacks budgets: several endpoints on one database, killed amid streams, with clocks that jump. Overspent must be 0.

    python benchmarks/key_attacks.py [--seconds 60] [--processes 4] [--workers 1] [--sqlite] [--clients 12] [--seed 0]

Real `tierwise serve` processes share a private PostgreSQL. One key has a small budget per hour, one sends sessions with
ceilings of dollars and passes, and one may run few actions at the same time. Clients ask without pause: streams and
whole answers, `single` and a vote of 16, up to 16 choices, and some hang up. Meanwhile processes are killed with
SIGKILL and started again, and the clock of each jumps by up to an hour in both directions.
With `--workers`, each of the processes is several, and it is one of those that is killed. With `--sqlite` the database
is a file.
The engine counts what it was asked and what it sent, so it knows what was really spent, also in passes that no ledger
has, by session too, and how many actions of the third key run.
Exits with 1 if that is more than what budgets and sessions have charged, if any period or session was charged more than
its limit, or if too many actions ran at the same time. Of a session, tokens that were sent on a connection that broke
are left out: only the engine knows which of them it had made after the last one that was read.
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
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from processes import children
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
SESSIONS, SESSION_DOLLARS, SESSION_PASSES = 24, 0.02, 60
PLACES = 4
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

    spent: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Millionths of a dollar, by what a prompt is for: `money`, `places`, or the name of a session."""
    broken: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """What of it was sent on connections that broke, likewise: nobody else knows how much of that was read."""
    asked: Counter[str] = field(default_factory=Counter)
    """Requests, likewise."""
    running: int = 0
    most: int = 0
    """Most requests for `places` that ran at the same time."""
    port: int = 0
    _is_up: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True).start()
        self._is_up.wait()

    def dollars(self, purpose: str) -> float:
        return self.spent[purpose] / 1e6

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
        purpose = body["messages"][-1]["content"].split()[0]
        self.asked[purpose] += 1
        self.spent[purpose] += asked * PROMPT  # charged also if it is aborted at once
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        is_place = purpose == "places"
        self.running += is_place
        self.most = max(self.most, self.running)
        sent = [0]
        try:
            try:
                await self._send(request, response, body, asked, purpose, sent)
            finally:
                self.running -= is_place  # the action ends with the next line
            await response.write(b"data: [DONE]\n\n")
        except ConnectionError:
            self.broken[purpose] += sent[0] * COMPLETION
        return response

    async def _send(
        self,
        request: web.Request,
        response: web.StreamResponse,
        body: dict[str, Any],
        asked: int,
        purpose: str,
        sent: list[int],
    ) -> None:
        await response.prepare(request)
        most = body.get("max_tokens") or body.get("max_completion_tokens") or 50
        for number in range(1, most + 1):
            self.spent[purpose] += COMPLETION  # before it is sent
            sent[0] = number
            usage = {"prompt_tokens": asked, "completion_tokens": number, "total_tokens": asked + number}
            choice = {"index": 0, "delta": {"content": f"{number} "}, "finish_reason": None}
            if number == most:
                choice["finish_reason"] = "length"
            await response.write(b"data: %b\n\n" % json.dumps({"choices": [choice], "usage": usage}).encode())
            if number % 8 == 0:
                await asyncio.sleep(0.005)


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
            if self.process.poll() is not None:
                raise SystemExit(f"the endpoint ended by itself; {self.folder / f'log{self.number}'} says why")
            workers = [worker for nursery in children(self.process.pid) for worker in children(nursery)]
            if workers:
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


async def ask(session: aiohttp.ClientSession, server: Server, purpose: str, secret: str, rng: random.Random) -> str:
    """One request; returns what became of it."""
    is_place = purpose == "places"
    body: dict[str, Any] = {
        "model": "one" if is_place else rng.choice(["one", "vote"]),
        "messages": [{"role": "user", "content": f"{purpose} " + "count " * rng.randint(1, 200)}],
        "max_tokens": 200 if is_place else rng.choice([1, 8, 40]),
        "stream": rng.random() < 0.6,
        "n": 1 if is_place else rng.choice([1, 1, 1, 4, 16]),
    }
    headers = {"authorization": f"Bearer {secret}"}
    if purpose.startswith("session"):
        headers |= {
            "x-tierwise-session": purpose,
            "x-tierwise-session-dollars": str(SESSION_DOLLARS),
            "x-tierwise-session-passes": str(SESSION_PASSES),
        }
    # Some hang up; of those whose places are counted none, because the engine notices that after the endpoint.
    limit = aiohttp.ClientTimeout(total=20 if is_place else rng.choice([0.05, 20, 20, 20]))
    try:
        async with session.post(server.url, json=body, headers=headers, timeout=limit) as response:
            content = await response.read()
            if response.status == 200:
                return "answered"
            return f"{response.status} {json.loads(content)['error']['code']}"
    except TimeoutError:
        return "hung up"
    except (aiohttp.ClientError, ValueError):
        return "connection lost"


def purpose_of(number: int, rng: random.Random, passed: float) -> str:
    """What the next request of a client is for. Sessions begin one after the other, until all are used."""
    if number % 3 == 1:
        return f"session{rng.randint(0, max(0, int(passed * SESSIONS) - 1))}"
    return "places" if number % 3 == 2 else "money"


async def attack(servers: list[Server], secrets: dict[str, str], options: argparse.Namespace) -> Counter[str]:
    """Ask, kill and jump until the time is over."""
    outcomes: Counter[str] = Counter()
    until = time.monotonic() + options.seconds

    async def client(number: int) -> None:
        rng = random.Random(f"{options.seed}/{number}")
        async with aiohttp.ClientSession() as session:
            while (left := until - time.monotonic()) > 0:
                purpose = purpose_of(number, rng, 1 - left / options.seconds)
                kind = purpose.rstrip("0123456789")
                outcome = await ask(session, rng.choice(servers), purpose, secrets[kind], rng)
                outcomes[f"{kind}: {outcome}"] += 1
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
    limits = {
        "money": Limits(max_budget=options.budget, budget_duration="1h"),
        "session": Limits(),
        "places": Limits(max_parallel_requests=PLACES),
    }
    secrets = {purpose: store.create(name=purpose, limits=one)[1] for purpose, one in limits.items()}
    servers = [Server(number, folder, ledger, options.workers) for number in range(options.processes)]
    for server in servers:
        server.clock.write_text("0")
        server.start()
    try:
        outcomes = asyncio.run(attack(servers, secrets, options))
    finally:
        for server in servers:
            server.stop()
    charged = store.charged()
    store.close()
    return judged(engine, charged, outcomes, sum(server.kills for server in servers), options)


def judged(
    engine: Engine,
    charged: dict[tuple[str, int], tuple[int, int]],
    outcomes: Counter[str],
    kills: int,
    options: argparse.Namespace,
) -> int:
    """Print what was charged and what was spent. Returns the exit code."""
    of_key = {place: amounts for place, amounts in charged.items() if place[0].endswith("|1h")}
    held = {period: amounts[0] / 1e9 for (_, period), amounts in of_key.items()}
    settled = sum(amounts[1] for amounts in of_key.values()) / 1e9
    total, most, spent = sum(held.values()), max(held.values(), default=0.0), engine.dollars("money")
    for outcome, number in sorted(outcomes.items(), key=lambda one: (one[0].split(":")[0], -one[1])):
        print(f"{outcome:<38} {number:>7,}")

    def say(what: str, value: str) -> None:
        print(f"{what:<38} {value}")

    overspent = max(0.0, spent - total) + max(0.0, most - options.budget)
    names = [name for name in engine.asked if name.startswith("session")]
    beyond, unread, passes = 0.0, 0.0, 0
    for name in names:
        dollars, counted = (charged_to(name, kind, charged) for kind in ("dollars", "passes"))
        known = engine.dollars(name) - engine.broken[name] / 1e6
        unread += max(0.0, engine.dollars(name) - dollars / 1e9)
        beyond += max(0.0, known - dollars / 1e9) + max(0.0, dollars / 1e9 - SESSION_DOLLARS)
        passes += max(0, engine.asked[name] - counted) + max(0, counted - SESSION_PASSES)
    largest = max(map(engine.dollars, names), default=0.0)
    longest = max((engine.asked[name] for name in names), default=0)
    too_many = max(0, engine.most - PLACES)
    say("killed with SIGKILL", f"{kills:>7,}")
    say("periods that clocks were in", f"{len(held):>7,}   each charged at most ${most:.9f} of ${options.budget}")
    say("charged to the key", f"${total:.9f}   of which ${settled:.9f} is settled by actions that ended")
    say("spent at the engine", f"${spent:.9f}")
    say(
        "sessions",
        f"{len(names):>7,}   at most ${largest:.9f} of ${SESSION_DOLLARS}, {longest} of {SESSION_PASSES} passes",
    )
    say("actions that ran at the same time", f"{engine.most:>7,}   of {PLACES}")
    say("sent to broken connections, uncharged", f"${unread:.9f} in sessions")
    say("overspent", f"${overspent:.9f}; in sessions ${beyond:.9f}, {passes} passes; {too_many} actions too many")
    answered = all(outcomes[f"{kind}: answered"] for kind in ("money", "session", "places"))
    return int(overspent + beyond > 1e-9 or passes > 0 or too_many > 0 or not answered)


def charged_to(session: str, kind: str, charged: dict[tuple[str, int], tuple[int, int]]) -> int:
    """What is charged to a session of the only key that sends sessions."""
    return sum(
        held
        for (account, _), (held, _) in charged.items()
        if account.startswith(f"session-{kind}:") and account.endswith(f"|{session}")
    )


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
