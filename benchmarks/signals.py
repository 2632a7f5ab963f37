"""How well signals of confidence tell right from wrong answers, on recorded pools: AUROC with intervals.

    python benchmarks/signals.py [POOL.tar.xz …] [--json FILE] [--out docs/evidence.md]

For every model of every pool, as `tierwise pool calibrate` measures them: over all answers, with intervals over
questions (Obuchowski 1997); within questions, with a bootstrap over questions; the calibration error of isotonic
regression on other questions; and what a logistic regression over all signals adds to the best one, out of sample.
`--out` writes the part of that page between this program's markers anew.
"""

from __future__ import annotations

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from real_pools import POOLS, opened, publish
from tierwise.pools.calibrating import Calibrated, calibrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.estimates import Interval

BEGIN, END = "<!-- benchmarks/signals.py -->", "<!-- end of benchmarks/signals.py -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Of one pool."""

    name: str
    tasks: int
    found: list[Calibrated]


def measure(packed: Path) -> Signals:
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(packed, Path(folder))
        return Signals(
            name=packed.name.removesuffix(".tar.xz").replace("-", " "), tasks=len(pool.tasks), found=calibrate(pool)
        )


def number(value: float | None, interval: Interval | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    form = "+.3f" if signed else ".3f"
    if interval is None:
        return format(value, form)
    high = 1.0 if interval.high is None else interval.high
    return f"{value:{form}} [{interval.low:{form}}, {high:{form}}]"


def as_markdown(pools: Sequence[Signals]) -> str:
    lines = [
        "| pool | model | right | signal | AUROC of all answers | AUROC within questions | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    learned = [
        "",
        "| pool | model | best signal | combination | gain, out of sample | used |",
        "|---|---|---|---|---|---|",
    ]
    for pool in pools:
        for one in pool.found:
            first = True
            several = [signal for signal in one.signals if signal.overall is not None]
            for signal in sorted(several, key=lambda found: -(found.overall.value if found.overall else 0.0)):
                of = signal.overall
                assert of is not None
                share = sum(part.answers * part.right for part in signal.reliability) / max(1, signal.answers)
                about = f"{pool.name}, {pool.tasks} tasks | {one.deployment} | {share:.0%}" if first else " | | "
                error = "–" if signal.calibration_error is None else f"{signal.calibration_error:.3f}"
                within = number(signal.auroc, signal.interval)
                lines.append(f"| {about} | `{signal.signal}` | {number(of.value, of.interval)} | {within} | {error} |")
                first = False
            combined = one.combination
            if combined is None or combined.auroc is None or combined.gain is None:
                continue
            gain = number(combined.gain.value, combined.gain.interval, signed=True)
            learned.append(
                f"| {pool.name} | {one.deployment} | `{combined.best}` | "
                f"{number(combined.auroc.value, combined.auroc.interval)} | {gain} | "
                f"{'no' if combined.why_not else 'yes'} |"
            )
    return "\n".join([*lines, *learned]) + "\n"


def nothing(pools: Sequence[Signals], path: Path) -> None:
    """This page has no figure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path, nargs="*", help="packed pools; default: all of benchmarks/pools")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--out", type=Path, help="the page whose part between the markers is written anew")
    wanted = parser.parse_args()
    wanted.plot = None
    with ProcessPoolExecutor() as workers:
        pools = list(workers.map(measure, wanted.pools or sorted(POOLS.glob("*.tar.xz"))))
    publish(wanted, pools, as_markdown(pools), nothing, BEGIN, END)


if __name__ == "__main__":
    main()
