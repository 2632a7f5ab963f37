"""How soon the detectors of drift raise an alarm, and how often they raise a false one, beside simpler rules.

    python benchmarks/drift.py [--runs 4000] [--false-runs 10000] [--json FILE] [--out docs/drift.md]

A share of actions is shadowed, and each is a loss (harm, or a disagreement) with some probability. The rate rises after
2,000 shadowed actions, and those from there to the alarm are counted; runs with an earlier alarm are counted apart.
False alarms are counted in 10,000 shadowed actions at exactly the certified rate, the highest that the certificate
allows.

All rules see the same losses. The e-process and the e-detector are those of `stats/drift.py`, computed for all runs
together; each is first compared with the product's on runs of its own, step by step. `CUSUM` is the e-detector with a
maximum in place of the sum (Page's), and a threshold of 10,000. `rate of 100` says that the rate of the last 100 is
above the certified one, as a dashboard would.

About a minute and a half on one core. The exit code is 1 if the e-detector misses a goal: medians of at most 140, 330
and 650 for rates that rise from 3 to 15 % (certified: 5 %), 1 to 6 % (2 %) and .5 to 3 % (1 %), and at most 5 % of runs
with a false alarm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pages import write_between
from tierwise.stats.drift import HORIZON, BrokenPromise, Change, fixed_bet
from tierwise.stats.estimates import quantile, rate

Floats = NDArray[np.float64]

BEGIN, END = "<!-- benchmarks/drift.py -->", "<!-- end of benchmarks/drift.py -->"
DELTA = 0.05
BEFORE, AFTER = 2_000, 10_000
"""Shadowed actions before the change, and the most that are looked at after it."""
CUSUM_AT = 10_000.0
LAST = 100


@dataclass(frozen=True)
class Shift:
    """A rate that rises."""

    limit: float
    before: float
    after: float
    goal: int
    """Shadowed actions to the alarm of the e-detector, in the median."""


SHIFTS = (Shift(0.05, 0.03, 0.15, 140), Shift(0.02, 0.01, 0.06, 330), Shift(0.01, 0.005, 0.03, 650))


class Rules:
    """The states of all rules for many runs; `step` gives those that are above their thresholds."""

    names = ("e-process", "e-detector", "CUSUM", f"rate of {LAST}")

    def __init__(self, limit: float, runs: int) -> None:
        self.limit, self.bet = limit, fixed_bet(limit)
        self.log_wealth, self.bets, self.curvature = np.zeros(runs), np.zeros(runs), np.ones(runs)
        self.total, self.best = np.zeros(runs), np.zeros(runs)
        self.last = np.zeros((LAST, runs))
        self.seen = 0

    def step(self, losses: Floats) -> NDArray[np.bool_]:
        """Args: one loss of each run. Returns rules × runs."""
        excess = losses - self.limit
        grown = 1 + self.bets * excess
        slope = -excess / grown
        self.curvature += slope * slope
        self.log_wealth += np.log(grown)
        newton = self.bets - 2 / (2 - math.log(3)) * slope / self.curvature
        self.bets = np.minimum(np.maximum(newton, 0.0), 0.5 / self.limit)
        factor = 1 + self.bet * excess
        # Far beyond its alarm a sum would overflow.
        self.total = np.minimum((self.total + 1) * factor, 1e9 * HORIZON / DELTA)
        self.best = np.minimum(np.maximum(self.best, 1.0) * factor, 1e9 * CUSUM_AT)
        self.last[self.seen % LAST] = losses
        self.seen += 1
        above = self.last.sum(axis=0) > LAST * self.limit + 1e-9
        return np.stack(
            [
                self.log_wealth >= -math.log(DELTA),
                self.total >= HORIZON / DELTA,
                self.best >= CUSUM_AT,
                above & (self.seen >= LAST),
            ]
        )


def alarms(limit: float, rates: Iterator[float], runs: int, seed: int, *, ignore: int = 0) -> NDArray[np.int64]:
    """The step of each rule's first alarm in each run, from 1; 0 without one. Rules × runs.

    Args:
        limit: the certified rate.
        rates: of each step.
        runs: how many.
        seed: of the losses.
        ignore: all runs have to be decided by the e-process and the e-detector before the rest is skipped; with an
            earlier alarm than this step a run counts as decided, too.
    """
    rng, rules = np.random.default_rng(seed), Rules(limit, runs)
    first = np.zeros((len(Rules.names), runs), dtype=np.int64)
    for step, probability in enumerate(rates, start=1):
        raised = rules.step((rng.random(runs) < probability).astype(np.float64))
        first[(first == 0) & raised] = step
        if step > ignore and step % 100 == 0 and first.all():
            break
    return first


def check(limit: float) -> None:
    """Compare with the product, on losses with many alarms."""
    rng, runs = np.random.default_rng(5), 20
    rules = Rules(limit, runs)
    promises, changes = [BrokenPromise(limit=limit)] * runs, [Change(limit=limit)] * runs
    for _ in range(1500):
        losses = (rng.random(runs) < 2 * limit).astype(np.float64)
        rules.step(losses)
        promises = [one.after(float(loss)) for one, loss in zip(promises, losses, strict=True)]
        changes = [one.after(float(loss)) for one, loss in zip(changes, losses, strict=True)]
        np.testing.assert_allclose(rules.log_wealth, [one.log_wealth for one in promises], rtol=1e-9, atol=1e-9)
        going = np.array([not one.is_alarm for one in changes])
        np.testing.assert_allclose(rules.total[going], np.array([one.total for one in changes])[going], rtol=1e-9)


def measure(shift: Shift, runs: int, false_runs: int) -> list[dict[str, Any]]:
    """A row for each rule."""
    rates = iter([shift.before] * BEFORE + [shift.after] * AFTER)
    delays = alarms(shift.limit, rates, runs, seed=1, ignore=BEFORE)
    false = alarms(shift.limit, iter([shift.limit] * HORIZON), false_runs, seed=2)
    rows = []
    for name, first, wrong in zip(Rules.names, delays, false, strict=True):
        early = int(((first > 0) & (first <= BEFORE)).sum())
        late = [float(one - BEFORE) for one in first if one > BEFORE] + [math.inf] * int((first == 0).sum())
        median, most = quantile(late, Fraction(1, 2)), quantile(late, Fraction(9, 10))
        rows.append(
            {
                "shift": asdict(shift),
                "rule": name,
                "median": None if median is None else asdict(median),
                "ninety": None if most is None else asdict(most),
                "early": asdict(rate(early, runs) or _none()),
                "false": asdict(rate(int((wrong > 0).sum()), false_runs) or _none()),
            }
        )
    return rows


def _none() -> Any:
    raise ValueError("at least one run is needed")


def page(rows: list[dict[str, Any]], runs: int, false_runs: int) -> str:
    lines = [
        "| certified | rate rises | rule | median | 90 % | alarm before the rise | false alarms in 10⁴ |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        shift = row["shift"]
        rises = f"{shift['before'] * 100:g} → {shift['after'] * 100:g} %"
        lines.append(
            f"| {shift['limit'] * 100:g} % | {rises} | {row['rule']} | {_count(row['median'])} "
            f"| {_count(row['ninety'])} | {_share(row['early'])} | {_share(row['false'])} |"
        )
    note = f"{runs:,} runs for the delays, {false_runs:,} for the false alarms. 95 % intervals are in brackets."
    return "\n".join([*lines, "", f"{note} `–`: nearly all runs have an earlier alarm."])


def _count(found: dict[str, Any] | None) -> str:
    if found is None or found["interval"] is None:
        return "–"
    return f"{found['value']:,.0f} ({found['interval']['low']:,.0f} to {found['interval']['high']:,.0f})"


def _share(found: dict[str, Any]) -> str:
    ends = found["interval"]
    return f"{found['value'] * 100:.1f} % ({ends['low'] * 100:.1f} to {ends['high'] * 100:.1f})"


def missed(rows: list[dict[str, Any]]) -> list[str]:
    """The goals that the e-detector misses."""
    found = []
    for row in rows:
        if row["rule"] == "e-detector":
            if row["median"]["value"] > row["shift"]["goal"]:
                found.append(f"median {row['median']['value']} is above {row['shift']['goal']}")
            if row["false"]["value"] > DELTA:
                found.append(f"{row['false']['value']:.1%} false alarms at {row['shift']['limit']:.0%}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--false-runs", type=int, default=10_000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--out", type=Path, help="write the table between the marks of this page")
    wanted = parser.parse_args()
    began, rows = time.perf_counter(), []
    for shift in SHIFTS:
        check(shift.limit)
        rows += measure(shift, wanted.runs, wanted.false_runs)
    text = page(rows, wanted.runs, wanted.false_runs)
    print(text, f"\n\n{time.perf_counter() - began:.0f} s")
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    if wanted.out is not None:
        write_between(wanted.out, BEGIN, END, text)
    for goal in (goals := missed(rows)):
        print(f"missed: {goal}", file=sys.stderr)
    return 1 if goals else 0


if __name__ == "__main__":
    sys.exit(main())
