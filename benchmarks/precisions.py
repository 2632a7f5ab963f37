"""Cascades of one checkpoint: how well signals of a lower precision tell which answers a higher one would mend.

    python benchmarks/precisions.py [POOL.tar.xz] [--json FILE] [--out docs/evidence.md]

The pool has draws of one checkpoint at several precisions; the first deployment is the top. For every other one: how
often its draws are right; its points against the top, paired on tasks; its harm, the share of draws that are wrong
where the same draw of the top is right; and for each signal two AUROC values over all draws, with intervals over tasks
(Obuchowski 1997): of right against wrong draws, and of draws without harm against draws with harm. The second one is
what a route needs: an answer that the top gets wrong too is not worth passing on. `--out` writes the part of that page
between this program's markers anew.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from real_pools import POOLS, opened, publish
from signals import number
from tierwise.policies.signals import SIGNALS
from tierwise.stats.design import Sample
from tierwise.stats.discrimination import auroc
from tierwise.stats.estimates import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.pools.draws import Draw
    from tierwise.pools.reading import Pool
    from tierwise.pools.sources import Source

BEGIN, END = "<!-- benchmarks/precisions.py -->", "<!-- end of benchmarks/precisions.py -->"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """How one signal discriminates between the draws of a deployment."""

    name: str
    right: Estimate | None
    """AUROC of right against wrong draws."""
    harmless: Estimate | None
    """AUROC of draws without against those with harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A deployment against the top."""

    name: str
    draws: int
    right: Estimate | None
    points: Estimate | None
    harm: Estimate | None
    signals: list[Signal]


def shares(tasks: Sequence[Sequence[bool]]) -> list[float]:
    """Of each task, the mean over its draws."""
    return [sum(of) / len(of) for of in tasks]


def compared(pool: Pool, source: Source, top: Source) -> Precision:
    """A deployment against the top, or the top against another draw of itself."""
    own = source.key == top.key
    pairs: list[tuple[str, Draw, Draw]] = []
    tasks: list[tuple[list[bool], list[bool]]] = []
    for task in pool.tasks:
        lower, upper = task.draws[source.key], task.draws[top.key]
        count = min(len(lower), len(upper))
        chosen = [(lower[place], upper[(place + own) % count]) for place in range(count)]
        chosen = [(one, other) for one, other in chosen if one.correct is not None and other.correct is not None]
        if chosen:
            pairs += [(task.task.id, one, other) for one, other in chosen]
            tasks.append(([bool(one.correct) for one, _ in chosen], [bool(other.correct) for _, other in chosen]))
    names = [name for name, _, _ in pairs]
    sample = Sample.alone(len(tasks))
    harmful = [not one.correct and bool(other.correct) for _, one, other in pairs]
    lower_right, upper_right = shares([one for one, _ in tasks]), shares([other for _, other in tasks])
    found = []
    for name, signal in SIGNALS.items():
        values = [signal.value(one.part(one.count, logprobs=True).completion) for _, one, _ in pairs]
        kept = [place for place, value in enumerate(values) if value is not None]
        scores = [value for value in values if value is not None]
        units = [names[place] for place in kept]
        found.append(
            Signal(
                name=name,
                right=auroc(scores, [bool(pairs[place][1].correct) for place in kept], units),
                harmless=auroc(scores, [not harmful[place] for place in kept], units),
            )
        )
    found.sort(key=lambda one: -(one.harmless.value if one.harmless else 0.0))
    each = [[not one and other for one, other in zip(*of, strict=True)] for of in tasks]
    return Precision(
        name=source.deployment,
        draws=len(pairs),
        right=sample.share(lower_right, is_graded=True),
        points=None if own else sample.difference(lower_right, upper_right),
        harm=sample.share(shares(each), is_graded=True),
        signals=found,
    )


def percent(one: Estimate | None, *, signed: bool = False) -> str:
    if one is None:
        return "–"
    form = "+.1f" if signed else ".1f"
    ends = one.interval
    if ends is None or ends.high is None:
        return f"{100 * one.value:{form}}"
    return f"{100 * one.value:{form}} [{100 * ends.low:{form}}, {100 * ends.high:{form}}]"


def as_markdown(found: Sequence[Precision]) -> str:
    lines = [
        "| deployment | right, % | points against the top | harm, % | signal | AUROC, right draws | harmless draws |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        about = f"{one.name} | {percent(one.right)} | {percent(one.points, signed=True)} | {percent(one.harm)}"
        for signal in one.signals:
            if signal.right is None:
                continue
            right = number(signal.right.value, signal.right.interval)
            harmless = "–" if signal.harmless is None else number(signal.harmless.value, signal.harmless.interval)
            lines.append(f"| {about} | `{signal.name}` | {right} | {harmless} |")
            about = " | | | "
    return "\n".join(lines) + "\n"


def nothing(found: Sequence[Precision], path: Path) -> None:
    """This page has no figure."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "pool", type=Path, nargs="?", default=POOLS / "precisions" / "precisions.tar.xz", help="a packed pool"
    )
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--out", type=Path, help="the page whose part between the markers is written anew")
    wanted = parser.parse_args()
    wanted.plot = None
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(wanted.pool, Path(folder))
        top = pool.sources[0]
        found = [compared(pool, source, top) for source in pool.sources]
    publish(wanted, found, as_markdown(found), nothing, BEGIN, END)


if __name__ == "__main__":
    main()
