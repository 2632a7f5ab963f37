"""Inference that a race of deployments uses, and how often it finds the frontier of the full grid, on simulated tasks.

    python benchmarks/racing.py [--races 400] [--json FILE] [--out docs/drift.md]

K deployments have fixed prices and true qualities. Whether they solve a task is correlated: one solves it if its
draw, which shares half of its variance with the draws of the others, is below its quality. A race gives batches of 5
tasks to those still in, and ends when the frontier is settled or the tasks are used up. Any deployment may drop any
other, at K(K - 1)/delta; with an incumbent, only the cheapest may, at (K - 1)/delta. With futility, as in
`tierwise tune`, a dearer deployment also leaves once its chance to be shown better is small. The frontier found is that
of the shares solved among those that were never dropped.

Reported per setting: the share of the full grid's inference (deployments × tasks), runs in which a deployment of the
true frontier was dropped (the bound is delta = 5 %), and runs in which the frontier found is that of the full grid on
all tasks: exactly, and within intervals, where each deployment that only one of the two has is within two standard
errors of the paired difference of one that both have and that is not dearer. The last column has the exact agreement of
two full grids on different tasks, the most that could be asked of a race.

The second table is the error of futility, for which no bound holds: how often the dearer one of two, which is better by
some points, is dropped as futile; how often it is although the paired test on all tasks would have shown it; and how
often that test shows it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from pages import write_between
from tierwise.stats.estimates import rate
from tierwise.stats.futility import LEVEL
from tierwise.stats.racing import Race, Result
from tierwise.tuning.racing import FUTILITY

BEGIN, END = "<!-- benchmarks/racing.py -->", "<!-- end of benchmarks/racing.py -->"
DELTA, BATCH, SHARED = 0.05, 5, 0.5
Solved = NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """Deployments with their true qualities, cheapest first, and a number of tasks."""

    name: str
    quality: tuple[float, ...]
    tasks: int
    has_incumbent: bool = False
    """Whether only the cheapest may drop others."""
    has_futility: bool = False


FAR = (0.62, 0.30, 0.25, 0.35, 0.28, 0.20)
TWO = (0.40, 0.75, 0.35, 0.45, 0.40, 0.30)
ALIKE = (0.60, 0.60, 0.61, 0.59, 0.60, 0.62)
EIGHT = (0.50, 0.75, 0.48, 0.55, 0.52, 0.58, 0.45, 0.60)
THREE = (0.50, 0.65, 0.45, 0.80, 0.60, 0.70, 0.55, 0.72)
CLOSE = (0.60, 0.62, 0.61, 0.64, 0.63, 0.65, 0.64, 0.66)
BETTER, TASKS = (0.05, 0.10, 0.15, 0.20, 0.30), (30, 100)
SETTINGS = (
    Setting("6 deployments, 100 tasks, far apart, incumbent", FAR, 100, has_incumbent=True),
    Setting("6 deployments, 100 tasks, far apart", FAR, 100),
    Setting("6 deployments, 100 tasks, far apart, futility", FAR, 100, has_futility=True),
    Setting("6 deployments, 100 tasks, 2 on the frontier", TWO, 100),
    Setting("6 deployments, 100 tasks, 2 on the frontier, futility", TWO, 100, has_futility=True),
    Setting("6 deployments, 100 tasks, alike, futility", ALIKE, 100, has_futility=True),
    Setting("8 deployments, 500 tasks, 2 on the frontier", EIGHT, 500),
    Setting("8 deployments, 500 tasks, 2 on the frontier, futility", EIGHT, 500, has_futility=True),
    Setting("8 deployments, 500 tasks, 3 on the frontier", THREE, 500),
    Setting("8 deployments, 500 tasks, 3 on the frontier, futility", THREE, 500, has_futility=True),
    Setting("8 deployments, 500 tasks, close together", CLOSE, 500),
    Setting("8 deployments, 500 tasks, close together, futility", CLOSE, 500, has_futility=True),
)


def drawn(setting: Setting, tasks: int, rng: np.random.Generator) -> Solved:
    """Deployments × tasks."""
    hard = rng.standard_normal(tasks) * math.sqrt(SHARED)
    own = rng.standard_normal((len(setting.quality), tasks)) * math.sqrt(1 - SHARED)
    return np.asarray(hard + own < special.ndtri(np.asarray(setting.quality))[:, None])


def frontier(quality: Sequence[float], among: Sequence[int]) -> set[int]:
    """Those that solve more than every cheaper one; deployments are ordered by price."""
    found: set[int] = set()
    best = -1.0
    for one in sorted(among):
        if quality[one] > best:
            found.add(one)
            best = quality[one]
    return found


def raced(solved: Solved, *, has_incumbent: bool = False, has_futility: bool = False) -> Race:
    """Run a race to its end."""
    names = [str(one) for one in range(len(solved))]
    race = Race.started(
        names,
        delta=DELTA,
        incumbent="0" if has_incumbent else None,
        most_tasks=solved.shape[1],
        futility=FUTILITY if has_futility else 0.0,
    )
    for start in range(0, solved.shape[1], BATCH):
        columns = solved[:, start : start + BATCH]
        race = race.after(
            {name: [Result(float(one), 1.0 + int(name)) for one in columns[int(name)]] for name in race.racing}
        )
        if race.is_settled:
            break
    return race


def agrees(found: set[int], full: set[int], solved: Solved) -> bool:
    """Whether every deployment that only one frontier has is within the noise of one that both have."""
    both = found & full
    for one in found ^ full:
        near = False
        for other in both:
            difference = solved[one].astype(float) - solved[other]
            error = float(difference.std()) / math.sqrt(len(difference))
            near = near or abs(float(difference.mean())) <= 2 * error
        if not near:
            return False
    return True


def measure(setting: Setting, races: int) -> dict[str, Any]:
    rng, everyone = np.random.default_rng(9), range(len(setting.quality))
    truth = frontier(setting.quality, everyone)
    shares: list[float] = []
    lost = same = close = again = 0
    for _ in range(races):
        solved, other = drawn(setting, setting.tasks, rng), drawn(setting, setting.tasks, rng)
        race = raced(solved, has_incumbent=setting.has_incumbent, has_futility=setting.has_futility)
        shares.append(sum(race.asked.values()) / solved.size)
        seen = solved[:, : race.tasks].mean(axis=1)
        left = [int(name) for name in race.racing]
        found, full = frontier(list(seen), left), frontier(list(solved.mean(axis=1)), everyone)
        lost += any(int(one.name) in truth for one in race.dropped)
        same += found == full
        close += agrees(found, full, solved)
        again += frontier(list(other.mean(axis=1)), everyone) == full
    counts = {"lost": lost, "same": same, "close": close, "again": again}
    return {
        "setting": asdict(setting),
        "share": float(np.mean(shares)),
        "ninety": float(np.quantile(shares, 0.9)),
        **{name: asdict(one) for name, count in counts.items() if (one := rate(count, races)) is not None},
    }


def futility_error(better: float, tasks: int, races: int) -> dict[str, Any]:
    """How often the dearer one of two is dropped, though it is better by this much."""
    rng = np.random.default_rng(17)
    setting = Setting("", (0.5, 0.5 + better), tasks)
    counts = {"dropped": 0, "missed": 0, "shown": 0}
    for _ in range(races):
        solved = drawn(setting, tasks, rng)
        wins, losses = int((solved[1] & ~solved[0]).sum()), int((solved[0] & ~solved[1]).sum())
        is_shown = bool(stats.binom.sf(wins - 1, wins + losses, 0.5) <= LEVEL)
        is_dropped = any(one.name == "1" for one in raced(solved, has_futility=True).dropped)
        counts["dropped"] += is_dropped
        counts["missed"] += is_dropped and is_shown
        counts["shown"] += is_shown
    found = {name: asdict(one) for name, count in counts.items() if (one := rate(count, races)) is not None}
    return {"better": better, "tasks": tasks, **found}


def error_page(rows: list[dict[str, Any]], races: int) -> str:
    lines = [
        "| better by | tasks of the race | dropped as futile | … and all tasks would show it | all tasks show it |"
    ]
    lines += ["|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(_share(row[name]) for name in ("dropped", "missed", "shown"))
        lines.append(f"| {100 * row['better']:.0f} points | {row['tasks']} | {cells} |")
    return "\n".join([*lines, "", f"{races:,} races each."])


def page(rows: list[dict[str, Any]], races: int) -> str:
    heads = (
        "one of the true frontier dropped",
        "frontier of the full grid",
        "within intervals",
        "two full grids agree",
    )
    lines = [f"| setting | inference, mean (90 %) | {' | '.join(heads)} |", "|---|---|---|---|---|---|"]
    for row in rows:
        cells = " | ".join(_share(row[name]) for name in ("lost", "same", "close", "again"))
        lines.append(f"| {row['setting']['name']} | {row['share']:.0%} ({row['ninety']:.0%}) | {cells} |")
    return "\n".join([*lines, "", f"{races:,} races each, delta = {DELTA:.0%}; 95 % intervals in brackets."])


def _share(found: dict[str, Any]) -> str:
    ends = found["interval"]
    return f"{found['value'] * 100:.0f} % ({ends['low'] * 100:.0f} to {ends['high'] * 100:.0f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", type=int, default=400)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--out", type=Path, help="write the table between the marks of this page")
    wanted = parser.parse_args()
    began = time.perf_counter()
    rows = [measure(setting, wanted.races) for setting in SETTINGS]
    errors = [futility_error(better, tasks, wanted.races) for tasks in TASKS for better in BETTER]
    text = f"{page(rows, wanted.races)}\n\n{error_page(errors, wanted.races)}"
    print(text, f"\n\n{time.perf_counter() - began:.0f} s")
    if wanted.json is not None:
        wanted.json.write_text(json.dumps({"races": rows, "futility": errors}, indent=1), encoding="utf-8")
    if wanted.out is not None:
        write_between(wanted.out, BEGIN, END, text)
    return 0 if all(row["lost"]["interval"]["low"] <= DELTA for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
