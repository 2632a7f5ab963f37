"""Tierwise beside optillm, its-hub and firstpass, on one backend.

    python benchmarks/side_by_side.py [--only scripted|model] [--out docs/peers.md] [--json FILE]

Installs the others unmodified from PyPI, pinned by benchmarks/peers/*.txt, each into an environment of its own that is
kept for the next run. With --json, results are stored after each part and each task, and a run is continued if the
file is there. The scripted backend takes 150 ms for each call. The model is that of examples/quickstart.yaml,
or another GGUF file (--model), on llama.cpp. Ends with 1 if Tierwise misses a goal. What the model solves has no limit.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import yaml

from peers import model, scripted
from peers.calls import Figures
from peers.environments import PEERS, default_folder, version
from peers.goals import Goal, goals
from peers.graded import Graded
from peers.page import goals_table, graded_tables, lost_fields, scripted_table
from peers.systems import OURS
from tierwise.spec.version import __version__

ROOT = Path(__file__).parents[1]
QUICKSTART, TASKS = ROOT / "examples" / "quickstart.yaml", ROOT / "examples" / "quickstart.jsonl"
MARKS = "<!-- side_by_side: {name} -->", "<!-- /side_by_side -->"


@dataclass(kw_only=True)
class Results:
    """What one run measured."""

    about: dict[str, str] = field(default_factory=dict)
    """Date, versions, machine and command, by part."""
    scripted: list[Figures] = field(default_factory=list)
    model: list[Graded] = field(default_factory=list)


def checkpoint(file: Path | None) -> dict[str, Any]:
    if file is not None:
        return {"source": f"file:{file.resolve()}"}
    known: dict[str, Any] = yaml.safe_load(QUICKSTART.read_text(encoding="utf-8"))["checkpoints"]
    return dict(next(iter(known.values())))


def measured(wanted: argparse.Namespace, given: Sequence[str], folder: Path) -> Results:
    """What the run lacks, after what it has."""
    until = time.monotonic() + 60 * wanted.minutes
    results = Results()
    if wanted.json and wanted.json.exists():
        results = read(wanted.json)

    def keep(part: str) -> None:
        results.about[part] = about_run(wanted, given)
        if wanted.json:
            wanted.json.write_bytes(msgspec.json.encode(results))

    def keep_model(ways: list[Graded]) -> None:
        results.model = ways
        keep("model")

    if wanted.only != "model" and not results.scripted:
        results.scripted = asyncio.run(scripted.measure(folder, wanted.environments, wanted.systems, wanted.rounds))
        keep("scripted")
    if wanted.only != "scripted":
        asked = model.tasks(TASKS, wanted.tasks)
        asyncio.run(
            model.measure(
                checkpoint(wanted.model),
                asked,
                folder,
                wanted.environments,
                wanted.systems,
                repeats=wanted.repeats,
                slots=wanted.slots,
                known=results.model,
                keep=keep_model,
                until=until,
            )
        )
    return results


def read(file: Path) -> Results:
    return msgspec.json.decode(file.read_bytes(), type=Results)


def sections(results: Results, found: Sequence[Goal]) -> dict[str, str]:
    """The parts of the page that a run writes."""
    made = {f"about {part}": text for part, text in results.about.items()}
    if results.scripted:
        made["goals"] = goals_table(found)
        made["scripted"], made["fields"] = scripted_table(results.scripted), lost_fields(results.scripted)
    if results.model:
        made["model"] = graded_tables(results.model)
    return made


def filled(page: str, parts: dict[str, str]) -> str:
    """The page with its parts written anew.

    Raises:
        ValueError: the page has no place for a part.
    """
    for name, text in parts.items():
        begin, end = MARKS[0].format(name=name), MARKS[1]
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"the page has no {begin} … {end}")
        page = f"{before}{begin}\n{text}\n{end}{after}"
    return page


def about_run(wanted: argparse.Namespace, given: Sequence[str]) -> str:
    """Date, versions, machine and command of a run."""
    others = ", ".join(f"{name} {version(name)}" for name in PEERS if name in wanted.systems)
    hidden = {"--json", "--out", "--minutes"}  # where it is kept, and in how many pieces it was measured
    shown = [part for before, part in pairwise(("", *given)) if not hidden & {before, part}]
    command = " ".join(["python benchmarks/side_by_side.py", *shown])
    return (
        f"Measured on {dt.datetime.now(dt.UTC).date()} with tierwise {__version__}, {others}, Python "
        f"{platform.python_version()}, on {os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f} at the end, "
        f"by `{command}`."
    )


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["scripted", "model"], help="measure only this part")
    parser.add_argument("--systems", nargs="+", choices=[OURS, *PEERS], default=[OURS, *PEERS])
    parser.add_argument("--rounds", type=int, default=15, help="requests per way on the scripted backend")
    parser.add_argument("--model", type=Path, help="a GGUF file instead of the quickstart's model")
    parser.add_argument("--tasks", type=int, help="use only so many tasks")
    parser.add_argument("--repeats", type=int, default=2, help="requests per way and task")
    parser.add_argument(
        "--minutes", type=float, default=float("inf"), help="begin no task of the model's after so long"
    )
    parser.add_argument("--slots", type=int, default=6, help="slots of llama.cpp")
    parser.add_argument("--environments", type=Path, default=default_folder(), help="folder of the environments")
    parser.add_argument("--out", type=Path, help="write the tables into this page, between its marks")
    parser.add_argument("--json", type=Path, help="write the results to this file, or continue those in it")
    parser.add_argument("--read", type=Path, metavar="JSON", help="measure nothing; print what --json wrote")
    return parser.parse_args(given)


def main() -> int:
    wanted = arguments(sys.argv[1:])
    if wanted.read:
        results = read(wanted.read)
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = measured(wanted, sys.argv[1:], Path(folder))
    found = goals(results.scripted) if results.scripted else []
    parts = sections(results, found)
    print("\n\n".join(parts.values()))
    if wanted.out:
        wanted.out.write_text(filled(wanted.out.read_text(encoding="utf-8"), parts), encoding="utf-8")
    missed = [goal for goal in found if not goal.is_met]
    for goal in missed:
        print(f"MISSED: {goal.name}: {goal.ours}, {goal.limit} {goal.why}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
