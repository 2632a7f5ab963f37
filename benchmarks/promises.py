"""Whether certified promises hold, and what they leave of the saving, on populations whose risk is known.

    python benchmarks/promises.py [--splits 500] [--json FILE] [--plot FILE] [--out docs/certificates.md]

A route serves a cheap tier's answer where a signal reaches a threshold, and asks the reference elsewhere. Each split
draws tasks on which the signal and its thresholds are chosen, and other tasks on which they are certified. A promise is
broken if the risk in the whole population is above the limit. All rules get the same thresholds:

- *certificate*: `tierwise.tuning.certify` at 95 %: a fixed sequence of tests, from the strictest threshold on.
- *as independent*: the exact test in a fixed sequence, with several draws of a task, the tasks of a cluster, or
  weighted tasks taken as independent equal ones.
- *threshold*: the loosest with a calibration risk within the limit.
- *firstpass*: its rule (`conformal.rs` of firstpass 0.9): the loosest threshold at which the share of wrong answers
  among the served, plus Hoeffding's bound, is within the limit. It promises that share, and is judged by it.
- *Hoeffding*: the fixed-sequence test of harm by Hoeffding's bound.

Savings are shares of the oracle's, which knows the population. A pass of the cheap tier costs a tenth of one of the
reference. The *ceiling* is the share that no valid certificate can exceed (benchmarks/ceilings.py). `--quick` takes 40
splits of few cases.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from ceilings import ceiling
from populations import SYNTHETIC, Floats, Population, Truth, joined, recorded
from real_pools import POOLS, publish
from tierwise.stats.promises import fixed_sequence
from tierwise.tuning.certify import Promises, certify
from tierwise.tuning.evaluated import Evaluated, Numbers
from tierwise.tuning.space import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BEGIN, END = "<!-- benchmarks/promises.py -->", "<!-- end of benchmarks/promises.py -->"
LIMITS = (0.01, 0.02, 0.05, 0.10)
DELTA = 0.05
COUNTS, POOL_COUNT = (150, 330, 500, 1000), 300
TUNING, POOL_TUNING = 150, 200
"""Tasks on which signal and thresholds are chosen."""
STEPS = QUANTILES
"""Thresholds of a signal, as many as `tierwise tune` tries: quantiles of its scores on the tuning split, from the
strictest on."""
PRICE = 0.1
"""Of a pass of the cheap tier, relative to the reference's."""

GOAL = 0.6
"""Of the oracle's saving."""
RULES = ("certificate", "as independent", "threshold", "firstpass", "Hoeffding")

Rule = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one rule did on all splits of one case."""

    population: str
    rule: Rule
    limit: float
    tasks: int
    splits: int
    broken: int
    served: float
    """Mean share of traffic that is served cheaply, in the population."""
    oracle: float
    """The share that the oracle serves."""
    saving: float
    """Mean saving against the reference."""
    oracle_saving: float
    ceiling: float | None
    """Share of the oracle's saving that any valid certificate can keep; None if the oracle saves nothing."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % for the share of broken promises, exact."""
        found = stats.binomtest(self.broken, self.splits).proportion_ci(0.95, method="exact")
        return float(found.low), float(found.high)

    @property
    def share(self) -> float | None:
        """Of the oracle's saving; None if the oracle saves nothing."""
        return self.saving / self.oracle_saving if self.oracle_saving > 0 else None


# ── one split ───────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The same thresholds on the tasks to choose on and on those to certify on."""

    steps: list[tuple[int, float]]
    """Signals with thresholds, by signal, and from strict to loose."""
    evaluated: Evaluated
    tuning: Numbers
    calibration: Numbers
    served: Floats
    """Steps × calibration tasks × draws: 1 where the route serves this draw."""
    harmed: Floats
    """The same: 1 where this harms, beside one draw of the reference."""
    wrong: Floats
    """Calibration tasks × draws."""

    def path(self, limit: float) -> list[int]:
        """The steps of one signal, from strict to loose: of the signal that serves most within the limit on the tuning
        tasks.
        """
        risk = self.evaluated.mean(self.evaluated.harm, self.tuning)
        kept = np.where(risk <= limit, self.evaluated.mean(self.evaluated.kept, self.tuning), 0.0)
        best = self.steps[int(kept.argmax())][0]
        return [place for place, (signal, _) in enumerate(self.steps) if signal == best]


def split_of(population: Population, tuning: int, tasks: int, number: int) -> Split:
    generator = np.random.default_rng((number, tasks))
    chosen, sample = population.split(generator, tuning, tasks)
    steps = [
        (signal, cut)
        for signal, scores in enumerate(chosen.scores)
        for cut in dict.fromkeys(np.quantile(scores, 1 - np.arange(1, STEPS + 1) / STEPS, method="lower").tolist())
        if np.isfinite(cut)
    ]
    both = joined(chosen, sample)
    served = np.array([both.served(*one) for one in steps], dtype=float)
    once = (generator.random(both.harm.shape) < both.harm).astype(float)
    kept = served.mean(axis=2)
    unused = np.zeros_like(kept)
    evaluated = Evaluated(
        names=tuple(f"{signal} {cut:g}" for signal, cut in steps),
        tasks=tuple(map(str, range(both.tasks))),
        units=both.clusters if both.clusters[0] >= 0 else np.arange(both.tasks),
        weights=both.weights,
        correct=unused,
        harm=(served * both.harm).mean(axis=2),
        gain=unused,
        first_harm=served[:, :, 0] * once[:, 0],
        disagreement=unused,
        kept=kept,
        kept_wrong=(served * both.wrong).mean(axis=2),
        dollars=PRICE + 1 - kept,
        seconds=np.zeros_like(served),
    )
    return Split(
        steps=steps,
        evaluated=evaluated,
        tuning=np.arange(chosen.tasks),
        calibration=np.arange(chosen.tasks, both.tasks),
        served=served[:, chosen.tasks :],
        harmed=served[:, chosen.tasks :] * once[chosen.tasks :],
        wrong=sample.wrong,
    )


def within(risks: Floats, limit: float) -> int:
    """How many there are up to the last that is within the limit."""
    found = np.flatnonzero(risks <= limit)
    return int(found[-1]) + 1 if len(found) else 0


def decisions(population: Population, split: Split, limit: float, seed: int) -> Iterator[tuple[Rule, int | None]]:
    """The step that each rule serves, if any."""
    path = split.path(limit)
    promises = Promises(limit=limit, confidence=1 - DELTA)

    def last(count: int) -> int | None:
        return path[count - 1] if count else None

    found = certify(split.evaluated, split.tuning, split.calibration, promises, seed=seed)
    yield "certificate", None if found is None else found.setting
    harmed, served = split.harmed[path], split.served[path]
    _, tasks, draws = harmed.shape
    if draws > 1 or not population.is_plain:
        p_values = special.bdtr(harmed.sum(axis=(1, 2)), tasks * draws, limit)
        yield "as independent", last(fixed_sequence(p_values, DELTA))
    yield "threshold", last(within(harmed.mean(axis=(1, 2)), limit))
    count = served[:, :, 0].sum(axis=1)
    wrong = (served * split.wrong)[:, :, 0].sum(axis=1)
    slack = np.sqrt(math.log(1 / DELTA) / (2 * np.maximum(count, 1)))
    yield "firstpass", last(within(wrong / np.maximum(count, 1) + slack, limit))
    if population.is_plain:
        risk = harmed[:, :, 0].mean(axis=1)
        yield "Hoeffding", last(fixed_sequence(np.exp(-2 * tasks * np.maximum(0, limit - risk) ** 2), DELTA))


# ── all splits ──────────────────────────────────────────────────────────
def measured(population: Population, tuning: int, tasks: int, splits: int) -> list[Result]:
    """Every rule and limit on the same splits."""
    broken: dict[tuple[float, Rule], int] = defaultdict(int)
    served: dict[tuple[float, Rule], float] = defaultdict(float)
    saved: dict[tuple[float, Rule], float] = defaultdict(float)
    most = {limit: ceiling(population, limit, tasks, price=PRICE, delta=DELTA) for limit in LIMITS}
    nothing = Truth(risk=0.0, served=0.0, selective=0.0)
    for number in range(splits):
        split = split_of(population, tuning, tasks, number)
        for limit in LIMITS:
            for rule, step in decisions(population, split, limit, number):
                truth = nothing if step is None else population.truth(*split.steps[step])
                risk = truth.selective if rule == "firstpass" else truth.risk
                broken[limit, rule] += risk > limit + 1e-12
                served[limit, rule] += truth.served / splits
                saved[limit, rule] += max(0.0, truth.served - PRICE) / splits
    return [
        Result(
            population=population.name,
            rule=rule,
            limit=limit,
            tasks=tasks,
            splits=splits,
            broken=count,
            served=served[limit, rule],
            oracle=population.oracle(limit),
            saving=saved[limit, rule],
            oracle_saving=max(0.0, population.oracle(limit) - PRICE),
            ceiling=most[limit],
        )
        for (limit, rule), count in broken.items()
    ]


def measure(splits: int, *, is_quick: bool = False) -> list[Result]:
    """All cases, each on a core."""
    pools = [one for packed in sorted(POOLS.glob("wide-*.tar.xz")) for one in recorded(packed)]
    synthetic: Sequence[Population] = SYNTHETIC
    real: Sequence[Population] = pools[:1] if is_quick else pools
    cases = [
        *((one, TUNING, n) for one in synthetic for n in ((330,) if is_quick else COUNTS)),
        *((one, POOL_TUNING, POOL_COUNT) for one in real),
    ]
    with ProcessPoolExecutor() as workers:
        several = workers.map(measured, *zip(*((*case, splits) for case in cases), strict=True))
        return [one for results in several for one in results]


# ── the page ────────────────────────────────────────────────────────────
def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def cell(found: Result | None) -> str:
    if found is None:
        return ""
    low, high = found.interval
    broken = f"{100 * found.broken / found.splits:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    if found.broken / found.splits > DELTA:
        broken = f"**{broken}**"
    return f"{broken}; {percent(found.share)}"


def verdict(found: Sequence[Result]) -> list[str]:
    """Whether the certificates reach the goals, in words."""
    ours = [one for one in found if one.rule == "certificate"]
    worst = max(ours, key=lambda one: one.broken)
    low, high = worst.interval
    broken = (
        f"**Broken promises.** Of {len(ours)} cases, the certificate broke its promise in at most "
        f"{100 * worst.broken / worst.splits:.1f} % of {worst.splits} splits [{100 * low:.1f}, {100 * high:.1f}] "
        f"({worst.population}, {worst.limit:.0%}, {worst.tasks} tasks); {100 * DELTA:.0f} % are allowed."
    )
    goal = (
        f"**Savings.** The goal is {GOAL:.0%} of the oracle's with 500 synthetic tasks, and with 300 of a pool. After "
        "the stroke is what any valid certificate can keep at most:"
    )
    lines = [
        broken,
        "",
        goal,
        "",
        "| population | " + " | ".join(f"{limit:.0%}" for limit in LIMITS) + " |",
        "|---" * (len(LIMITS) + 1) + "|",
    ]
    for name in dict.fromkeys(one.population for one in ours):
        row = []
        for limit in LIMITS:
            at = [one for one in ours if (one.population, one.limit) == (name, limit) and one.tasks in (500, 300)]
            share = at[0].share if at else None
            shown = f"**{percent(share)}**" if share is not None and share >= GOAL else percent(share)
            row.append(f"{shown} / {percent(at[0].ceiling if at else None)}")
        lines.append(f"| {name} | {' | '.join(row)} |")
    return lines


def as_markdown(found: Sequence[Result]) -> str:
    lines = [
        f"{found[0].splits} splits of each case.",
        "",
        *verdict(found),
    ]
    for name in dict.fromkeys(one.population for one in found):
        of = [one for one in found if one.population == name]
        rules = [rule for rule in RULES if any(one.rule == rule for one in of)]
        lines += ["", f"### {name[0].upper()}{name[1:]}", ""]
        lines += [
            f"| promise | tasks | oracle serves | served | ceiling | {' | '.join(rules)} |",
            "|---" * (len(rules) + 5) + "|",
        ]
        for limit in LIMITS:
            for tasks in dict.fromkeys(one.tasks for one in of):
                at = {one.rule: one for one in of if (one.limit, one.tasks) == (limit, tasks)}
                ours = at["certificate"]
                cells = " | ".join(cell(at.get(rule)) for rule in rules)
                sizes = f"{limit:.0%} | {tasks} | {percent(ours.oracle)} | {percent(ours.served)}"
                lines.append(f"| {sizes} | {percent(ours.ceiling)} | {cells} |")
    return "\n".join(lines) + "\n"


def plot(found: Sequence[Result], path: Path) -> None:
    import altair as alt  # noqa: PLC0415 - only for the plot

    rows = [
        {"population": one.population, "rule": one.rule, "promise": f"{one.limit:.0%}"}
        | {"broken": 100 * one.broken / one.splits, "saving": 100 * (one.share or 0.0)}
        | {"ceiling": 100 * (one.ceiling or 0.0)}
        for one in found
        if one.tasks in (500, 300)
    ]
    values = alt.InlineData(values=rows)
    marks = (
        alt.Chart()
        .mark_point(filled=True, size=60)
        .encode(
            x=alt.X("broken:Q", title="% of promises broken"),
            y=alt.Y("saving:Q", title="% of the oracle's saving"),
            color=alt.Color("rule:N", title="rule", sort=list(RULES)),
            shape=alt.Shape("promise:N", title="promise", sort=[f"{limit:.0%}" for limit in LIMITS]),
        )
    )
    allowed = alt.Chart().mark_rule(strokeDash=[4, 3]).encode(x=alt.datum(100 * DELTA))
    most = (
        alt.Chart()
        .transform_filter(alt.datum.rule == "certificate")
        .mark_tick(orient="horizontal", thickness=2, width=14, opacity=0.8)
        .encode(
            x=alt.datum(2),
            y="ceiling:Q",
            color=alt.value("black"),
            tooltip=["promise:N", "ceiling:Q"],
        )
    )
    alt.layer(allowed, most, marks, data=values).properties(width=200, height=180).facet(
        alt.Facet("population:N", title=None, sort=list(dict.fromkeys(one.population for one in found))), columns=4
    ).save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="40 splits of few cases")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--plot", type=Path, help="draw the results into this SVG file")
    parser.add_argument("--out", type=Path, help="the page whose part between the markers is written anew")
    wanted = parser.parse_args()
    found = measure(40 if wanted.quick else wanted.splits, is_quick=wanted.quick)
    publish(wanted, found, as_markdown(found), plot, BEGIN, END)


if __name__ == "__main__":
    main()
