"""How often the interval of a claim's difference covers the true one, and how often a true claim is found within.

    python benchmarks/claims.py

A model is asked the same fixed tasks twice: once by the publisher, once here. Each task has its own probability of
being solved, drawn from a beta distribution: `alike` tasks all have nearly the same, `mixed` ones differ, and `fixed`
ones are solved nearly always or nearly never. The published score is rounded to 0.1 points. `covered` is the share of
pairs whose interval holds the true difference, here 0; `within` is the share with that verdict at the default margin,
and `drawn` the same share if both scores counted as samples of other tasks. `refuted` is the share found `below` if the
model served here solves 10 points less. Exits with 1 if any coverage is below 94 %.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product

import numpy as np
from rich.console import Console
from rich.table import Table

from tierwise.analysis.claim_verdict import Comparison, verdict_of
from tierwise.spec.claims import MARGIN
from tierwise.stats.estimates import Estimate
from tierwise.stats.reproduction import Score, asked, difference

SUITES = {"aime": 30, "human-eval": 164, "gpqa-diamond": 198, "gsm8k": 1319}
SHAPES = {"alike": 100.0, "mixed": 2.0, "fixed": 0.2}
ASKED = ((1, 1), (1, 64), (8, 64))
SHARE, LOST, LEAST = 0.7, 0.10, 0.94


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--runs", type=int, default=4000)
    runs = options.parse_args().runs
    shown = Table("suite", "tasks", "asked here", "published", "covered", "within", "drawn", "refuted", box=None)
    worst = 1.0
    for (suite, tasks), (kind, shape), (ours, theirs) in product(SUITES.items(), SHAPES.items(), ASKED):
        rng = np.random.default_rng((tasks, ours, theirs, int(10 * shape)))
        chance = rng.beta(SHARE * shape, (1 - SHARE) * shape, tasks)
        low = np.clip(chance - LOST * chance / chance.mean(), 0, 1)
        found = [_pair(rng, chance, chance, ours, theirs) for _ in range(runs)]
        lost = [_pair(rng, low, chance, ours, theirs) for _ in range(runs)]
        covered = sum(_holds(one) for one, _ in found) / runs
        worst = min(worst, covered)
        within, drawn = ([_verdict(one[at]) for one in found].count("within") / runs for at in (0, 1))
        refuted = [_verdict(one) for one, _ in lost].count("below") / runs
        shown.add_row(
            suite,
            f"{tasks} {kind}",
            str(ours),
            str(theirs),
            *(f"{one:.1%}" for one in (covered, within, drawn, refuted)),
        )
    Console(width=120).print(shown)
    print(f"worst coverage: {worst:.1%}")
    return 0 if worst >= LEAST else 1


def _pair(rng: np.random.Generator, here: np.ndarray, there: np.ndarray, ours: int, theirs: int) -> list[Estimate]:
    """One difference on the same tasks, and the same one if both scores counted as samples of other tasks."""
    tasks = len(here)
    own = rng.binomial(ours, here).sum() / (ours * tasks)
    published = round(100 * rng.binomial(theirs, there).sum() / (theirs * tasks), 1) / 100
    same = difference(asked(own, ours * tasks), asked(published, theirs * tasks), tasks=tasks)
    drawn = difference(_drawn(own, tasks), _drawn(published, tasks), tasks=tasks)
    return [same, drawn]


def _drawn(share: float, tasks: int) -> Score:
    """A score whose tasks are drawn: repeats of a task are one."""
    return asked(share, tasks)


def _holds(found: Estimate) -> bool:
    """Whether the interval holds the true difference, 0."""
    assert found.interval is not None
    assert found.interval.high is not None
    return found.interval.low <= 0 <= found.interval.high


def _verdict(found: Estimate) -> str:
    assert found.interval is not None
    return verdict_of(Comparison(found, ""), MARGIN)[0]


if __name__ == "__main__":
    sys.exit(main())
