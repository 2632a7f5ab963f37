"""Why a task that a route passes on costs what it costs, live and on a pool: passes, tokens, dollars.

    python benchmarks/passed_on.py triples --live FOLDER [--pack]   FOLDER: `--out` of certified.py, after its live part
    python benchmarks/passed_on.py triples [--write]                on the packed pool and the packed live passes

The tasks of `certified.py` that `auto` passes on, and what `auto` and `max` took for the same tasks: on the pool one
action at a time, as `tierwise tune` prices them, on the pool with four actions at once, and live, where four actions of
`auto`, `fast` and `max` ran at once. `--write` puts the table into docs/tune.md.
"""

from __future__ import annotations

import argparse
import lzma
import math
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from certified import CASES, POOLS, ROOT, unpacked
from pages import write_between
from tierwise import plan as planning
from tierwise.policies.acceptance import CascadeSignal
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.runs.directory import RunDirectory
from tierwise.tuning.complete import with_all_draws
from tierwise.tuning.costs import replayed
from tierwise.tuning.space import Route
from tierwise.tuning.spending import unbounded
from tierwise.tuning.split import split

PAGE = ROOT / "docs" / "tune.md"
BEGIN, END = "<!-- benchmarks/passed_on.py -->", "<!-- end of benchmarks/passed_on.py -->"
ORDERS, AT_ONCE = 8, 4
ROUTES = {
    "triples": Route(
        ladder=("fast", "max"), signals=(CascadeSignal(span_probability=0.1512), CascadeSignal(agreement=2))
    )
}
"""As certified.py certified them (docs/tune.md)."""


class Action(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One live action."""

    tier: str
    task: str
    passes: int
    fresh: int
    """Prompt tokens that the engine computed."""
    completion: int
    dollars: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The mean of some actions."""

    passes: float
    fresh: float
    completion: float
    dollars: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """What tasks took that were passed on."""

    where: str
    share: float
    """Of all tasks."""
    ours: Spent
    theirs: Spent
    """Of `max`, on the same tasks."""
    all_ours: Spent
    """On all tasks, like the next."""
    all_theirs: Spent


def spent(actions: Iterable[Action]) -> Spent:
    several = list(actions)
    return Spent(
        **{
            name: math.fsum(getattr(one, name) for one in several) / len(several)
            for name in ("passes", "fresh", "completion", "dollars")
        }
    )


def compared(where: str, pairs: Sequence[tuple[Action, Action]]) -> Passed:
    passed = [(ours, theirs) for ours, theirs in pairs if ours.passes > 1]
    return Passed(
        where=where,
        share=len(passed) / len(pairs),
        ours=spent(ours for ours, _ in passed),
        theirs=spent(theirs for _, theirs in passed),
        all_ours=spent(ours for ours, _ in pairs),
        all_theirs=spent(theirs for _, theirs in pairs),
    )


def on_pool(name: str, folder: Path) -> list[Passed]:
    """On the test tasks of the pool, one action at a time and several."""
    config, pool = unpacked(name, folder)
    read = with_all_draws(read_pool(RunDirectory(pool), config=config))
    free = unbounded(replace(read, plan=planning.load(config)))
    tested = set(split([one.task for one in read.tasks], seed=0).test.tolist())
    settings = [replayed(free.plan, ROUTES[name], "~0"), replayed(free.plan, Route(ladder=("max",)), "~1")]
    found = []
    for where, at_once in (
        ("test tasks, one action at a time", 1),
        (f"test tasks, {AT_ONCE} actions at once", AT_ONCE),
    ):
        with Replayer(free, free.plan.file.prices) as replayer:
            runs = replayer.run(settings, orders=ORDERS, concurrency=at_once)
        ours, theirs = ({(one.task, one.order): one for one in of if one.task in tested} for of in runs)
        found.append(compared(where, [(_action(one), _action(theirs[key])) for key, one in ours.items()]))
    return found


def _action(one: Replayed) -> Action:
    fresh = one.prompt - one.cached
    return Action(
        tier="", task=str(one.task), passes=one.passes, fresh=fresh, completion=one.completion, dollars=one.dollars
    )


def read_live(folder: Path) -> list[Action]:
    """The actions of the live part of certified.py."""
    return [
        Action(
            tier=one.tier,
            task=one.task,
            passes=len(one.passes or ()),
            fresh=sum(each.prompt_tokens - each.cached_tokens for each in one.passes or ()),
            completion=sum(each.completion_tokens for each in one.passes or ()),
            dollars=one.dollars or 0.0,
        )
        for one in RunDirectory(folder / "live").read_records()
        if one.is_graded
    ]


def live(actions: Sequence[Action]) -> Passed:
    of = {(one.tier, one.task): one for one in actions}
    pairs = [(one, of["max", one.task]) for one in actions if one.tier == "auto" and ("max", one.task) in of]
    return compared(f"live, {AT_ONCE} actions at once", pairs)


def as_markdown(found: Sequence[Passed]) -> str:
    """The table."""
    columns = ["", "passed on", "passes", "prompt tokens computed", "completion tokens"]
    columns += ["`auto` / `max`, these tasks", "`max`, these / all", "product", "`auto` / `max`, all"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in found:
        ours, theirs = one.ours, one.theirs
        both = [
            f"{ours.passes:.1f} / {theirs.passes:.1f}",
            f"{ours.fresh:.0f} / {theirs.fresh:.0f}",
            f"{ours.completion:.0f} / {theirs.completion:.0f}",
        ]
        same, harder = ours.dollars / theirs.dollars, theirs.dollars / one.all_theirs.dollars
        lines.append(
            f"| {one.where} | {one.share:.0%} | {' | '.join(both)} | {same:.2f} | {harder:.2f} | {same * harder:.2f} "
            f"| {one.all_ours.dollars / one.all_theirs.dollars:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", default="triples", choices=sorted(ROUTES))
    parser.add_argument("--live", type=Path, help="`--out` of certified.py; the packed passes by default")
    parser.add_argument("--pack", action="store_true", help="pack the live passes, to be committed")
    parser.add_argument("--write", action="store_true", help="write the table into docs/tune.md")
    wanted = parser.parse_args()
    if wanted.name not in CASES:
        parser.error(f"no workload {wanted.name}")
    packed = POOLS / f"{wanted.name}-live.json.xz"
    if wanted.live is None:
        actions = msgspec.json.decode(lzma.decompress(packed.read_bytes()), type=list[Action])
    else:
        actions = read_live(wanted.live / wanted.name)
    if wanted.pack:
        packed.write_bytes(lzma.compress(msgspec.json.encode(actions)))
    with tempfile.TemporaryDirectory() as place:
        table = as_markdown([*on_pool(wanted.name, Path(place)), live(actions)])
    print(table)
    if wanted.write:
        write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
