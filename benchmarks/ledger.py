"""What remembering costs a request: `Ledger.write` beside a bare `os.write` of the same line, in the same run.

    python benchmarks/ledger.py [--actions 5000] [--folder .]

`paced` leaves 2 ms between actions, as requests do; `flat out` leaves none, so that the writer thread competes for the
interpreter, and the time until everything is stored gives its throughput.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.ledger.prices import Price, PriceBook
from tierwise.ledger.records import Check, Record, Trace
from tierwise.ledger.store import Ledger
from tierwise.spec.ask import Verdict
from tierwise.spec.call import Call, Completion, Pass, Usage
from tierwise.spec.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Callable

    from tierwise.spec.errors import LedgerError

PRICES = PriceBook({"large": Price(prompt=0.15, cached=0.015, completion=0.6)})


def record(action: str, passes: int) -> Record:
    prompt = Prompt(messages=({"role": "user", "content": "How many?"},), seed=7)
    done = [
        Pass(
            number=number,
            tier="max",
            deployment="large",
            call=Call(prompt=prompt, draw=number),
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
        trace=Trace(action=action, began=0.0, started_at=time.time(), events=[*done, check]),
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
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
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
        print(f"{passes} passes an action, a line of {len(line)} bytes")
        print("  os.write, paced     ", microseconds(lambda _: void(os.write(bare, line)), min(actions, 1000), 0.002))
        print("  Ledger.write, paced ", microseconds(write("paced"), min(actions, 1000), 0.002))
        print("  os.write, flat out  ", microseconds(lambda _: void(os.write(bare, line)), actions))
        ledger.flush(60)
        began = time.perf_counter()
        print("  Ledger.write, flat  ", microseconds(write("flat"), actions))
        ledger.flush(600)
        print(f"  stored {actions / (time.perf_counter() - began):,.0f} actions a second")
        os.close(bare)


def void(_: int) -> None:
    """`os.write` returns a count that nobody wants here."""


if __name__ == "__main__":
    main()
