"""Points against tokens of every stopping rule and of the policies that draw alike passes, on recorded pools.

    python benchmarks/real_pools.py [POOL.tar.xz …] [--orders 200] [--json FILE] [--plot FILE] [--out docs/evidence.md]

Without names, all of benchmarks/pools that have one model. A pool is unpacked, and each setting runs on it in many
orders of each task's draws, one vote at a time, as on a deployment that is busy. A task's value is its mean over the
orders, and intervals are over tasks, paired with the majority of all draws.

Votes are weighed by the signal that discriminates best within a question. It is chosen and calibrated on one half of
the tasks and evaluated on the other, and the other way round. A signal below the AUROC that a config file needs is
refused here, too. `--out` writes everything below the marker of that page anew.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tarfile
import tempfile
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.policies import PolicyChoice
from tierwise.policies.signals import SIGNALS
from tierwise.pools.grid import Setting
from tierwise.pools.reading import Pool, PoolTask, read_pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.pools.results import SettingResult, results
from tierwise.runs.directory import RunDirectory
from tierwise.spec.budget import Budget
from tierwise.stats.confidence import number_of_alternatives
from tierwise.stats.discrimination import within_question_auroc
from tierwise.stopping.confidence import LEAST_AUROC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tierwise.stats.estimates import Estimate

POOLS = Path(__file__).parent / "pools"
MARK = "<!-- benchmarks/real_pools.py -->"
WITHIN = 0.4
"""Points that a rule may lose, as in benchmarks/stopping.py."""
BINS = 6
"""Of a calibration's curve, with equal numbers of draws."""

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
    aurocs: dict[str, float | None]
    """Within questions, of every signal, on all tasks."""
    chosen: list[tuple[str, float]]
    """The signal of each half and its AUROC there."""
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


def graded(pool: Pool) -> list[list[tuple[Any, bool]]]:
    """The completions of each task with their log-probabilities, and whether each was graded as right."""
    return [
        [(draw.part(draw.count, logprobs=True).completion, bool(draw.correct)) for draw in drawn(pool, task)]
        for task in pool.tasks
    ]


# ── confidence ──────────────────────────────────────────────────────────
def auroc(name: str, tasks: Iterable[Sequence[tuple[Any, bool]]]) -> float | None:
    value = SIGNALS[name].value
    scored = [[(value(one), is_right) for one, is_right in task] for task in tasks]
    known = [[(score, is_right) for score, is_right in task if score is not None] for task in scored]
    return within_question_auroc(known)


def calibrated(name: str, found: float, tasks: Sequence[Sequence[tuple[Any, bool]]]) -> dict[str, Any]:
    """A calibration as in a config file: the share of right draws in bins of the signal with equal numbers of draws."""
    value = SIGNALS[name].value
    rows = sorted((score, is_right) for task in tasks for one, is_right in task if (score := value(one)) is not None)
    bins = [rows[len(rows) * number // BINS : len(rows) * (number + 1) // BINS] for number in range(BINS)]
    pairs = [
        (statistics.fmean(score for score, _ in one), statistics.fmean(right for _, right in one))
        for one in bins
        if one
    ]
    curve = [later for earlier, later in pairwise([(float("-inf"), 0.0), *pairs]) if later[0] > earlier[0]]
    alternatives = number_of_alternatives(tasks[0][0][0].logprobs) if SIGNALS[name].needs_alternatives else 0
    return {"signal": name, "auroc": round(found, 4), "curve": curve, "alternatives": alternatives}


def best_signal(tasks: Sequence[Sequence[tuple[Any, bool]]]) -> tuple[str, float] | None:
    known = [(found, name) for name in SIGNALS if (found := auroc(name, tasks)) is not None]
    return max(known)[::-1] if known else None


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


def weighed(
    pool: Pool, most: int, marked: Sequence[Sequence[tuple[Any, bool]]], run: Callable[[Pool, Sequence[Setting]], Any]
) -> tuple[dict[str, list[Replayed]], list[tuple[str, float]]]:
    """The rules that weigh votes: each half of the tasks with the calibration of the other. Empty if one is refused."""
    actions: dict[str, list[Replayed]] = {}
    chosen: list[tuple[str, float]] = []
    for half in (0, 1):
        others = [task for number, task in enumerate(marked) if number % 2 != half]
        best = best_signal(others)
        if best is None:
            return {}, chosen
        chosen.append(best)
        if best[1] < LEAST_AUROC:
            return {}, chosen
        confidence = calibrated(*best, others)
        tried = [
            setting(
                pool,
                f"majority of {most}, weighed, {title(rule)}",
                {"majority": {"n": most, "stop": rule, "confidence": confidence}},
            )
            for rule in WEIGHED
        ]
        numbers = range(half, len(pool.tasks), 2)
        part = replace(pool, tasks=tuple(pool.tasks[number] for number in numbers))
        for one, found in zip(tried, run(part, tried), strict=True):
            actions.setdefault(one.name, []).extend(done._replace(task=numbers[done.task]) for done in found)
    return actions, chosen


def measure(packed: Path, orders: int) -> Measured | None:
    """The results on one pool; None if it has several models: benchmarks/real_routes.py is for those."""
    with tempfile.TemporaryDirectory() as name:
        pool = opened(packed, Path(name))
        if len(pool.sources) > 1:
            return None
        most = min(16, *(len(list(drawn(pool, task))) for task in pool.tasks))
        marked = graded(pool)

        def run(part: Pool, tried: Sequence[Setting]) -> list[list[Replayed]]:
            with Replayer(part, {}) as replayer:
                return replayer.run(tried, orders=orders)

        settings = alike(pool, most)
        actions = dict(zip((one.name for one in settings), run(pool, settings), strict=True))
        more, chosen = weighed(pool, most, marked, run)
        actions |= more
        return Measured(
            name=packed.name.removesuffix(".tar.xz"),
            tasks=len(pool.tasks),
            draws=most,
            tokens=statistics.fmean(draw.count for task in pool.tasks for draw in drawn(pool, task)),
            aurocs={signal: auroc(signal, marked) for signal in SIGNALS},
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
            f"## {pool.name.capitalize()}",
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
    known = sorted(((found, name) for name, found in pool.aurocs.items() if found is not None), reverse=True)
    if not known:
        return "The pool has no signal with right and wrong answers to one question."
    said = "AUROC within a question: " + ", ".join(f"`{name}` {found:.3f}" for found, name in known) + ". "
    halves = " and ".join(f"`{name}` ({found:.3f})" for name, found in pool.chosen)
    if any(found < LEAST_AUROC for _, found in pool.chosen):
        return (
            said + f"On a half of the tasks, the best is {halves}: below {LEAST_AUROC}, so weighing votes is refused."
        )
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", type=Path, nargs="*", help="packed pools; default: all of benchmarks/pools")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--plot", type=Path, help="draw the curves into this SVG file")
    parser.add_argument("--out", type=Path, help="the page whose part below the marker is written anew")
    wanted = parser.parse_args()
    measured = [measure(packed, wanted.orders) for packed in wanted.pools or sorted(POOLS.glob("*.tar.xz"))]
    pools = [one for one in measured if one is not None]
    page = as_markdown(pools, wanted.orders)
    print(page)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps(msgspec.to_builtins(pools), indent=1), encoding="utf-8")
    if wanted.plot is not None:
        plot(pools, wanted.plot)
    if wanted.out is not None:
        above, mark, _ = wanted.out.read_text(encoding="utf-8").partition(MARK)
        wanted.out.write_text(f"{above}{mark or MARK}\n{page}", encoding="utf-8")


if __name__ == "__main__":
    main()
