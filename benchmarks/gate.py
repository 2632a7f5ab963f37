"""The error rates and power of a gate, and the tasks saved by early stopping.

    python benchmarks/gate.py [--swebench /path/to/swebench_pro_eval_results] [--gates 1000] [--seed 0]

A/A runs are two runs of the same system: a share of the tasks is flaky, and seconds and dollars vary. Planted losses
turn some of the candidate's solved tasks into failures. With the public results of SWE-bench Pro, every ordered pair of
runs is also gated in many random task orders. Exits with 1 if a claim of docs/gating.md does not hold.
"""

from __future__ import annotations

import argparse
import itertools
import math
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from tierwise.analysis.arms import Arm
from tierwise.analysis.gate import DollarsPolicy, GatePolicy, LatencyPolicy, QualityPolicy, gate
from tierwise.analysis.pairs import pair
from tierwise.runs import importers
from tierwise.runs.records import TierVariant, TrialOutcome, TrialRecord, Unit
from tierwise.stats import sequential
from tierwise.stats.estimates import paired_difference

if TYPE_CHECKING:
    from numpy.typing import NDArray


MARGIN = 0.03
FLIPS = 0.10
"""The share of tasks on which two runs of one system disagree."""

PLANNED_POWER = 0.80
ORDERS = 200
REAL_MARGIN = 0.05
"""The margin for SWE-bench Pro, whose 731 tasks cannot resolve 3 points between systems that differ this much."""

Results = dict[str, list[str]]


def arm(name: str, outcomes: NDArray[np.bool_], seconds: NDArray[np.float64], dollars: NDArray[np.float64]) -> Arm:
    """A run that is not on disk."""
    records = {}
    for number, (solved, took, cost) in enumerate(zip(outcomes, seconds, dollars, strict=True)):
        task = f"t{number}"
        outcome: TrialOutcome = TrialOutcome.CORRECT if solved else TrialOutcome.INCORRECT
        records[Unit(task)] = TrialRecord(
            action=task,
            task=task,
            tags=[],
            tier="fast",
            mode="both",
            seed=0,
            outcome=outcome,
            why="",
            began=0.0,
            first_output=None,
            seconds=float(took),
            dollars=float(cost),
        )
    return Arm(
        run=Path(name),
        variant=TierVariant(tier="fast", mode="both"),
        most_passes=1,
        tasks=frozenset(unit.task for unit in records),
        repeats=1,
        records=records,
        clusters={},
        workload="",
        is_imported=False,
        contents={},
        is_timed=True,
        has_ended=True,
    )


def runs(rng: np.random.Generator, n: int, flips: float, drop: float) -> tuple[Arm, Arm]:
    """Two runs on n tasks that disagree on a share `flips`; the second solves a share `drop` fewer."""
    uniform = rng.random(n)
    lost, won = uniform < (flips + drop) / 2, uniform > 1 - (flips - drop) / 2
    base = lost | (~won & (rng.random(n) < 0.6))
    other = won | (base & ~lost)
    size = rng.lognormal(0.5, 0.7, n)
    seconds = [size * rng.lognormal(0, 0.25, n) for _ in range(2)]
    dollars = [size * 1e-3 * rng.lognormal(0, 0.15, n) for _ in range(2)]
    return arm("base", base, seconds[0], dollars[0]), arm("run", other, seconds[1], dollars[1])


def tasks_planned(flips: float, drop: float) -> int:
    """Tasks needed to detect a drop with `PLANNED_POWER`, two-sided at 5 % (Miller 2024)."""
    z = float(special.ndtri(0.975) + special.ndtri(PLANNED_POWER))
    return math.ceil(z * z * (flips - drop * drop) / drop**2)


def false_alarms(gates: int, seed: int, results: Results) -> None:
    """A/A gates with every bound of a policy."""
    rng = np.random.default_rng(seed)
    n = tasks_planned(FLIPS, MARGIN)
    policy = GatePolicy(
        quality=QualityPolicy(margin=MARGIN),
        latency=LatencyPolicy(ratio=1.05, p95=12.0),
        dollars=DollarsPolicy(ratio=1.05),
    )
    found: Counter[str] = Counter(gate(pair(*runs(rng, n, FLIPS, 0.0)), policy).verdict for _ in range(gates))
    print(f"A/A: {gates} gates of {n} tasks, {FLIPS:.0%} flips, margin {MARGIN:.0%}, four bounds: {dict(found)}")
    check(results, "A/A false FAIL ≤ 5 %", found["FAIL"] <= 0.05 * gates, f"{found['FAIL'] / gates:.2%}")


def power(gates: int, seed: int, results: Results) -> None:
    """Whether drops of 3 points are detected with the planned power."""
    rng = np.random.default_rng(seed + 1)
    for flips in (0.05, 0.10):
        n = tasks_planned(flips, MARGIN)
        policy = GatePolicy(quality=QualityPolicy(margin=MARGIN))
        found: Counter[str] = Counter(gate(pair(*runs(rng, n, flips, MARGIN)), policy).verdict for _ in range(gates))
        share = found["FAIL"] / gates
        print(f"planted -3 points: {gates} gates of {n} tasks, {flips:.0%} flips: {dict(found)}")
        name = f"planted -3 points at {flips:.0%} flips detected with {PLANNED_POWER:.0%} ± 3 points"
        check(results, name, abs(share - PLANNED_POWER) <= 0.03, f"{share:.1%}")
        check(results, f"… and passed ≤ 5 % at {flips:.0%} flips", found["PASS"] <= 0.05 * gates, f"{found['PASS']}")


def fixed(differences: NDArray[np.int64], margin: float) -> str:
    """The verdict of a fixed-size test on all tasks."""
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    found = paired_difference(0, wins, losses, len(differences) - wins - losses)
    assert found is not None
    assert found.interval is not None
    low, high = found.interval.low, found.interval.high or 0.0
    return "PASS" if low > -margin else "FAIL" if high < 0 else "INCONCLUSIVE"


def simulated(gates: int, seed: int, results: Results) -> None:
    """Sequential and fixed-size tests on A/A runs and planted drops."""
    rng = np.random.default_rng(seed + 2)
    print("sequential, simulated (the share of tasks used, and the verdicts of both tests):")
    middles = []
    for n, margin, flips in (
        (1000, 0.03, 0.02), (1000, 0.03, 0.05), (2000, 0.03, 0.05), (2000, 0.03, 0.10), (731, 0.05, 0.05),
        (731, 0.05, 0.10),
    ):  # fmt: skip
        for drop in (0.0, margin):
            if drop > flips:
                continue
            uniform = rng.random((gates, n))
            drawn = np.where(uniform < (flips + drop) / 2, -1, np.where(uniform > 1 - (flips - drop) / 2, 1, 0))
            stops = [sequential.paired(row.tolist(), margin, n, is_last=True) for row in drawn]
            early: Counter[str] = Counter(stop.verdict or "INCONCLUSIVE" for stop in stops)
            late = Counter(fixed(row, margin) for row in drawn)
            took = np.array([stop.tasks for stop in stops]) / n
            middle = float(np.median(took))
            print(
                f"  n={n} margin={margin:.0%} flips={flips:.0%} true change {-drop:+.0%}: "
                f"median {middle:.0%}, mean {took.mean():.0%} of the tasks; {_shown(early, gates)}; "
                f"all tasks: {_shown(late, gates)}"
            )
            wrong, right = ("FAIL", "PASS") if not drop else ("PASS", "FAIL")
            name = f"sequential n={n} flips={flips:.0%} change {-drop:+.0%}"
            check(results, f"{name}: wrong ≤ 2.5 % (+ noise)", early[wrong] <= _noisy(0.025, gates), f"{early[wrong]}")
            if late[right] >= 0.975 * gates:
                middles.append(middle)
                lost = (late[right] - early[right]) / gates
                check(results, f"{name}: verdicts lost ≤ 3 points", lost <= 0.03, f"{lost:.1%}")
    worst = max(middles)
    print(f"  where all tasks decide 97.5 % of runs: medians from {min(middles):.0%} to {worst:.0%}")
    check(results, "sequential, A/A and planted: median ≤ 50 % of the tasks everywhere", worst <= 0.5, f"{worst:.1%}")


def errors(gates: int, seed: int, results: Results) -> None:
    """Error rates of a gate that stops at the first decisive look, where the true difference is at a boundary."""
    rng = np.random.default_rng(seed + 4)
    worst = {"FAIL": 0.0, "PASS": 0.0}
    for n, margin, flips in (
        (40, 0.10, 0.30), (100, 0.05, 0.05), (100, 0.10, 0.50), (300, 0.03, 0.03), (300, 0.05, 0.20),
        (1000, 0.02, 0.04), (1000, 0.05, 0.50),
    ):  # fmt: skip
        for wrong, drop in (("FAIL", 0.0), ("PASS", margin)):
            uniform = rng.random((gates, n))
            drawn = np.where(uniform < (flips + drop) / 2, -1, np.where(uniform > 1 - (flips - drop) / 2, 1, 0))
            stops = [sequential.paired(row.tolist(), margin, n, is_last=True) for row in drawn]
            share = sum(stop.verdict == wrong for stop in stops) / gates
            worst[wrong] = max(worst[wrong], share)
            name = f"peeking, n={n} margin={margin:.0%} flips={flips:.0%}: false {wrong} ≤ 2.5 % (+ noise)"
            check(results, name, share * gates <= _noisy(0.025, gates), f"{share:.1%}")
    print(f"stopping at the first decisive look: false FAIL ≤ {worst['FAIL']:.1%}, PASS ≤ {worst['PASS']:.1%}")


def real(path: Path, seed: int, results: Results) -> None:
    """Sequential and fixed-size tests on every ordered pair of SWE-bench Pro's public runs, and on A/A runs of each."""
    rng = np.random.default_rng(seed + 3)
    found = [run for log in importers.logs([path]) for run in importers.read(log)]
    outcomes = [{result.task: result.is_solved for result in run.results} for run in found]
    for margin in (MARGIN, REAL_MARGIN):
        shares, agreed, against, early, late = [], [], 0, Counter[str](), Counter[str]()
        for base, other in itertools.permutations(outcomes, 2):
            tasks = sorted(base.keys() & other.keys())
            differences = np.array([int(other[task]) - int(base[task]) for task in tasks])
            whole = fixed(differences, margin)
            late[whole] += 1
            for _ in range(ORDERS):
                stop = sequential.paired(rng.permutation(differences).tolist(), margin, len(tasks), is_last=True)
                verdict = stop.verdict or "INCONCLUSIVE"
                early[verdict] += 1
                shares.append(stop.tasks / len(tasks))
                agreed.append(verdict == whole)
                against += {verdict, whole} == {"PASS", "FAIL"}
        count, mean, middle = len(shares), float(np.mean(shares)), float(np.median(shares))
        print(
            f"SWE-bench Pro, {len(outcomes) * (len(outcomes) - 1)} ordered pairs × {ORDERS} orders, margin "
            f"{margin:.0%}: median {middle:.1%}, mean {mean:.1%} of the tasks; same verdict as all tasks "
            f"{np.mean(agreed):.1%}, opposite {against / count:.2%}; {_shown(early, count)}; "
            f"all tasks: {_shown(late, late.total())}"
        )
        name = f"SWE-bench Pro at {margin:.0%}: median ≤ 50 % of the tasks"
        check(results, name, middle <= 0.5, f"{middle:.1%}")
        check(
            results, f"… opposite verdicts at {margin:.0%} ≤ 2.5 %", against <= 0.025 * count, f"{against / count:.2%}"
        )
    for flips in (0.02, 0.05):
        shares, verdicts = [], Counter[str]()
        for outcome in outcomes:
            for _ in range(ORDERS // 4):
                flaky = rng.random(len(outcome)) < flips
                drawn = np.where(flaky, rng.choice([-1, 1], len(outcome)), 0)
                stop = sequential.paired(drawn.tolist(), REAL_MARGIN, len(outcome), is_last=True)
                shares.append(stop.tasks / len(outcome))
                verdicts[stop.verdict or "INCONCLUSIVE"] += 1
        middle, count = float(np.median(shares)), len(shares)
        print(
            f"A/A of each run, {flips:.0%} flips, margin 5 %: median {middle:.1%}, mean {np.mean(shares):.1%} of the "
            f"tasks; {_shown(verdicts, count)}"
        )
        name = f"A/A of SWE-bench Pro, {flips:.0%} flips: median ≤ 50 % of the tasks"
        check(results, name, middle <= 0.5, f"{middle:.1%}")
        wrong = verdicts["FAIL"] / count
        check(results, f"… false FAIL, {flips:.0%} flips, ≤ 5 %", wrong <= 0.05, f"{wrong:.2%}")


def check(results: Results, claim: str, is_met: bool, figure: str) -> None:
    results["met" if is_met else "failed"].append(f"{claim}: {figure}")


def _noisy(share: float, n: int) -> float:
    """The 99.9 % quantile of a binomial count with n trials and probability `share`."""
    return float(special.bdtrik(0.999, n, share))


def _shown(found: Counter[str], n: int) -> str:
    return " ".join(f"{verdict} {found[verdict] / n:.1%}" for verdict in ("PASS", "FAIL", "INCONCLUSIVE"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swebench", type=Path, help="directory of the result files of SWE-bench Pro's public runs")
    parser.add_argument("--gates", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    results: Results = {"met": [], "failed": []}
    false_alarms(given.gates, given.seed, results)
    power(4 * given.gates, given.seed, results)
    simulated(given.gates, given.seed, results)
    errors(given.gates, given.seed, results)
    if given.swebench is not None:
        real(given.swebench, given.seed, results)
    for claim in results["met"]:
        print(f"met     {claim}")
    for claim in results["failed"]:
        print(f"FAILED  {claim}")
    return 1 if results["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
