"""What `tierwise tune` certifies on random splits of the pools of benchmarks/certified.py, and whether it holds.

    python benchmarks/certified_splits.py [POOL …] [--splits 20] [--json FILE] [--out docs/certificates.md]

Each split is searched and certified with 8 orders of the draws, as `tune` does. *Exact test* is the same without bets:
on one order of each task's draws. The truth is the mean over all tasks and orders of the pool: a promise is broken if
the harm of the certified setting is above the limit there. Savings are shares of the oracle's, which takes the cheapest
setting of the split's space that keeps the promise on all tasks. Differences are paired over splits, with the 95 %
interval of their mean (t). Splits share the tasks of a pool, half of which are calibration tasks, so promises are
broken less often here than with new tasks (`benchmarks/promises.py`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy import stats

from pages import write_between
from tierwise.tuning import chains, evaluate
from tierwise.tuning.certify import Promises, certify
from tierwise.tuning.decide import cheaper
from tierwise.tuning.spending import unbounded
from tierwise.tuning.split import TaskSplit, split
from tuning_space import Case, Remembering, majority, opened

BEGIN, END = "<!-- benchmarks/certified_splits.py -->", "<!-- end of benchmarks/certified_splits.py -->"
LIMITS = (0.02, 0.05, 0.10)
ORDERS = 8
VOTES = {"sums": 11, "chains": 11, "triples": 7, "decimals": 7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One pool with one limit."""

    pool: str
    limit: float
    splits: int
    oracle: float
    """Mean saving of the oracle."""
    exact: float
    """Mean saving of what the exact test certifies, as a share of the oracle's."""
    saving: float
    """The same with the test that is rehearsed."""
    gain: tuple[float, float]
    """95 % interval of the difference of both."""
    bets: float
    """Share of splits in which the rehearsal chooses a bet."""
    broken: tuple[int, int]
    """Promises that are broken: with the exact test alone, and with the test that is rehearsed."""


@contextmanager
def tests(*, bets: bool) -> Iterator[None]:
    """With bets, as the product, or without."""
    with patch.object(chains, "BETS", chains.BETS if bets else ()):
        yield


def of_split(searched: evaluate.Searched, parts: TaskSplit, limit: float) -> dict[str, float]:
    """Savings and broken promises of one split."""
    evaluated, tasks = searched.evaluated, np.concatenate([parts.tuning, parts.calibration, parts.test])
    dollars, harm = evaluated.mean(evaluated.dollars, tasks), evaluated.mean(evaluated.harm, tasks)
    saving = 1 - dollars / dollars[searched.index(searched.space.reference)]
    found = {"oracle": max(0.0, float(saving[harm <= limit].max()))}
    for name, bets in (("exact", False), ("product", True)):
        with tests(bets=bets):
            one = certify(
                evaluated, parts.tuning, parts.calibration, Promises(limit=limit), candidates=cheaper(searched, parts)
            )
        found[name] = 0.0 if one is None else max(0.0, float(saving[one.setting]))
        found[f"{name} broken"] = float(one is not None and harm[one.setting] > limit)
        found[f"{name} bets"] = float(one is not None and one.tested.method == "betting")
    return found


def of_pool(name: str, splits: int) -> list[Row]:
    """All limits of one pool."""
    tiers = {"fast": ("fast", "single"), "max": ("fast", majority(VOTES[name]))}
    case = Case(pool=f"certified/{name}", tiers=tiers, reference="max", promises=Promises(limit=LIMITS[0]))
    found: defaultdict[float, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(case, case.tiers, Path(folder))
        with Remembering(unbounded(pool), pool.plan.file.prices) as replayer:
            for seed in range(splits):
                parts = split([one.task for one in pool.tasks], seed=seed)
                searched = evaluate.search_space(replayer, parts, reference=case.reference, orders=ORDERS)
                for limit in LIMITS:
                    found[limit].append(of_split(searched, parts, limit))
                print(".", end="", flush=True)
    print()
    return [row(name, limit, several) for limit, several in found.items()]


def row(pool: str, limit: float, several: Sequence[dict[str, float]]) -> Row:
    mean = {name: float(np.mean([one[name] for one in several])) for name in several[0]}
    differences = np.array([one["product"] - one["exact"] for one in several]) / mean["oracle"]
    half = float(stats.t.ppf(0.975, len(several) - 1) * stats.sem(differences))
    return Row(
        pool=pool,
        limit=limit,
        splits=len(several),
        oracle=mean["oracle"],
        exact=mean["exact"] / mean["oracle"],
        saving=mean["product"] / mean["oracle"],
        gain=(float(differences.mean()) - half, float(differences.mean()) + half),
        bets=mean["product bets"],
        broken=(
            int(sum(one["exact broken"] for one in several)),
            int(sum(one["product broken"] for one in several)),
        ),
    )


def as_markdown(rows: Sequence[Row]) -> str:
    lines = [
        "| pool | promise | oracle saves | exact test | rehearsed test | difference | bets in | broken promises |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        low, high = one.gain
        said = "none in any split" if low == high == 0 else f"[{100 * low:+.0f}, {100 * high:+.0f}] points"
        lines.append(
            f"| {one.pool} | {one.limit:.0%} | {one.oracle:.0%} | {one.exact:.0%} | {one.saving:.0%} | {said} | "
            f"{one.bets:.0%} | {one.broken[0]} and {one.broken[1]} of {one.splits} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="*", metavar="POOL", help=f"of {', '.join(VOTES)}; all by default")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--out", type=Path, help="write the table into this page")
    wanted = parser.parse_args()
    if unknown := sorted(set(wanted.pools) - set(VOTES)):
        parser.error(f"no pool {', '.join(unknown)}; there are {', '.join(VOTES)}")
    if wanted.splits < 2:
        parser.error("an interval needs at least 2 --splits")
    rows = [one for name in wanted.pools or VOTES for one in of_pool(name, wanted.splits)]
    page = as_markdown(rows)
    print(page)
    if wanted.json:
        wanted.json.write_text(json.dumps([asdict(one) for one in rows], indent=1), encoding="utf-8")
    if wanted.out:
        write_between(wanted.out, BEGIN, END, page)


if __name__ == "__main__":
    main()
