"""The cost of writing to the ledger per request, and of queries on a large ledger.

    python benchmarks/ledger.py [--actions 5000] [--folder .]
    python benchmarks/ledger.py --rates 50,500,2000 [--seconds 4] [--stored 200000] [--ledger FILE|URL] [--folder .]
    python benchmarks/ledger.py --stored 1000000 [--ledger FILE|URL] [--folder .]

The first command measures writes: `Ledger.write` next to a bare `os.write` of the same line, in the same run. `paced`
leaves 2 ms between actions, like requests; `flat out` leaves none, so that the writer thread competes for the
interpreter, and the time until everything is stored gives its throughput.

The second command measures what an action costs in CPU time at so many actions a second: entry, line and journal in the
thread of the request, and its share of the writer's batches; with `--stored`, on a ledger that has so many actions.

The third command measures reads: it fills a ledger with that many actions of 30 days (1, 2 or 3 passes each), and runs
`tierwise ledger` as a user does. The run with the least CPU time of five counts. Exits with 1 if, on SQLite, a sum
takes more than 2 s of CPU, or `show` more than 0.5 s.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.ledger import tables, totals
from tierwise.ledger.by import By
from tierwise.ledger.database import Database, connect
from tierwise.ledger.location import locate
from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.read import Reader
from tierwise.ledger.records import Check, Decision, Record, Trace, new_id
from tierwise.ledger.rows import Entry, entry
from tierwise.ledger.store import Ledger
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.spec.errors import LedgerError

PRICES = PriceBook({"large": Price(prompt=0.15, cached=0.015, completion=0.6)})
PROMPT = Prompt(messages=({"role": "user", "content": "How many?"},), seed=7)

BEGAN, SPAN = 1_790_000_000.0, 30 * 86_400
SHAPES = (("fast", "fast", "draft", 1), ("max", "max", "vote", 3), ("auto", "max", "draft", 2))
"""Model, tier, role and number of passes of a large ledger's actions."""


def record(action: str, passes: int, number: int = 0) -> Record:
    done = [
        Pass(
            number=number,
            tier="max",
            deployment="large",
            call=Call(prompt=PROMPT, draw=number),
            outcome="finished",
            completion=Completion(text="Four."),
            usage=Usage(prompt=40, cached=8, completion=12),
            started=0.01 * number,
            first_token=0.1,
            seconds=0.5,
            busy_seconds=0.25,
        )
        for number in range(passes)
    ]
    check = Check(number=0, kind="number", verdict=Verdict(ok=True, score=1.0), seconds=0.001)
    return Record(
        trace=asked_by(Trace(action=action, began=0.0, started_at=time.time(), events=[*done, check]), number),
        model="auto",
        tier="max",
        reason="asked for",
        ending="answered",
        seconds=1.0,
        first_output=0.2,
    )


def microseconds(work: Callable[[int], None], times: int, pause: float = 0.0) -> str:
    spent = []
    for number in range(times):
        time.sleep(pause)
        began = time.perf_counter_ns()
        work(number)
        spent.append((time.perf_counter_ns() - began) / 1000)
    cuts = statistics.quantiles(spent, n=100)
    return f"median {cuts[49]:7.1f} µs   p99 {cuts[98]:8.1f} µs   worst {max(spent):9.1f} µs"


def alarm(error: LedgerError) -> None:
    raise error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", type=int, default=5000)
    parser.add_argument("--rates", help="measure the CPU time of an action at these numbers of actions a second")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--stored", type=int, help="measure reads on a ledger with this many actions")
    parser.add_argument(
        "--ledger", help="the ledger to read from; a new file by default. A ledger that has actions is used as it is"
    )
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    if options.stored and not options.rates:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            sys.exit(read(options.ledger or str(Path(folder, "ledger.db")), options.stored, Path(folder)))
    if options.rates:
        for rate, passes in product(map(int, options.rates.split(",")), (1, 5)):
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                where = options.ledger or str(Path(folder, "ledger.db"))
                if options.stored:
                    fill(where, options.stored)
                spend(where, rate, options.seconds, passes)
        return
    for passes in (1, 5):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            measure(Path(folder), passes, options.actions)


def measure(folder: Path, passes: int, actions: int) -> None:
    with Ledger.open(folder / "ledger.db", PRICES, alarm) as ledger:

        def write(kind: str) -> Callable[[int], None]:
            made = [record(f"{kind}{number}", passes) for number in range(actions)]
            return lambda number: ledger.write(made[number])

        ledger.write(record("sample", passes))
        line = next(file for file in folder.glob("*.jsonl") if file.stat().st_size).read_bytes()
        bare = os.open(folder / "bare", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        print(f"{passes} passes per action, {len(line)} bytes per line")
        print("  os.write, paced     ", microseconds(lambda _: void(os.write(bare, line)), min(actions, 1000), 0.002))
        print("  Ledger.write, paced ", microseconds(write("paced"), min(actions, 1000), 0.002))
        print("  os.write, flat out  ", microseconds(lambda _: void(os.write(bare, line)), actions))
        ledger.flush(60)
        began = time.perf_counter()
        print("  Ledger.write, flat  ", microseconds(write("flat"), actions))
        ledger.flush(600)
        print(f"  stored {actions / (time.perf_counter() - began):,.0f} actions a second")
        os.close(bare)


def spend(where: str, rate: int, seconds: float, passes: int) -> None:
    """Print the CPU time of an action, at an even rate."""
    made = [record(new_id(time.time() + number / rate), passes, number) for number in range(int(rate * seconds))]
    with Ledger.open(where, PRICES, alarm) as ledger:
        ledger.write(record(new_id(time.time()), passes))
        ledger.flush(60)
        writer = next(thread for thread in threading.enumerate() if thread.name == "ledger")
        assert writer.ident is not None
        clock = time.pthread_getcpuclockid(writer.ident)
        before, began, asked = time.clock_gettime(clock), time.perf_counter(), 0.0
        for number, one in enumerate(made):
            time.sleep(max(0.0, began + number / rate - time.perf_counter()))
            cpu = time.thread_time()
            ledger.write(one)
            asked += time.thread_time() - cpu
        ledger.flush(60)
        stored = time.clock_gettime(clock) - before
    each = 1e6 / len(made)
    print(
        f"{rate:5} actions a second, {passes} passes: CPU µs per action {(asked + stored) * each:6.1f}"
        f" (request {asked * each:6.1f}, writer {stored * each:6.1f})",
        flush=True,
    )


def read(ledger: str, actions: int, folder: Path) -> int:
    """The exit code."""
    began = time.perf_counter()
    newest = fill(ledger, actions)
    print(f"{actions:,} actions, filled in {time.perf_counter() - began:.0f} s")
    Database(locate(folder / "empty.db"), patience=5.0).prepare()
    ask(["show"], str(folder / "empty.db"), "  (of an empty ledger)")
    half = datetime.fromtimestamp(BEGAN + SPAN / 2 + 1234, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    sums = [["sum", "--by", by] for by in By] + [["sum", "--by", "role", "--since", half]]
    shows = [["show"], ["show", newest], ["show", newest[:-2]], ["show", "caller-4711"]]
    sum_cpu, show_cpu = (max(ask(question, ledger) for question in some) for some in (sums, shows))
    engine = connect(locate(ledger), patience=5.0, read_only=True)
    with engine.begin() as connection:
        cpu = time.process_time()
        list(totals.of_rows(connection, totals.keys(tables.actions.c.date)[By.ROLE], totals.began(None)))
        cpu = time.process_time() - cpu
    engine.dispose()
    print(f"  for comparison, `sum --by role` from the rows alone: CPU {cpu:.2f} s")
    return 1 if locate(ledger).path is not None and (sum_cpu > 2.0 or show_cpu > 0.5) else 0


def ask(question: Sequence[str], ledger: str, note: str = "") -> float:
    """CPU seconds of a query."""
    command = [sys.executable, "-m", "tierwise", "ledger", *question, "--ledger", ledger]
    cpu, wall = min(timed(command) for _ in range(5))
    print(f"  ledger {' '.join(question) + note:50} CPU {cpu:5.2f} s   wall {wall:5.2f} s", flush=True)
    return cpu


def fill(ledger: str, actions: int) -> str:
    """Fill a ledger if it is empty. Returns the id of its newest action."""
    database = Database(locate(ledger), patience=5.0)
    database.prepare()
    with Reader(ledger) as reader:
        if known := reader.recent(1):
            return known[0].action.id
    rng = random.Random(1)
    made = (make_entry(rng, number, moment_of(number, actions)) for number in range(actions))
    while batch := list(islice(made, 500)):
        database.store(batch)
    database.close()
    return name_of(actions - 1, moment_of(actions - 1, actions))


def moment_of(number: int, actions: int) -> float:
    return BEGAN + SPAN * number / actions


def asked_by(trace: Trace, number: int) -> Trace:
    """The trace with one of 50 keys of 5 teams, and a session of 40 actions, 32 of which take turns."""
    key = number % 32 * 7 % 50
    trace.key, trace.team, trace.tags = f"{key:012x}", f"team-{key % 5}", ("ci", f"area-{key % 7}")
    trace.session = f"task-{number // 1280:06}-{number % 32:02}"
    return trace


def make_entry(rng: random.Random, number: int, moment: float) -> Entry:
    model, tier, role, count = SHAPES[number % len(SHAPES)]
    done = [
        Pass(
            number=place,
            tier="fast" if model == "auto" and place == 0 else tier,
            deployment="small" if tier == "fast" or (model == "auto" and place == 0) else "large",
            call=Call(prompt=PROMPT, role=role, draw=place),
            outcome=rng.choices(("finished", "cut", "aborted", "failed"), (90, 4, 5, 1))[0],
            completion=Completion(),
            usage=Usage(prompt=rng.randrange(2000), completion=rng.randrange(800)),
            started=0.1 * place,
            first_token=0.1,
            seconds=rng.random(),
            busy_seconds=rng.random(),
        )
        for place in range(count)
    ]
    check = Check(number=0, kind="number", verdict=Verdict(ok=True, score=1.0), seconds=0.001)
    events: list[Pass | Check | Decision] = [*done, *([check] if count > 1 else [])]
    trace = Trace(action=name_of(number, moment), began=0.0, started_at=moment, events=events)
    return entry(
        Record(
            trace=asked_by(trace, number),
            model=model,
            tier=tier,
            reason="asked for",
            ending="answered",
            seconds=1.0,
            first_output=0.2,
            caller=f"caller-{number}",
        ),
        PRICES,
    )


def name_of(number: int, moment: float) -> str:
    """Action ids like those of `serve`, the same in each run: in the order of time, by the second."""
    return f"act_{int(moment):08x}{number * 2654435761 % 2**32:08x}{number:08x}"


def timed(command: Sequence[str]) -> tuple[float, float]:
    """CPU and wall seconds of a program."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def void(_: int) -> None:
    """Discard a return value, such as the count of `os.write`."""


if __name__ == "__main__":
    main()
