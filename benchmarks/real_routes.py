"""Routes from a cheap to a reference model on recorded pools: points against cost.

    python benchmarks/real_routes.py [POOL.tar.xz …] [--orders 24] [--json FILE] [--plot FILE] [--out docs/evidence.md]

Without names, all of benchmarks/pools that have two models. A route asks the cheap model, and the reference if a signal
does not accept the answer. Its threshold is chosen on one half of the tasks: the cheapest of nine quantiles of the
signal with which the route loses no more than a stated number of points there. It is evaluated on the other half, and
the other way round. A task's value is its mean over orders of its draws, and intervals are over tasks, paired with the
reference alone. The reference costs 3.1 times as much per token, the ratio of parameters, and in a second table 10
times. `--out` writes the part of that page between this program's markers anew.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from real_pools import POOLS, drawn, opened, points, publish, setting
from tierwise.ledger.prices import Price
from tierwise.policies.signals import SIGNALS
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.pools.results import SettingResult, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool

BEGIN, END = "<!-- benchmarks/real_routes.py -->", "<!-- end of benchmarks/real_routes.py -->"
RATIOS = (3.1, 10.0)
"""Price of the reference relative to the cheap model: 1.54 to 0.49 billion parameters, and a larger one."""
SIGNALS_TRIED = ("span_probability", "margin", "tail_confidence", "entropy")
QUANTILES = 9
LOSSES = (1.0, 2.0)
"""Points that a route may lose on the half of the tasks on which its threshold is chosen."""
SMALL, BIG = "cheap model alone", "reference alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """All that the page says about one pool."""

    name: str
    ratio: float
    tasks: int
    draws: int
    found: list[SettingResult]
    curves: dict[str, list[SettingResult]]
    """For each signal, the results of its thresholds on all tasks, for the plot."""

    def only(self, name: str) -> SettingResult:
        return next(one for one in self.found if one.name == name)


def prices(ratio: float) -> dict[str, Price]:
    """A prompt token costs a fifth of a completion token, and a cached one a tenth of that."""
    return {
        name: Price(completion=price, prompt=price / 5, cached=price / 50)
        for name, price in (("cheap", 1.0), ("reference", ratio))
    }


def thresholds(pool: Pool, signal: str) -> list[float]:
    """Quantiles of the signal over the draws of the cheap model, as in a config file."""
    value = SIGNALS[signal].value
    levels = [
        level
        for task in pool.tasks
        for draw in drawn(pool, task)
        if (level := value(draw.part(draw.count, logprobs=True).completion)) is not None
    ]
    sign = -1 if signal == "entropy" else 1  # a config file has the entropy itself
    cuts = statistics.quantiles(levels, n=QUANTILES + 1)
    return sorted({round(max(0.0, sign * cut), 4) for cut in cuts})


def route(pool: Pool, name: str, signals: Sequence[dict[str, Any]] | None) -> Setting:
    given = {} if signals is None else {"signals": list(signals)}
    return setting(pool, name, {"cascade": {"tiers": ["cheap", "reference"], **given}}, tier="reference")


def halves(actions: Sequence[Replayed]) -> tuple[list[Replayed], list[Replayed]]:
    """By every other task."""
    return [one for one in actions if one.task % 2 == 0], [one for one in actions if one.task % 2]


def mean(actions: Sequence[Replayed], name: str) -> float:
    return statistics.fmean(float(getattr(one, name)) for one in actions if one.correct is not None)


def chosen(tried: Sequence[Sequence[Replayed]], reference: Sequence[Replayed], loss: float) -> list[Replayed]:
    """On each half of the tasks, the actions of the setting that the other half chooses: the reference if none will
    do.
    """
    found: list[Replayed] = []
    base = halves(reference)
    parts = [halves(one) for one in tried]
    for half in (0, 1):
        other = 1 - half
        least = mean(base[other], "correct") - loss / 100
        fit = [one for one in parts if mean(one[other], "correct") >= least]
        best = min([*fit, base], key=lambda one: mean(one[other], "dollars"))
        found += best[half]
    return found


def measure(packed: Path, orders: int, ratio: float) -> Routed | None:
    """The results on one pool; None if it has one model only."""
    with tempfile.TemporaryDirectory() as folder:
        pool = opened(packed, Path(folder))
        if len(pool.sources) == 1:
            return None
        draws = pool.manifest.settings.repeats
        fixed = [
            setting(pool, BIG, {"single": {}}, tier="reference"),
            setting(pool, SMALL, {"single": {}}, tier="cheap"),
            setting(pool, f"majority of {draws}, cheap model", {"majority": {"n": draws}}, tier="cheap"),
            route(pool, "route by `agreement: 2`", [{"agreement": 2}]),
            route(pool, "route by the default signals", None),
        ]
        tried = {
            signal: [route(pool, f"{signal}: {level:g}", [{signal: level}]) for level in thresholds(pool, signal)]
            for signal in SIGNALS_TRIED
        }
        settings = [*fixed, *(one for several in tried.values() for one in several)]
        with Replayer(pool, prices(ratio)) as replayer:
            actions = dict(zip((one.name for one in settings), replayer.run(settings, orders=orders), strict=True))
        shown = {one.name: actions[one.name] for one in fixed}
        for signal, several in tried.items():
            of = [actions[one.name] for one in several]
            for loss in LOSSES:
                shown[f"route by `{signal}`, for {loss:g} point{'s' * (loss != 1)}"] = chosen(of, actions[BIG], loss)
        curves = {}
        for signal, several in tried.items():
            names = [BIG, *(one.name for one in several)]
            curves[signal] = results(pool, names, [actions[name] for name in names], BIG)[1:]
        return Routed(
            name=packed.name.removesuffix(".tar.xz"),
            ratio=ratio,
            tasks=len(pool.tasks),
            draws=draws,
            found=results(pool, list(shown), list(shown.values()), BIG),
            curves=curves,
        )


def cost(pool: Routed, one: SettingResult) -> float:
    """Dollars relative to the reference alone."""
    whole = pool.only(BIG).dollars
    assert one.dollars is not None
    assert whole is not None
    return one.dollars.value / whole.value


def above(pool: Routed, one: SettingResult) -> str:
    """Points above a random choice between the two models at the same cost, where that is between theirs."""
    small, big = pool.only(SMALL), pool.only(BIG)
    if one.correct is None or small.correct is None or big.correct is None or one in (small, big):
        return ""
    low, at = cost(pool, small), cost(pool, one)
    share = (at - low) / (1 - low)
    if not 0 <= share <= 1:
        return "dearer than the reference" if share > 1 else ""
    line = small.correct.value + share * (big.correct.value - small.correct.value)
    return f"{100 * (one.correct.value - line):+.1f}"


def as_markdown(pools: Sequence[Routed], orders: int) -> str:
    lines = [f"Means over {orders} orders of each task's draws.", ""]
    for pool in pools:
        lines += [
            f"### {pool.name.replace('-', ' ').capitalize()}, {pool.ratio:g} to 1",
            "",
            f"{pool.tasks} tasks, {pool.draws} draws of each model. The reference costs {pool.ratio:g} times as much.",
            "",
            "| how | % right | points against the reference | cost | points above a random choice at this cost |",
            "|---|---|---|---|---|",
        ]
        for one in pool.found:
            against = "" if one.difference is None else points(one.difference.correct, signed=True)
            lines.append(
                f"| {one.name} | {points(one.correct)} | {against} | {cost(pool, one):.0%} | {above(pool, one)} |"
            )
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def plot(pools: Sequence[Routed], path: Path) -> None:
    import altair as alt  # noqa: PLC0415 - only for the plot

    rows = [
        {
            "pool": f"{pool.name}, {pool.ratio:g} to 1",
            "signal": signal,
            "cost": 100 * cost(pool, one),
            "right": 100 * one.correct.value,
        }
        for pool in pools
        for signal, several in [*pool.curves.items(), ("random choice", [pool.only(SMALL), pool.only(BIG)])]
        for one in several
        if one.correct is not None
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("cost:Q", title="cost, % of the reference alone", scale=alt.Scale(zero=False)),
        y=alt.Y("right:Q", title="% right", scale=alt.Scale(zero=False)),
        color=alt.Color("signal:N", title="signal"),
    )
    base.mark_line(point=True, strokeWidth=1).properties(width=320, height=260).facet(
        alt.Facet("pool:N", title=None)
    ).resolve_scale(y="independent").save(str(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path, nargs="*", help="packed pools; default: those of benchmarks/pools")
    parser.add_argument("--orders", type=int, default=24, help="24 are all orders of four draws")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this SVG file")
    parser.add_argument("--out", type=Path, help="the page whose part between the markers is written anew")
    wanted = parser.parse_args()
    packed = wanted.pools or sorted(POOLS.glob("*.tar.xz"))
    tried = [(one, ratio) for one in packed for ratio in RATIOS]
    with ProcessPoolExecutor() as workers:
        found = workers.map(measure, *zip(*((one, wanted.orders, ratio) for one, ratio in tried), strict=True))
        pools = [one for one in found if one is not None]
    publish(wanted, pools, as_markdown(pools, wanted.orders), plot, BEGIN, END)


if __name__ == "__main__":
    main()
