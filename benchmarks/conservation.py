"""Checks that no token is lost: under faults, the ledger's token counts equal the backends' exactly.

    python benchmarks/conservation.py [--actions 10000] [--seed 0]

Thousands of actions run through the gateway's application in process, with every policy, streamed and unstreamed, with
one choice and several. Backends are slow, refuse, return garbage, fail in the middle of an answer and are killed with
all their passes. Users set budgets, read slowly and disconnect at any time. The clock is simulated, so waiting takes no
time, and a seed reproduces a run. Exits with 1 if a token, an action or a user's usage is not accounted for.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.engine import Deployment
from tierwise.gateway.app import application
from tierwise.gateway.exchange import Exchange, HungUp
from tierwise.ledger.by import By
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.read import Reader
from tierwise.ledger.store import Ledger
from tierwise.policies import BestOfN, Majority, Refine, Single
from tierwise.router import Router
from tierwise.run import Tier
from tierwise.service import Service
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken, Garbled, Overloaded, Refused, TimedOut
from tierwise.testing import Reply, ScriptedEngine, cascade, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from tierwise.gateway.app import Endpoint
    from tierwise.policies import Policy
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.errors import LedgerError
    from tierwise.spec.json import Json

CONCURRENCY = 64
"""Concurrent actions."""

STEP = 0.01
"""Seconds per word, on the simulated clock."""

ANSWERS = ("The answer is 4", "I believe that it is 5", "4", '{"n": 4}', "Let me think. Two and two are 4", "")
CALL_A_TOOL: dict[str, Json] = {"tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
PRICES = PriceBook({"small": Price(dollars_per_hour=0.1), "large": Price(prompt=0.15, cached=0.015, completion=0.6)})


class Backend(ScriptedEngine):
    """Answers and fails at random. Killing it ends each running pass at its next word."""

    def __init__(self, *, seed: int, failing: float) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._failing = failing
        self._lives = 0

    def kill(self) -> None:
        self._lives += 1

    def reply_to(self, number: int, call: Call) -> Reply:  # noqa: ARG002 - the protocol's
        rng = self._random
        text, step = rng.choice(ANSWERS), rng.choice((0.0, STEP, 5 * STEP))
        if rng.random() >= self._failing:
            delta = CALL_A_TOOL if rng.random() < 0.05 else None
            return Reply(text=text, step=step, logprob=-rng.random(), delta=delta)
        kind = rng.choice((Broken, Broken, Garbled, Overloaded, TimedOut, Refused))
        partial = " ".join(text.split(" ")[: rng.randrange(8)])
        return Reply(text=partial, step=step, error=kind(f"{kind.__name__} on purpose", engine="backend"))

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        life = self._lives
        async with aclosing(super().stream(call)) as stream:
            async for chunk in stream:
                yield chunk
                if self._lives != life:
                    raise Broken("killed", engine="backend")


# ── users ───────────────────────────────────────────────────────────────
@dataclass
class User:
    """Sends one request, reads the response, and may disconnect at any time."""

    body: bytes
    is_mistaken: bool = False
    """Whether it requests a model that does not exist."""
    leaves_asking: bool = False
    leaves_after_seconds: float | None = None
    leaves_after_sends: int | None = None
    pause: float = 0.0
    """Seconds to read one piece of the answer."""
    broke: BaseException | None = None
    """The exception that the application raised."""
    status: int = 0
    action: str = ""
    received: bytes = b""
    has_left: bool = False

    async def visit(self, app: Endpoint) -> None:
        visit = Visit(self)
        leaving = None
        if self.leaves_after_seconds is not None:
            leaving = asyncio.get_running_loop().call_later(self.leaves_after_seconds, visit.leave)
        answer = app.answering(visit.path)
        assert answer is not None
        await answer(visit)
        if leaving is not None:
            leaving.cancel()

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens reported to the user; None without a complete answer that reports them."""
        if self.status != 200:
            return None
        text = self.received
        if text.startswith((b"data: ", b": ")):
            events = [part[6:] for part in text.split(b"\n\n") if part.startswith(b"data: ")]
            if events[-1:] != [b"[DONE]"]:
                return None
            text = events[-2]
        try:
            usage = msgspec.json.decode(text).get("usage")
        except msgspec.DecodeError:
            return None
        return (usage["prompt_tokens"], usage["completion_tokens"]) if usage else None


class Visit(Exchange):
    """The request of a user, whose body comes in two parts, and the response, which is read slowly."""

    whole = None

    def __init__(self, user: User) -> None:
        super().__init__("/v1/chat/completions", [(b"content-type", b"application/json")])
        self._user = user
        self._parts = 0
        self._sends = 0
        self._read = asyncio.Event()
        self._read.set()

    def leave(self) -> None:
        if self.disconnected or self.response_complete:
            return
        self.disconnected = self._user.has_left = True
        self._read.set()
        if self.when_gone is not None:
            self.when_gone()

    async def part(self) -> tuple[bytes, bool]:
        self._parts += 1
        body, half = self._user.body, len(self._user.body) // 2
        if self._parts == 1:
            return body[:half], True
        if self._user.leaves_asking:
            self.leave()
        if self.disconnected:
            raise HungUp
        return body[half:], False

    async def respond(self, status: int, headers: Mapping[str, str], content: bytes) -> None:
        self.begin(status, headers)
        await self.end(content)

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.response_started = True
        if not self.disconnected:
            self._user.status, self._user.action = status, headers.get("x-tierwise-action", "")

    def write(self, data: bytes) -> bool:
        if not self._read.is_set():
            return False
        self._take(data)
        return True

    def _take(self, data: bytes) -> None:
        if self.disconnected:
            return
        self._user.received += data
        self._sends += 1
        if self._sends == self._user.leaves_after_sends:
            asyncio.get_running_loop().call_soon(self.leave)
        elif self._user.pause:
            self._read.clear()
            asyncio.get_running_loop().call_later(self._user.pause, self._go_on)

    async def end(self, data: bytes) -> None:
        await self.writable()
        self._take(data)
        self.response_complete = not self.disconnected

    @property
    def is_writable(self) -> bool:
        return self._read.is_set()

    async def writable(self) -> None:
        await self._read.wait()

    def _go_on(self) -> None:
        self._read.set()
        if self.when_writable is not None:
            self.when_writable()


def user(draw: random.Random) -> User:
    """A user with a random request and random behaviour."""
    body: dict[str, Any] = {
        "model": draw.choice(("single", "majority", "best", "refine", "auto", "auto")),
        "messages": [{"role": "user", "content": "2+2?"}],
        "stream": draw.random() < 0.6,
        "n": draw.choice((1, 1, 1, 1, 2, 3)),
    }
    if body["stream"] and draw.random() < 0.7:
        body["stream_options"] = {"include_usage": True}
    if draw.random() < 0.2:
        body[draw.choice(("max_tokens", "max_completion_tokens"))] = draw.randint(1, 8)
    if draw.random() < 0.2:
        body["logprobs"] = True
    extension: dict[str, Any] = {}
    if draw.random() < 0.4:
        budget = {
            "passes": draw.randint(1, 6),
            "completion_tokens": draw.randint(1, 30),
            "seconds": draw.uniform(0.02, 0.6),
        }
        extension["budget"] = {name: value for name, value in budget.items() if draw.random() < 0.5}
    if draw.random() < 0.6:
        extension["verifier"] = draw.choice(
            ({"number": {"equals": 4}}, {"regex": {"pattern": "4$"}}, {"json_schema": {"schema": {"type": "object"}}})
        )
    if extension:
        body["tierwise"] = extension
    is_mistaken = draw.random() < 0.01
    if is_mistaken:
        body["model"] = "none"
    one = User(body=msgspec.json.encode(body), is_mistaken=is_mistaken)
    match draw.random():
        case value if value < 0.15:
            one.leaves_after_seconds = draw.uniform(0, 0.5)
        case value if value < 0.25:
            one.leaves_after_sends = draw.randint(1, 12)
        case value if value < 0.27:
            one.leaves_asking = True
        case value if value < 0.37:
            one.pause = draw.uniform(0, 0.1)
        case _:
            pass
    return one


# ── the run ─────────────────────────────────────────────────────────────
@dataclass(kw_only=True)
class Outcome:
    """The outcome of a run."""

    users: list[User]
    produced: dict[str, tuple[int, int, int]]
    """Prompt, cached and completion tokens by deployment, counted by the backends."""
    remembered: dict[str, tuple[int, int, int]]
    """The same from the ledger."""
    actions: dict[str, tuple[int, int]]
    """Prompt and completion tokens by action, from the ledger."""
    passes: dict[str, int]
    """Passes by outcome."""
    endings: dict[str, int]
    inexact: int
    """Passes whose tokens were estimated, not counted by the engine."""
    alarms: list[str]
    left_running: int
    seconds: float

    @property
    def differences(self) -> Iterator[str]:
        """Every discrepancy."""
        for name, made in self.produced.items():
            if made != self.remembered.get(name, (0, 0, 0)):
                found = self.remembered.get(name)
                yield f"{name}: the backend produced {made} tokens (prompt, cached, completion), the ledger has {found}"
        begun = [one for one in self.users if not (one.leaves_asking or one.is_mistaken)]
        if len(begun) != len(self.actions):
            yield f"{len(begun)} actions were started, the ledger has {len(self.actions)}"
        for one in self.users:
            if one.usage is not None and one.usage != self.actions.get(one.action):
                yield f"{one.action}: the user was told {one.usage}, the ledger has {self.actions.get(one.action)}"
            if one.broke is not None:
                yield f"{one.action}: the application raised an exception: {one.broke!r}"
        if self.left_running:
            yield f"{self.left_running} passes are still running"
        yield from self.alarms

    def print(self) -> None:
        count = len(self.users)
        print(f"{count} actions in {self.seconds:.1f} s: {count / self.seconds:.0f} actions/s")
        statuses = Counter(one.status or "left" for one in self.users)
        print(f"  to users   {_listed(statuses)}; {sum(one.usage is not None for one in self.users)} usages checked")
        print(f"  actions    {_listed(self.endings)}")
        print(f"  passes     {_listed(self.passes)}; {self.inexact} of them ended before the engine reported usage")
        for name, (prompt, _, completion) in self.produced.items():
            held = self.remembered.get(name, (0, 0, 0))
            print(f"  {name:10} backend {prompt:,} + {completion:,} tokens, ledger {held[0]:,} + {held[2]:,}")


def _listed(counts: dict[Any, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1]))


async def run(actions: int, seed: int, book: Ledger) -> tuple[list[User], dict[str, Backend]]:
    """Send `actions` requests to a gateway whose backends are killed repeatedly."""
    backends = {"small": Backend(seed=seed, failing=0.2), "large": Backend(seed=seed + 1, failing=0.1)}
    deployments = {name: Deployment(name=name, engine=engine, slots=4) for name, engine in backends.items()}
    policies: dict[str, tuple[str, Policy, Budget]] = {
        "single": ("small", Single(), Budget()),
        "majority": ("small", Majority(n=5), Budget(seconds=2)),
        "best": ("large", BestOfN(n=4), Budget(passes=3)),
        "refine": ("large", Refine(), Budget(completion_tokens=40)),
    }
    tiers = {
        name: Tier(name=name, deployment=deployments[where], policy=policy, budget=budget)
        for name, (where, policy, budget) in policies.items()
    }
    router = Router(tiers={**tiers, "auto": cascade(list(tiers.values()))})
    app = application(Service(router=router, deployments=deployments, prices=PRICES, ledger=book))
    users = [user(random.Random(f"{seed}/{number}")) for number in range(actions)]
    waiting = iter(users)

    async def serve() -> None:
        for one in waiting:
            visit = asyncio.create_task(one.visit(app))  # one task per request, as in a server
            await asyncio.wait({visit})
            if not visit.cancelled():
                one.broke = visit.exception()
            elif not one.has_left:
                one.broke = asyncio.CancelledError()

    async def kill_backends() -> None:
        draw = random.Random(seed)
        while True:
            await asyncio.sleep(draw.expovariate(4.0))
            draw.choice(list(backends.values())).kill()

    killer = asyncio.create_task(kill_backends())
    async with asyncio.TaskGroup() as group:
        for _ in range(CONCURRENCY):
            group.create_task(serve())
    killer.cancel()
    await asyncio.wait({killer})
    return users, backends


def measure(actions: int, seed: int) -> Outcome:
    """Run, close the ledger, and read it."""
    alarms: list[str] = []

    def on_error(error: LedgerError) -> None:
        alarms.append(str(error))

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        began = time.perf_counter()
        with Ledger.open(path, PRICES, on_error) as book:
            users, backends = frozen(run(actions, seed, book))
            if not book.flush(120):
                alarms.append("the ledger did not store everything in time")
        seconds = time.perf_counter() - began
        with Reader(path) as reader:
            by_deployment = reader.totals(By.DEPLOYMENT)
            outcomes = {total.key: total.passes for total in reader.totals(By.OUTCOME)}
        with closing(sqlite3.connect(path)) as database:
            per_action = database.execute(
                "SELECT id, COALESCE(SUM(prompt), 0), COALESCE(SUM(completion), 0)"
                " FROM actions LEFT JOIN passes ON passes.action = actions.id GROUP BY id"
            ).fetchall()
            endings = dict(database.execute("SELECT ending, COUNT(*) FROM actions GROUP BY ending").fetchall())
    made = {name: backend.produced for name, backend in backends.items()}
    return Outcome(
        users=users,
        produced={name: (usage.prompt, usage.cached, usage.completion) for name, usage in made.items()},
        remembered={total.key: (total.prompt, total.cached, total.completion) for total in by_deployment},
        actions={action: (prompt, completion) for action, prompt, completion in per_action},
        passes=outcomes,
        endings=endings,
        inexact=sum(total.estimated for total in by_deployment),
        alarms=alarms,
        left_running=sum(backend.running for backend in backends.values()),
        seconds=seconds,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    outcome = measure(given.actions, given.seed)
    outcome.print()
    differences = list(outcome.differences)
    for difference in differences[:20]:
        print(f"DIFFERENCE: {difference}")
    print(f"{len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
