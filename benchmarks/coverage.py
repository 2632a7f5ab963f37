"""Coverage of the 95 % confidence intervals, over a grid of simulated workloads.

    python benchmarks/coverage.py                         the grid; about five minutes on one core
    python benchmarks/coverage.py --out docs/coverage.svg    the grid and its figure

Four intervals on four grids. Criteria: coverage of at least 92 % in every cell; in the repeats grid, coverage between
94 and 97 % in at least 95 % of the cells with n·p and n·(1-p) of at least 5. Exits with 1 if a criterion fails.

For each sample, a cell draws the number of tasks (or clusters) with each number of successes. The intervals depend on
nothing else, and the cost is the same for 10 tasks as for 2,000. The methods are symmetric in success and failure, so
p above 0.5 mirrors p below.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import vl_convert
from scipy import stats

from tierwise.stats.clusters import Floats, Shares, bounds, paired_bounds, shares
from tierwise.stats.repeats import at_least_one

FLOOR, LOW, HIGH, PROMISED = 0.92, 0.94, 0.97, 0.95

SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
TASKS = (10, 20, 50, 100, 200, 500, 1000, 2000)
CORRELATIONS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
REPEATS = (1, 2, 4, 8, 16)
_EDGE = 1e-9


@dataclass(frozen=True, slots=True)
class Cell:
    """One simulated workload, and the coverage of its interval."""

    grid: str
    what: str
    expected: float
    """The smaller of n·p and n·(1-p), minimised over all shares involved. For clusters, n is the effective n."""
    coverage: float

    @property
    def is_regular(self) -> bool:
        return self.expected >= 5 - _EDGE

    @property
    def is_in_band(self) -> bool:
        return LOW <= self.coverage <= HIGH


@dataclass(frozen=True, slots=True)
class Result:
    """The results of one grid."""

    grid: str
    cells: Sequence[Cell]

    @property
    def worst(self) -> Cell:
        return min(self.cells, key=lambda cell: cell.coverage)

    @property
    def regular(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.is_regular]

    @property
    def in_band(self) -> float:
        return sum(cell.is_in_band for cell in self.regular) / len(self.regular)

    @property
    def is_met(self) -> bool:
        return self.worst.coverage >= FLOOR and (self.grid != "repeats" or self.in_band >= PROMISED)


# ── the models ──────────────────────────────────────────────────────────
@functools.cache
def successes(p: float, icc: float, members: int) -> Floats:
    """Probability of each number of successes in a cluster: beta-binomial with intra-cluster correlation `icc`."""
    counts = np.arange(members + 1)
    if icc == 0 or p in {0, 1}:
        return np.asarray(stats.binom.pmf(counts, members, p))
    scale = 1 / icc - 1
    return np.asarray(stats.betabinom.pmf(counts, members, p * scale, (1 - p) * scale))


@functools.cache
def by_difficulty(p: float, icc: float, members: int) -> Floats:
    """Probability of each number of successes, at 400 equally likely difficulties."""
    at, scale, counts = (np.arange(400) + 0.5) / 400, 1 / icc - 1, np.arange(members + 1)[:, None]
    chance = np.clip(stats.beta.ppf(at, p * scale, (1 - p) * scale), _EDGE, 1 - _EDGE)
    return np.asarray(stats.binom.pmf(counts, members, chance))


def joint(p: tuple[float, float], icc: float, shared: float, members: int) -> Floats:
    """Probability of each pair of counts, for two variants. `shared` is the extent to which task difficulties agree."""
    if icc == 0:
        return np.outer(successes(p[0], 0, members), successes(p[1], 0, members))
    one, other = (by_difficulty(q, icc, members) for q in p)
    apart = np.outer(one.mean(axis=1), other.mean(axis=1))
    return np.asarray(shared * one @ other.T / one.shape[1] + (1 - shared) * apart)


def observed(drawn: Floats, values: Floats, members: int, *, is_graded: bool = False) -> Shares:
    """The sample shares, from the number of clusters with each value."""
    groups = int(drawn[0].sum())
    totals = drawn @ values
    scatter = np.maximum(drawn @ values**2 - totals**2 / groups, 0.0)
    return shares(totals, scatter, np.full(groups, float(members)), is_graded=is_graded)


def held(ends: tuple[Floats, Floats], truth: float) -> float:
    low, high = ends
    return float(((low <= truth + _EDGE) & (truth <= high + _EDGE)).mean())


# ── the grids ───────────────────────────────────────────────────────────
def repeats_grid(draws: int, rng: np.random.Generator, tasks: Sequence[int] = TASKS) -> Iterator[Cell]:
    """A share of n tasks with k repeats each. One repeat has no correlation, so it occurs once."""
    for n, k, icc, p in itertools.product(tasks, REPEATS, CORRELATIONS, SHARES):
        if k > 1 or icc == 0:
            drawn = rng.multinomial(n, successes(p, icc, k), size=draws).astype(float)
            covered = held(bounds(observed(drawn, np.arange(k + 1.0), k)), p)
            yield Cell("repeats", f"n {n}, repeats {k}, icc {icc}, p {p}", n * p, covered)


def clusters_grid(draws: int, rng: np.random.Generator, groups: Sequence[int] = (5, 10, 20, 50, 100)) -> Iterator[Cell]:
    """A share of clustered tasks, one repeat each."""
    for g, m, icc, p in itertools.product(groups, (2, 5, 10, 20), CORRELATIONS, SHARES):
        drawn = rng.multinomial(g, successes(p, icc, m), size=draws).astype(float)
        covered = held(bounds(observed(drawn, np.arange(m + 1.0), m)), p)
        effective = g * m / (1 + (m - 1) * icc)
        yield Cell("clusters", f"clusters {g}, tasks in each {m}, icc {icc}, p {p}", effective * p, covered)


def pairs_grid(draws: int, rng: np.random.Generator, tasks: Sequence[int] = (10, 20, 50, 200, 1000)) -> Iterator[Cell]:
    """A difference of two variants on the same n tasks, with k repeats each."""
    worlds = [(0.0, 0.0), *itertools.product((0.1, 0.3, 0.5), (0.0, 0.5, 1.0))]
    for n, k, (icc, shared), q, gain in itertools.product(
        tasks, (1, 2, 4, 8), worlds, (0.01, 0.05, 0.2, 0.5), (0.0, 0.02, 0.1, 0.3)
    ):
        table = joint((q + gain, q), icc, shared, k)
        table /= table.sum()
        first, second = (side.ravel().astype(float) for side in np.indices(table.shape))
        drawn = rng.multinomial(n, table.ravel(), size=draws).astype(float)
        one, other = observed(drawn, first, k), observed(drawn, second, k)
        cross = drawn @ (first * second) - (drawn @ first) * (drawn @ second) / n
        truth = float(((first - second) * table.ravel()).sum()) / k
        expected = n * min(q, 1 - q - gain)
        what = f"n {n}, repeats {k}, icc {icc}, shared {shared}, p {q + gain:g} and {q}"
        yield Cell("pairs", what, expected, held(paired_bounds(one, other, cross), truth))


def pass_at_grid(draws: int, rng: np.random.Generator, tasks: Sequence[int] = TASKS) -> Iterator[Cell]:
    """pass@k and pass^k of n tasks with 16 repeats each."""
    repeats = 16
    for n, k, icc, p, name in itertools.product(
        tasks, (2, 4, 8), (0.0, 0.1, 0.3, 0.5), (*SHARES, 0.7, 0.9), ("pass@", "pass^")
    ):
        values = np.array([_value(name, c, repeats, k) for c in range(repeats + 1)])
        chance = successes(p, icc, repeats)
        truth = float(chance @ values)
        drawn = rng.multinomial(n, chance, size=draws).astype(float)
        covered = held(bounds(observed(drawn, values * repeats, repeats, is_graded=True)), truth)
        yield Cell("pass@k", f"n {n}, {name}{k}, icc {icc}, p {p}", n * min(truth, 1 - truth), covered)


def _value(name: str, solved: int, repeats: int, k: int) -> float:
    return at_least_one(solved, repeats, k) if name == "pass@" else math.comb(solved, k) / math.comb(repeats, k)


def measure(draws: int, seed: int = 1) -> list[Result]:
    rng = np.random.default_rng(seed)
    grids = (repeats_grid(draws, rng), clusters_grid(draws, rng), pairs_grid(draws, rng), pass_at_grid(draws, rng))
    return [Result(cells[0].grid, cells) for cells in map(list, grids)]


# ── the figure ───────────────────────────────────────────────────────
def figure(results: Sequence[Result]) -> str:
    """One panel per grid: the number of cells by expected count and coverage."""
    panels = [_panel(result) for result in results]
    chart = alt.vconcat(alt.hconcat(*panels[:2]), alt.hconcat(*panels[2:])).configure(background="white")
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))


def _panel(result: Result) -> alt.LayerChart | alt.FacetChart:
    counted = Counter(_bin(cell) for cell in result.cells)
    tiles = [
        {"x": 10 ** (x / 5), "x2": 10 ** ((x + 1) / 5), "y": y / 400, "y2": (y + 1) / 400, "cells": n}
        for (x, y), n in counted.items()
    ]
    x = alt.X("x:Q", scale=alt.Scale(type="log", domain=[0.01, 1000]), title="successes or failures to expect")
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0.9, 1.0]), axis=alt.Axis(format=".0%"), title="held the truth")
    colour = alt.Color("cells:Q", scale=alt.Scale(type="log", scheme="blues"), legend=None)
    area = alt.Chart(_data([{"x": 5, "x2": 1000, "y": LOW, "y2": HIGH}])).mark_rect(color="#2f9e62", opacity=0.18)
    heat = alt.Chart(_data(tiles)).mark_rect(aria=False).encode(color=colour)
    floor = alt.Chart(_data([{"y": FLOOR}])).mark_rule(strokeDash=[4, 3], color="#c2453f").encode(y=y)
    ends = {"x": x, "x2": "x2:Q", "y": y, "y2": "y2:Q"}
    return alt.layer(area.encode(**ends), heat.encode(**ends), floor).properties(
        width=330, height=190, title=_title(result)
    )


def _bin(cell: Cell) -> tuple[int, int]:
    """Bins of a fifth of a decade, and of a quarter of a point."""
    x = math.floor(5 * math.log10(min(999.0, max(0.01, cell.expected))) + _EDGE)
    return x, min(399, math.floor(400 * max(0.9, cell.coverage) + _EDGE))


def _data(values: list[dict[str, Any]]) -> alt.Data:
    return alt.Data(values=values)  # type: ignore[no-untyped-call]


def _title(result: Result) -> str:
    names = {
        "repeats": "a share, tasks × repeats",
        "clusters": "a share, clusters of tasks",
        "pairs": "a paired difference",
        "pass@k": "pass@k and pass^k",
    }
    return f"{names[result.grid]}: {result.in_band:.1%} in the band"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5_000, help="samples per cell")
    parser.add_argument("--out", type=Path, help="write the figure to this file, as SVG")
    options = parser.parse_args()
    began = time.monotonic()
    results = measure(options.draws)
    for result in results:
        regular = result.regular
        low, high = (
            sum(test) / len(regular)
            for test in ([cell.coverage < LOW for cell in regular], [cell.coverage > HIGH for cell in regular])
        )
        print(
            f"{result.grid:9} {len(result.cells):5} cells, worst {result.worst.coverage:.3f} ({result.worst.what}); "
            f"of {len(regular)} with n·p ≥ 5: {result.in_band:.1%} within 94 to 97 %, {low:.1%} below, {high:.1%} above"
        )
    if options.out:
        options.out.write_text(figure(results), encoding="utf-8")
    is_met = all(result.is_met for result in results)
    print(f"{'all criteria hold' if is_met else 'a criterion fails'}, {time.monotonic() - began:.0f} s")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
