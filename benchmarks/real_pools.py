"""Points against tokens of every stopping rule and of the policies that draw alike passes, on recorded pools.

    python benchmarks/real_pools.py [POOL.tar.xz …] [--orders 200] [--json FILE] [--plot FILE] [--out docs/evidence.md]

Without names, all of benchmarks/pools that have one model. A pool is unpacked, and each setting runs on it in many
orders of each task's draws, one vote at a time, as on a deployment that is busy. A task's value is its mean over the
orders, and intervals are over tasks, paired with the majority of all draws.

Votes are weighed by the signal that discriminates best within a question. It is chosen and calibrated on one half of
the tasks, as `tierwise pool calibrate` does, and evaluated on the other, and the other way round. `--out` writes
everything below the marker of that page anew. Pools are measured side by side, each on a core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pages import write_between
from tierwise.policies import PolicyChoice
from tierwise.pools.calibrating import SignalResult, calibrate
from tierwise.pools.grid import Setting
from tierwise.pools.reading import Pool, PoolTask, read_pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.pools.results import SettingResult, results
from tierwise.runs.directory import RunDirectory
from tierwise.spec.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tierwise.stats.estimates import Estimate

POOLS = Path(__file__).parent / "pools"
MARK = "<!-- benchmarks/real_pools.py -->"
WITHIN = 0.4
"""Points that a rule may lose, as in benchmarks/stopping.py."""

Rule = dict[str, dict[str, Any]]
"""A stopping rule as in a config file."""

RULES: list[Rule] = [
    {"curtailment": {}},
    *({"predictive": {"probability": one}} for one in (0.9, 0.97, 0.98, 0.99)),
    *({"beta": {"probability": one}} for one in (0.9, 0.95, 0.99)),
    *({"esc": {"window": one}} for one in (3, 4, 5)),
    {"e_value": {"alpha": 0.05}},
]
WEIGHED: list[Rule] = [
    {"curtailment": {}},
    *({"cges": {"probability": one}} for one in (0.95, 0.99)),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All that the page says about one pool."""

    name: str
    tasks: int
    draws: int
    tokens: float
    """Completion tokens of a draw."""
    signals: list[SignalResult]
    """Of every signal, on all tasks; the best first."""
    chosen: list[SignalResult]
    """The best signal of each half of the tasks, calibrated there for the other."""
    found: list[SettingResult]
    notes: list[str]

    @property
    def whole(self) -> SettingResult:
        return next(one for one in self.found if one.difference is None)


# ── a pool ──────────────────────────────────────────────────────────────
def opened(packed: Path, folder: Path) -> Pool:
    """A packed pool, whose deployments run one pass at a time: a vote then starts only when the ones before it are
    there, and the passes of an action are the votes that it looked at.
    """
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    (found,) = (one.parent for one in folder.glob(f"{packed.name.removesuffix('.tar.xz')}/manifest.json"))
    pool = read_pool(RunDirectory(found))
    alone = {name: msgspec.structs.replace(one, slots=1) for name, one in pool.plan.file.deployments.items()}
    plan = replace(pool.plan, file=msgspec.structs.replace(pool.plan.file, deployments=alone))
    return replace(pool, plan=plan)


def drawn(pool: Pool, task: PoolTask) -> Iterable[Any]:
    return task.draws[pool.sources[0].key]


# ── settings ────────────────────────────────────────────────────────────
def title(rule: Rule) -> str:
    ((name, settings),) = rule.items()
    return name + (f" {{{', '.join(f'{key}: {value:g}' for key, value in settings.items())}}}" if settings else "")


def setting(pool: Pool, name: str, policy: dict[str, Any], tier: str | None = None) -> Setting:
    """A policy on the deployment and the sampling of a tier, by default the first."""
    choice = msgspec.convert(policy, PolicyChoice)
    tier = tier or pool.sources[0].tier
    return Setting(name=name, tier=tier, policy=choice.member, verifier=choice.verifier, budget=Budget())


def alike(pool: Pool, most: int) -> list[Setting]:
    """The settings without a calibration; the first is the whole vote."""
    policies: dict[str, dict[str, Any]] = {
        **{f"majority of {most}, {title(rule)}": {"majority": {"n": most, "stop": rule}} for rule in RULES},
        **{f"majority of {n}, curtailment": {"majority": {"n": n}} for n in (3, 5, 9) if n < most},
        **{f"best of {n}, log-probability": {"best_of_n": {"n": n}} for n in (3, 5, most)},
        "single": {"single": {}},
    }
    return [setting(pool, name, policy) for name, policy in policies.items()]


def part_of(pool: Pool, numbers: range) -> Pool:
    """A pool of some of the tasks."""
    return replace(pool, tasks=tuple(pool.tasks[number] for number in numbers))


def signals_of(pool: Pool) -> tuple[SignalResult, ...]:
    """What `tierwise pool calibrate` measures of every signal, the best that can be used first."""
    source = pool.sources[0]
    found = next(one for one in calibrate(pool) if (one.tier, one.deployment) == (source.tier, source.deployment))
    return found.signals


def weighed(
    pool: Pool, most: int, run: Callable[[Pool, Sequence[Setting]], Any]
) -> tuple[dict[str, list[Replayed]], list[SignalResult]]:
    """The rules that weigh votes: each half of the tasks with the calibration of the other. Empty if one is refused."""
    count = len(pool.tasks)
    chosen = [signals_of(part_of(pool, range(1 - half, count, 2)))[0] for half in (0, 1)]
    actions: dict[str, list[Replayed]] = {}
    if any(one.calibration is None for one in chosen):
        return actions, chosen
    for half, best in enumerate(chosen):
        confidence = msgspec.to_builtins(best.calibration)
        tried = [
            setting(
                pool,
                f"majority of {most}, weighed, {title(rule)}",
                {"majority": {"n": most, "stop": rule, "confidence": confidence}},
            )
            for rule in WEIGHED
        ]
        numbers = range(half, count, 2)
        for one, found in zip(tried, run(part_of(pool, numbers), tried), strict=True):
            actions.setdefault(one.name, []).extend(done._replace(task=numbers[done.task]) for done in found)
    return actions, chosen


def measure(packed: Path, orders: int) -> Measured | None:
    """The results on one pool; None if it has several models: benchmarks/real_routes.py is for those."""
    with tempfile.TemporaryDirectory() as name:
        pool = opened(packed, Path(name))
        if len(pool.sources) > 1:
            return None
        most = min(16, *(len(list(drawn(pool, task))) for task in pool.tasks))

        def run(part: Pool, tried: Sequence[Setting]) -> list[list[Replayed]]:
            with Replayer(part, {}) as replayer:
                return replayer.run(tried, orders=orders)

        settings = alike(pool, most)
        actions = dict(zip((one.name for one in settings), run(pool, settings), strict=True))
        more, chosen = weighed(pool, most, run)
        actions |= more
        return Measured(
            name=packed.name.removesuffix(".tar.xz"),
            tasks=len(pool.tasks),
            draws=most,
            tokens=statistics.fmean(draw.count for task in pool.tasks for draw in drawn(pool, task)),
            signals=list(signals_of(pool)),
            chosen=chosen,
            found=results(pool, list(actions), list(actions.values()), settings[0].name),
            notes=list(pool.notes),
        )


# ── the page ────────────────────────────────────────────────────────────
def points(one: Estimate | None, *, signed: bool = False) -> str:
    ends = None if one is None or one.interval is None else (one.interval.low, one.interval.high)
    if one is None or ends is None or None in ends:
        return "unknown"
    form = "+.2f" if signed else ".1f"
    value, low, high = (format(100 * (part or 0.0), form) for part in (one.value, *ends))
    return f"{value} [{low}, {high}]"


def share(one: Estimate | None, of: float) -> float:
    return 0.0 if one is None else one.value / of


def lost(one: SettingResult) -> float:
    """Points against the whole vote."""
    return 0.0 if one.difference is None or one.difference.correct is None else 100 * one.difference.correct.value


def frontier(pool: Measured) -> str:
    """The cheapest votes within the limit, in words."""
    votes = [one for one in pool.found if one.name.startswith(f"majority of {pool.draws},")]
    said = []
    for kind, is_weighed in (("By votes alone", False), ("Weighed by a confidence", True)):
        near = [one for one in votes if ("weighed" in one.name) == is_weighed and lost(one) >= -WITHIN]
        if near:
            least = min(near, key=lambda one: share(one.passes, pool.draws))
            rule = least.name.split(", ", 2 if is_weighed else 1)[-1]
            said.append(
                f"{kind}, the fewest votes within {WITHIN} points of the whole vote are "
                f"{share(least.passes, pool.draws):.0%}, by `{rule}`: {lost(least):+.2f} points."
            )
    return " ".join(said)


def as_markdown(pools: Sequence[Measured], orders: int) -> str:
    lines = [f"Means over {orders} orders of each task's draws.", ""]
    for pool in pools:
        single = next(one for one in pool.found if one.name == "single")
        about = (
            f"{pool.tasks} tasks, {pool.draws} draws of {pool.tokens:.1f} completion tokens each. Right are: one draw, "
            f"{points(single.correct)} %; the majority of {pool.draws}, {points(pool.whole.correct)} %."
        )
        lines += [
            f"### {pool.name.capitalize()}",
            "",
            about,
            "",
            "| policy | votes | tokens | % right | points against the whole vote |",
            "|---|---|---|---|---|",
        ]
        for one in pool.found:
            against = "" if one.difference is None else points(one.difference.correct, signed=True)
            votes, tokens = share(one.passes, pool.draws), share(one.tokens, pool.draws * pool.tokens)
            lines.append(f"| {one.name} | {votes:.1%} | {tokens:.1%} | {points(one.correct)} | {against} |")
        lines += ["", frontier(pool), "", confidence_of(pool), ""]
        lines += [f"Note: {note}" for note in pool.notes]
    return "\n".join(lines).rstrip() + "\n"


def confidence_of(pool: Measured) -> str:
    """What the signals tell, and what came of it."""
    known = [one for one in pool.signals if one.auroc is not None]
    if not known:
        return "The pool has no signal with right and wrong answers to one question."
    said = "AUROC within a question: " + ", ".join(f"`{one.signal}` {one.auroc:.3f}" for one in known) + ". "
    refused = [one for one in pool.chosen if one.calibration is None]
    if refused:
        return said + f"On a half of the tasks, none can be used: `{refused[0].signal}`, {refused[0].why_not}."
    halves = " and ".join(f"`{one.signal}` ({one.auroc:.3f})" for one in pool.chosen)
    return said + f"Chosen and calibrated on one half each, for the tasks of the other: {halves}."


def plot(pools: Sequence[Measured], path: Path) -> None:
    import altair as alt  # noqa: PLC0415 - only for the plot

    rows = []
    for pool in pools:
        for one in pool.found:
            found = None if one.difference is None else one.difference.correct
            if found is None or found.interval is None or None in (found.interval.low, found.interval.high):
                continue
            rows.append(
                {"pool": pool.name, "policy": kind(one.name, pool.draws)}
                | {"tokens": 100 * share(one.tokens, pool.draws * pool.tokens), "points": 100 * found.value}
                | {"low": 100 * (found.interval.low or 0.0), "high": 100 * (found.interval.high or 0.0)}
            )
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("tokens:Q", title="% of the tokens of all draws", scale=alt.Scale(zero=False)),
        color=alt.Color("policy:N", title="policy"),
    )
    marks = base.mark_line(point=True, strokeWidth=1).encode(y=alt.Y("points:Q", title="points against the whole vote"))
    bars = base.mark_rule(opacity=0.35).encode(y=alt.Y("low:Q", title=""), y2="high:Q")
    alt.layer(bars, marks).properties(width=320, height=260).facet(alt.Facet("pool:N", title=None)).save(str(path))


def kind(name: str, draws: int) -> str:
    """What settings of one curve have in common: the rule of the whole vote, or a policy with several n."""
    if name.startswith(f"majority of {draws}"):
        rule = name.split(", ")[2 if "weighed" in name else 1].partition(" ")[0]
        return f"{rule}, weighed" if "weighed" in name else rule
    return name if name == "single" else f"{name.partition(' of ')[0]} of fewer"


def publish(
    wanted: argparse.Namespace,
    pools: Sequence[Any],
    page: str,
    draw: Callable[[Any, Path], None],
    mark: str,
    end: str = "",
) -> None:
    """Print a page, and write what the options `--json`, `--plot` and `--out` ask for.

    Args:
        wanted: the options.
        pools: the results.
        page: the results in Markdown.
        draw: draws the curves of the results into a file.
        mark: in the file of `--out`, the line after which the page is written.
        end: the line before which it ends; empty for the end of the file.
    """
    print(page)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(msgspec.to_builtins(pools), indent=1), encoding="utf-8")
    if wanted.plot is not None:
        draw(pools, wanted.plot)
    if wanted.out is not None:
        write_between(wanted.out, mark, end, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path, nargs="*", help="packed pools; default: all of benchmarks/pools")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this SVG file")
    parser.add_argument("--out", type=Path, help="the page whose part below the marker is written anew")
    wanted = parser.parse_args()
    with ProcessPoolExecutor() as workers:
        found = workers.map(measure, wanted.pools or sorted(POOLS.glob("*.tar.xz")), repeat(wanted.orders))
        pools = [one for one in found if one is not None]
    publish(wanted, pools, as_markdown(pools, wanted.orders), plot, MARK)


if __name__ == "__main__":
    main()
