"""What further settings would gain `tierwise tune` in certified savings, on the recorded pools; and its CPU time.

    python benchmarks/tuning_space.py [CASE …] [--splits 10] [--orders 2] [--json FILE] [--out docs/tune.md]
    python benchmarks/tuning_space.py --timing [--tasks 1000] [--orders 1]

A case is a committed pool with tiers and a promise. On each of several random splits the space of the product is
searched and certified; then that space without one of its parts, and with one addition that it does not have. The
saving is that of the certified setting on the test tasks, as a share of the reference's dollars; 0 where nothing is
certified. A difference is paired over splits, with its 95 % interval over them (t). Splits share the tasks of a pool,
so it is about luck of the split, and says nothing of other pools. A promise is broken if the risk over all tasks of
the pool is above the limit.

`--timing` searches the space on a made-up pool of a cheap tier and a vote of 8, and prints the CPU seconds of this
process, which has one thread, for the search and for the certification.
"""

from __future__ import annotations

import argparse
import json
import tarfile
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import msgspec
import numpy as np
import yaml
from scipy import stats

import pool_replay
from pages import write_between
from tierwise import plan as planning
from tierwise.policies import Majority
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayed, Replayer
from tierwise.runs.directory import RunDirectory
from tierwise.stopping import Beta, Curtailment, Esc, Predictive, StopChoice
from tierwise.tuning import evaluate, space
from tierwise.tuning.certify import Promises, certify, risks
from tierwise.tuning.complete import with_all_draws
from tierwise.tuning.decide import cheaper, decide
from tierwise.tuning.measured import Measures
from tierwise.tuning.spending import unbounded
from tierwise.tuning.split import TaskSplit, split

if TYPE_CHECKING:
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.space import Route, Variant

POOLS = Path(__file__).parent / "pools"
BEGIN, END = "<!-- benchmarks/tuning_space.py -->", "<!-- end of benchmarks/tuning_space.py -->"
SEARCH_LIMIT, CERTIFICATION_LIMIT = 60.0, 5.0
"""CPU seconds."""


# ── cases ───────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A committed pool with tiers of its deployments."""

    pool: str
    tiers: dict[str, tuple[str, Any]]
    """By name: the recorded tier whose deployment and sampling it has, and its policy."""
    reference: str
    promises: Promises
    further: dict[str, tuple[str, Any]] = field(default_factory=dict)
    """Tiers of which a tuning could think itself."""


def majority(n: int) -> dict[str, Any]:
    return {"majority": {"n": n}}


def of_one(pool: str) -> Case:
    """A pass and a vote of one deployment."""
    tiers = {"fast": ("fast", "single"), "max": ("fast", majority(11))}
    return Case(pool=f"certified/{pool}", tiers=tiers, reference="max", promises=Promises(limit=0.05))


def of_two(pool: str) -> Case:
    """A pass of a small model and a vote of a larger one."""
    tiers = {"cheap": ("cheap", "single"), "reference": ("reference", majority(4))}
    further = {"cheap-vote": ("cheap", majority(3)), "cheap-best": ("cheap", {"best_of_n": {"n": 3}})}
    return Case(pool=f"wide-{pool}", tiers=tiers, reference="reference", promises=Promises(limit=0.10), further=further)


CASES = {"sums": of_one("sums"), "chains": of_one("chains"), "decimals, two models": of_two("decimals")}


# ── what is tried ───────────────────────────────────────────────────────
Further = Callable[[planning.Plan, str], "list[Variant]"]
"""More variants of the reference of a plan."""

OWN = "the space of the product"
WHOLE = StopChoice(curtailment=Curtailment())
SURE = StopChoice(predictive=Predictive(probability=0.97))


def votes(share: float, *stops: StopChoice) -> Further:
    """A share of the reference's votes, with these stopping rules."""

    def found(plan: planning.Plan, reference: str) -> list[Variant]:
        choice = plan.tiers[reference].policy
        policy = choice.member
        assert isinstance(policy, Majority)
        several = []
        for stop in stops:
            other = msgspec.structs.replace(policy, n=max(2, round(share * policy.n)), stop=stop)
            changed = msgspec.structs.replace(choice, **{choice.kind: other})
            assert isinstance(stop.member, msgspec.Struct)
            settings = "-".join(f"{1000 * value:g}" for value in msgspec.structs.astuple(stop.member))
            name = f"{reference}-{round(100 * share)}-{stop.kind.replace('_', '-')}{settings}"
            several.append(space.Variant(name=name, base=reference, policy=changed))
        return several

    return found


VARIANTS: dict[str, Further] = {
    "a quarter of the votes": votes(0.25, WHOLE, SURE),
    "three quarters of the votes": votes(0.75, WHOLE, SURE),
    "`predictive: 0.9`": votes(1.0, StopChoice(predictive=Predictive(probability=0.9))),
    "`predictive: 0.99`": votes(1.0, StopChoice(predictive=Predictive(probability=0.99))),
    "`beta: 0.95`": votes(1.0, StopChoice(beta=Beta(probability=0.95))),
    "`esc: 4`": votes(1.0, StopChoice(esc=Esc(window=4))),
}
AGREEMENT = "`agreement: 4`"
FULL = ("max-11", "reference-4")
"""How the names of variants with all votes begin."""
PARTS: dict[str, Callable[[Route], bool]] = {
    "half the votes": lambda one: one.variant is not None and not one.variant.name.startswith(FULL),
    "`predictive: 0.97`": lambda one: one.variant is not None and one.variant.name.endswith("-predictive"),
    "`span_probability`": lambda one: any(signal.kind == "span_probability" for signal in one.signals),
    "`margin`": lambda one: any(signal.kind == "margin" for signal in one.signals),
    "`tail_confidence`": lambda one: any(signal.kind == "tail_confidence" for signal in one.signals),
    "`entropy`": lambda one: any(signal.kind == "entropy" for signal in one.signals),
    "`length`": lambda one: any(signal.kind == "length" for signal in one.signals),
    "`agreement`": lambda one: any(signal.agreement is not None for signal in one.signals),
    "a threshold before agreement": lambda one: len(one.ladder) == 2 and len(one.signals) > 1,
}
"""Of the space of the product, with the settings that belong to each."""


# ── a case ──────────────────────────────────────────────────────────────
class Remembering(Replayer):
    """A replayer that runs no setting twice: splits differ in thresholds, and those take no replay."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._found: dict[Any, list[Replayed]] = {}

    def run(self, settings: Sequence[Setting], *, orders: int = 1, seed: int = 0, **more: Any) -> list[list[Replayed]]:
        keys = [(one.tier, one.policy, one.verifier, one.budget, orders, seed) for one in settings]
        lacking = [one for one, key in zip(settings, keys, strict=True) if key not in self._found]
        if lacking:
            asked = {name for one in lacking for name in one.policy.tiers()} - {one.name for one in lacking}
            others = [one for one in settings if one.name in asked]
            done = super().run([*lacking, *others], orders=orders, seed=seed, **more)
            for one, actions in zip(lacking, done, strict=False):
                self._found[one.tier, one.policy, one.verifier, one.budget, orders, seed] = actions
        return [self._found[key] for key in keys]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """What one split certifies."""

    settings: int
    saving: float
    is_broken: bool
    name: str
    """Of the certified setting; empty if there is none."""


def certified(searched: Searched, parts: TaskSplit, case: Case, without: Callable[[Route], bool] | None) -> Certified:
    """Certify on one split, without some settings."""
    evaluated, promises = searched.evaluated, case.promises
    candidates = [one for one in cheaper(searched, parts) if without is None or not without(searched.routes[one])]
    found = certify(evaluated, parts.tuning, parts.calibration, promises, candidates=candidates, seed=parts.seed)
    if found is None:
        return Certified(settings=len(candidates), saving=0.0, is_broken=False, name="")
    dollars = evaluated.mean(evaluated.dollars, parts.test)
    risk = risks(evaluated, np.arange(len(evaluated.tasks)), promises)[found.setting]
    return Certified(
        settings=len(candidates),
        saving=float(1 - dollars[found.setting] / dollars[searched.index(case.reference)]),
        is_broken=bool(risk > promises.limit),
        name=found.name,
    )


def opened(case: Case, tiers: Mapping[str, tuple[str, Any]], folder: Path) -> Pool:
    """The pool of a case, with a config file that has these tiers."""
    if not any(folder.glob("*/manifest.json")):
        with tarfile.open(POOLS / f"{case.pool}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    directory = RunDirectory(next(folder.glob("*/manifest.json")).parent)
    config = yaml.safe_load(directory.read_manifest().config.text)
    config["tiers"] = {name: {**config["tiers"][of], "policy": policy} for name, (of, policy) in tiers.items()}
    file = folder / "tierwise.yaml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return replace(with_all_draws(read_pool(directory, config=file)), plan=planning.load(file))


def measured(case: Case, splits: int, orders: int) -> dict[str, list[Certified]]:
    """What each space certifies on each split."""
    found: defaultdict[str, list[Certified]] = defaultdict(list)
    own = space.variants_of
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pool = opened(case, case.tiers, folder)
        parts = [split([one.task for one in pool.tasks], seed=seed) for seed in range(splits)]
        with Remembering(unbounded(pool), pool.plan.file.prices) as replayer:
            for part in parts:
                searched = evaluate.search_space(replayer, part, reference=case.reference, orders=orders)
                found[OWN].append(certified(searched, part, case, None))
                for said, without in PARTS.items():
                    if any(map(without, searched.routes)):
                        found[f"without {said}"].append(certified(searched, part, case, without))
                with patch.object(evaluate, "AGREEMENTS", (*space.AGREEMENTS, 4)):
                    searched = evaluate.search_space(replayer, part, reference=case.reference, orders=orders)
                    found[f"with {AGREEMENT}"].append(certified(searched, part, case, None))
                for said, further in VARIANTS.items():
                    more = lambda plan, name, further=further: [*own(plan, name), *further(plan, name)]  # noqa: E731
                    with patch.object(evaluate, "variants_of", more):
                        searched = evaluate.search_space(replayer, part, reference=case.reference, orders=orders)
                    found[f"with {said}"].append(certified(searched, part, case, None))
                print(".", end="", flush=True)
        for tier, made in case.further.items():
            pool = opened(case, {**case.tiers, tier: made}, folder)
            with Remembering(unbounded(pool), pool.plan.file.prices) as replayer:
                for part in parts:
                    searched = evaluate.search_space(replayer, part, reference=case.reference, orders=orders)
                    found[f"with a tier `{tier}`: {json.dumps(made[1])}"].append(certified(searched, part, case, None))
    print()
    return found


def as_markdown(cases: Mapping[str, Mapping[str, Sequence[Certified]]]) -> str:
    lines = []
    for name, found in cases.items():
        splits = len(found[OWN])
        lines += [
            f"{name.capitalize()}: {splits} splits, harm of at most {CASES[name].promises.limit:.0%}",
            "",
            "| settings searched | number | certified in | saving | difference | broken promises |",
            "|---|---|---|---|---|---|",
        ]
        for said, several in found.items():
            saved = [one.saving for one in several]
            differences = np.array(saved) - np.array([one.saving for one in found[OWN]])
            lines.append(
                f"| {said} | {round(np.mean([one.settings for one in several]))} | "
                f"{sum(one.name != '' for one in several)} | {np.mean(saved):.1%} | "
                f"{'' if said == OWN else interval(differences)} | {sum(one.is_broken for one in several)} |"
            )
        lines.append("")
    return "\n".join(lines)


def interval(differences: Any) -> str:
    mean = float(differences.mean())
    if not differences.any():
        return "none in any split"
    half = float(stats.sem(differences) * stats.t.ppf(0.975, len(differences) - 1))
    return f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}] points"


# ── time ────────────────────────────────────────────────────────────────
def timing(tasks: int, orders: int) -> dict[str, float]:
    """CPU seconds of search and certification on a made-up pool."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = pool_replay.CONFIG.replace(
            "best: {deployment: large, policy: single", f"best: {{deployment: large, policy: {json.dumps(majority(8))}"
        )
        file = folder / "tierwise.yaml"
        file.write_text(text, encoding="utf-8")
        plan = planning.load(file)
        pool = replace(pool_replay.make_pool(folder / "pool", tasks, 8, alternatives=5), plan=plan)
        parts = split([one.task for one in pool.tasks])
        began = time.process_time()
        with Replayer(pool, plan.file.prices) as replayer:
            searched = evaluate.search_space(replayer, parts, reference="best", orders=orders)
        searching = time.process_time() - began
        began = time.process_time()
        measures = Measures(searched.evaluated, [one.task for one in pool.tasks], parts.test)
        decision = decide(searched, parts, Promises(limit=0.05), measures)
        certifying = time.process_time() - began
    print(f"{len(searched.routes)} settings × {tasks} tasks × {orders} orders: {decision.why}")
    print(f"search        {searching:.1f} s of CPU, limit {SEARCH_LIMIT:g} s for 500 settings")
    print(f"certification {certifying:.1f} s of CPU, limit {CERTIFICATION_LIMIT:g} s")
    return {"settings": len(searched.routes), "search": searching, "certification": certifying}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}; all if not given")
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--orders", type=int, default=2)
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--out", type=Path, help="write the tables into this page")
    wanted = parser.parse_args()
    if unknown := set(wanted.cases) - CASES.keys():
        parser.error(f"there is no case {', '.join(unknown)}; allowed: {', '.join(CASES)}")
    if wanted.timing:
        figures: Any = timing(wanted.tasks, wanted.orders)
        if figures["search"] > SEARCH_LIMIT or figures["certification"] > CERTIFICATION_LIMIT:
            raise SystemExit(1)
        return
    found = {name: measured(CASES[name], wanted.splits, wanted.orders) for name in wanted.cases or CASES}
    page = as_markdown(found)
    print(page)
    if wanted.json:
        figures = {
            name: {said: [asdict(one) for one in several] for said, several in of.items()} for name, of in found.items()
        }
        wanted.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    if wanted.out:
        write_between(wanted.out, BEGIN, END, page)


if __name__ == "__main__":
    main()
