"""The time of `make quickstart` to its first answer and to its table, in an installed environment.

    python benchmarks/quickstart.py [--rounds 3] [--cold]

With --cold, each round pulls the model again. Other load affects the times, so the load is printed with each round.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_ANSWERED = re.compile(r"^fast · 1 pass · ")
_TABLE = re.compile(r"^report +\S+/report\.html$")
_MEASURED = re.compile(r"^(\d+) of (\d+) actions · ")
_PARTIAL = re.compile(r"^Partial: (\d+) of (\d+) actions were not run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run; times in seconds from its start."""

    load: float
    first_answer: float
    table: float
    actions: str


def once(*, cold: bool) -> Round:
    """Run it, and record the times of its output lines."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"} | ({"TIERWISE_CACHE": cache} if cold else {})
        load, began, at, actions = os.getloadavg()[0], time.monotonic(), {}, ""
        command = ("make", "quickstart")
        with subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                seconds = time.monotonic() - began
                if _ANSWERED.match(line):
                    at["first answer"] = seconds
                if _TABLE.match(line):
                    at["table"] = seconds
                if found := _MEASURED.match(line):
                    actions = f"{found[1]} of {found[2]}"
                if found := _PARTIAL.match(line):
                    actions = f"{int(found[2]) - int(found[1])} of {found[2]}"
    if process.returncode or len(at) < 2:
        sys.exit(f"make quickstart failed:\n{''.join(lines)}")
    return Round(load=load, first_answer=at["first answer"], table=at["table"], actions=actions)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--cold", action="store_true", help="pull the model again in each round")
    asked = arguments.parse_args()
    rounds = []
    for _ in range(asked.rounds):
        rounds.append(one := once(cold=asked.cold))
        times = f"first answer {one.first_answer:.1f} s, table {one.table:.1f} s"
        print(f"load {one.load:.1f}: {times}, {one.actions} actions", flush=True)
    print(
        f"median of {len(rounds)}: first answer {statistics.median(one.first_answer for one in rounds):.1f} s,"
        f" table {statistics.median(one.table for one in rounds):.1f} s"
    )


if __name__ == "__main__":
    main()
