"""What keys, limits and sessions cost: CPU time per request of `tierwise serve`, in turns, in front of a fake engine.

    python benchmarks/key_overhead.py [--blocks 7] [--seconds 1.0] [--most RATIO]

Four endpoints with ledgers of their own answer the same request: one without keys; one with a stored key that has no
limits; one with a key and a team that have every limit (budgets of the key, of its team and of the model, requests,
tokens and parallel actions); and one whose requests also name a session with ceilings. CPU is user and system time of
the endpoint's process; medians over blocks that take turns.
Exits with 1 if all limits and a session cost more than RATIO times the request without keys.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from overhead import Caller, request_to
from processes import backend, cpu_seconds, tierwise
from tierwise.keys.changes import LimitChanges
from tierwise.keys.database import prepare
from tierwise.keys.records import Limits
from tierwise.keys.store import KeyStore
from tierwise.ledger.location import locate

CALLERS = (1, 32)
WARM_SECONDS = 0.4
BODY = {"model": "fast", "messages": [{"role": "user", "content": "hello there"}], "max_tokens": 16}
LIMITS: dict[str, Any] = {"max_budget": 1e6, "rpm_limit": 10**9, "tpm_limit": 10**11, "max_parallel_requests": 1000}
SESSION = "x-tierwise-session: task\r\nx-tierwise-session-dollars: 1e6\r\nx-tierwise-session-passes: 100000000\r\n"
KINDS = ("without keys", "key", "key with limits", "and a session")


def secret_for(kind: str, folder: Path) -> str:
    """A key in the ledger of an endpoint; none for the endpoint without keys."""
    if kind == KINDS[0]:
        return ""
    location = locate(folder / "ledger.db")
    prepare(location)
    store = KeyStore(location, who="benchmark")
    is_limited = kind != KINDS[1]
    if is_limited:
        store.put_team("red", LimitChanges(**LIMITS))
    limits = Limits(**LIMITS, model_max_budget={"fast": 1e6}) if is_limited else Limits()
    secret = store.create(team="red" if is_limited else "", limits=limits)[1]
    store.close()
    return secret


async def block(url: str, headers: str, process: int, callers: int, seconds: float) -> float:
    """Microseconds of CPU per request."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    request = request_to(url, BODY).replace(b"\r\n", b"\r\n" + headers.encode(), 1)
    asked = 0

    async def call() -> None:
        nonlocal asked
        _, caller = await loop.create_connection(Caller, parts.hostname or "", parts.port or 80)
        while time.perf_counter() < until:
            await caller.ask(request)
            asked += 1
        caller.transport.close()

    until = time.perf_counter() + WARM_SECONDS  # what was given back while others had their turn is taken again
    await asyncio.gather(*(call() for _ in range(callers)))
    asked, before, until = 0, cpu_seconds(process), time.perf_counter() + seconds
    await asyncio.gather(*(call() for _ in range(callers)))
    return (cpu_seconds(process) - before) / asked * 1e6


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block")
    parser.add_argument("--most", type=float, default=2.0, metavar="RATIO")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        upstream = stack.enter_context(backend(Path(root)))
        config = {
            "deployments": {"fake": {"engine": "http", "url": upstream, "model": "fake"}},
            "tiers": {"fast": {"deployment": "fake", "policy": "single"}},
            "prices": {"fake": {"prompt": 0.15, "completion": 0.6}},
        }
        targets = {}
        for number, kind in enumerate(KINDS):
            folder = Path(root, str(number))
            folder.mkdir()
            secret = secret_for(kind, folder)
            headers = f"authorization: Bearer {secret}\r\n" if secret else ""
            headers += SESSION if kind == KINDS[-1] else ""
            targets[kind] = (*stack.enter_context(tierwise(config, folder)), headers)
        found: dict[tuple[str, int], list[float]] = {}
        for turn in range(options.blocks + 1):
            for callers in CALLERS:
                for kind, (process, url, headers) in targets.items():
                    spent = uvloop.run(block(url, headers, process, callers, options.seconds))
                    if turn:  # the first warms up
                        found.setdefault((kind, callers), []).append(spent)
    print(f"{'CPU µs per JSON answer':<24}" + "".join(f"{f'c={callers}':>18}" for callers in CALLERS))
    worst = 0.0
    for kind in KINDS:
        cells = []
        for callers in CALLERS:
            spent, base = (statistics.median(found[one, callers]) for one in (kind, KINDS[0]))
            cells.append(f"{spent:>10.0f} ({spent / base:.2f})")
            worst = max(worst, spent / base)
        print(f"{kind:<24}" + "".join(f"{cell:>18}" for cell in cells))
    return int(worst > options.most)


if __name__ == "__main__":
    sys.exit(main())
