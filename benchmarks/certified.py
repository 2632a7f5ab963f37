"""A route from two commands to a certificate, and live through the endpoint on tasks that it has never seen.

    python benchmarks/certified.py triples decimals --out FOLDER [--live 150]  an hour on a core; resumes in FOLDER
    python benchmarks/certified.py [triples …] --recorded                     on the packed pools, without a model
    python benchmarks/certified.py triples --out FOLDER --pack                FOLDER/NAME.tar.xz, to be committed

Four workloads of additions and subtractions. `sums` (two numbers of up to three digits) and `chains` (up to four
numbers of up to two digits) are answered by a 0.5B model that is often wrong, `triples` (up to three numbers of up to
three digits) and `decimals` (two numbers with a decimal) by one of 1.5B that is often right. `fast` asks once, and
`max` is a vote of 11 or 7 of the same checkpoint, both at temperature 0.8. The machine's hour has a price, so dollars
are measured seconds.

1. `tierwise tune` records the pool with a real llama.cpp, searches, certifies harm of at most 5 % with 95 % confidence,
   and writes the route `auto`.
2. `tierwise bench` launches `tierwise serve` with the written file, and sends fresh tasks of another seed to `auto`, to
   `max` and to the cheaper tiers.

Reported of the live part: points of each, the share of tasks in which `auto` is wrong and `max` is right with its
interval, and the dollars of `auto` as a share of those of `max` on the same tasks. `--write` puts the table into
docs/tune.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import yaml

from packing import pack
from pages import write_between
from puzzles import answered_alone
from tierwise.runs.directory import RunDirectory
from tierwise.stats.design import Sample
from tierwise.stats.estimates import Estimate, rate
from tierwise.tuning.space import Route
from tierwise.workloads.files.header import WorkloadHeader
from tierwise.workloads.files.write import write
from tierwise.workloads.suites.reasoning_gym import ReasoningGymSuite
from tierwise.workloads.task import Task

ROOT = Path(__file__).parents[1]
POOLS = Path(__file__).parent / "pools" / "certified"
PAGE = ROOT / "docs" / "tune.md"
BEGIN, END = "<!-- benchmarks/certified.py -->", "<!-- end of benchmarks/certified.py -->"
LOSS = 0.05
HOUR = 0.10
"""Dollars of an hour of the machine."""


def sums(terms: int, digits: int, decimals: int = 0) -> Callable[[int, int], tuple[Task, ...]]:
    """Additions and subtractions of 2 to `terms` numbers of 1 to `digits` digits, and of `decimals` after the point;
    each prompt once."""
    settings = {"min_terms": 2, "max_terms": terms, "min_digits": 1, "max_digits": digits}
    if decimals:
        settings |= {"min_decimal_places": decimals, "max_decimal_places": decimals}
    name = "decimal_chain_sum" if decimals else "chain_sum"

    def tasks(count: int, seed: int) -> tuple[Task, ...]:
        suite = ReasoningGymSuite(
            generators=(name,), count=2 * count, seed=seed, settings={name: settings}, max_tokens=12
        )
        found = {str(task.messages[-1]["content"]): task for task in reversed(answered_alone(suite))}
        return tuple(found.values())[::-1][:count]

    return tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A workload and the tiers that may answer it."""

    tasks: Callable[[int, int], tuple[Task, ...]]
    count: int
    tiers: dict[str, dict[str, Any]]
    about: str
    slots: int = 8


def tier(deployment: str, temperature: float, votes: int = 1) -> dict[str, Any]:
    policy: Any = "single" if votes == 1 else {"majority": {"n": votes}}
    return {"deployment": deployment, "policy": policy, "sampling": {"temperature": temperature}}


def votes_of(deployment: str, votes: int) -> dict[str, dict[str, Any]]:
    """One pass, and a vote, of one checkpoint."""
    return {"fast": tier(deployment, 0.8), "max": tier(deployment, 0.8, votes=votes)}


WEAK, STRONG = votes_of("small", 11), votes_of("large", 7)
CASES = {
    "sums": Case(tasks=sums(2, 3), count=300, tiers=WEAK, about="additions", slots=12),
    "chains": Case(tasks=sums(4, 2), count=260, tiers=WEAK, about="chains of additions", slots=12),
    "triples": Case(tasks=sums(3, 3), count=300, tiers=STRONG, about="additions of up to three numbers", slots=12),
    "decimals": Case(tasks=sums(2, 2, 1), count=300, tiers=STRONG, about="additions with a decimal", slots=12),
}
RECORDED_SEED, LIVE_SEED = 41, 100_041


def config_of(case: Case) -> dict[str, Any]:
    """The config file of a case."""
    coder = yaml.safe_load((ROOT / "examples" / "coder.yaml").read_text(encoding="utf-8"))
    known = {"small": "coder-0.5b", "large": "coder-1.5b"}
    models = {name: known[name] for name in dict.fromkeys(one["deployment"] for one in case.tiers.values())}
    engine = {"engine": "llama.cpp", "context": 1024, "slots": case.slots, "threads": 1}
    return {
        "checkpoints": {one: coder["checkpoints"][one] for one in models.values()},
        "deployments": {name: engine | {"checkpoint": one} for name, one in models.items()},
        "tiers": case.tiers,
        "prices": {name: {"dollars_per_hour": HOUR} for name in models},
    }


def tierwise(*arguments: str) -> None:
    """Run a verb.

    Raises:
        SystemExit: it failed.
    """
    code = subprocess.run([sys.executable, "-m", "tierwise", *arguments], check=False, cwd=ROOT).returncode
    if code:
        raise SystemExit(f"tierwise {' '.join(arguments)} ended with exit code {code}")


def made(tasks: Sequence[Task], path: Path, about: str) -> Path:
    """A workload file, written once."""
    if not path.exists():
        write(path, tasks, WorkloadHeader(name=path.stem, description=f"{about}; benchmarks/certified.py"))
    return path


# ── from a pool ─────────────────────────────────────────────────────────
def unpacked(name: str, folder: Path) -> tuple[Path, Path]:
    """The config file and the pool of a packed pool."""
    with tarfile.open(POOLS / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    config = folder / f"{name}.yaml"
    config.write_text(yaml.safe_dump(config_of(CASES[name]), sort_keys=False), encoding="utf-8")
    return config, folder / name


def tuned(name: str, folder: Path, config: Path, pool: Path | None) -> dict[str, Any]:
    """Tune, and return the report."""
    case = CASES[name]
    workload = (
        pool / "workload.jsonl"
        if pool
        else made(case.tasks(case.count, RECORDED_SEED), folder / f"{name}.jsonl", case.about)
    )
    given = () if pool is None else ("--pool", str(pool))
    out = folder / "tuned"
    tierwise("tune", str(config), str(workload), "--loss", str(LOSS), "--reference", "max", *given, "--out", str(out))
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


# ── live ────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The route and the tiers on tasks that the certificate has not seen."""

    name: str
    route: str
    saving: Estimate
    """Certified: share of the reference's dollars, on the test tasks of the pool."""
    calibration: int
    tasks: int
    lost: int
    """Tasks that are left out, because an action of them ended in an infrastructure error."""
    harmed: int
    """Tasks in which the route is wrong and the reference is right."""
    harm: Estimate
    """Its share."""
    points: dict[str, Estimate]
    dollars: dict[str, Estimate]
    """Of each tier as a share of the reference's, on the same tasks."""
    escalated: float


def live(name: str, folder: Path, count: int, report: dict[str, Any]) -> Live:
    """Send fresh tasks through the endpoint."""
    case = CASES[name]
    known = {str(one.messages[-1]["content"]) for one in case.tasks(case.count, RECORDED_SEED)}
    fresh = [one for one in case.tasks(3 * count, LIVE_SEED) if str(one.messages[-1]["content"]) not in known][:count]
    workload = made(fresh, folder / f"{name}-live.jsonl", f"fresh {case.about}")
    names = ["auto", *case.tiers]
    run = folder / "live"
    rows = [part for one in names for part in ("--tier", one)]
    tierwise("bench", str(folder / "tuned" / "tierwise.yaml"), str(workload), *rows, "--mode", "max", "--out", str(run))
    records = {(one.tier, one.task): one for one in RunDirectory(run).read_records() if one.is_graded}
    tasks = [one.id for one in fresh if all((name, one.id) in records for name in names)]
    right = {name: [float(records[name, task].is_solved) for task in tasks] for name in names}
    spent = {name: [records[name, task].dollars or 0.0 for task in tasks] for name in names}
    harmed = sum(ours < theirs for ours, theirs in zip(right["auto"], right["max"], strict=True))
    sample, harm = Sample.alone(len(tasks)), rate(harmed, len(tasks))
    if harm is None:
        raise SystemExit(f"{name}: no task has an answer of every tier; look at {run}")
    return Live(
        name=name,
        route=setting_of(report),
        saving=msgspec.convert(report["saving"], Estimate),
        calibration=report["outlook"]["tasks"],
        tasks=len(tasks),
        lost=len(fresh) - len(tasks),
        harmed=harmed,
        harm=harm,
        points={name: one for name in names if (one := sample.share(right[name])) is not None},
        dollars={name: one for name in names if (one := sample.ratio(spent[name], spent["max"])) is not None},
        escalated=sum(len(records["auto", task].passes or ()) > 1 for task in tasks) / len(tasks),
    )


# ── what is said ────────────────────────────────────────────────────────
def percent(one: Estimate, form: str = ".0%") -> str:
    if one.interval is None or one.interval.high is None:
        return f"{one.value:{form}}"
    return f"{one.value:{form}} [{one.interval.low:{form}}, {one.interval.high:{form}}]"


def as_markdown(found: Sequence[Live]) -> str:
    lines = [
        "| | certified route | calibration tasks | saves on the test tasks | live tasks | passed on | live harm |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.route} | {one.calibration} | {percent(one.saving)} | {one.tasks} | "
            f"{one.escalated:.0%} | {one.harmed}: {percent(one.harm, '.1%')} |"
            for one in found
        ),
    ]
    lines += ["", "| | tier | right, live | dollars, as a share of those of `max` |", "|---|---|---|---|"]
    for one in found:
        for name, points in one.points.items():
            lines.append(f"| {one.name} | `{name}` | {percent(points)} | {percent(one.dollars[name])} |")
    lines += [f"\n{one.name}: {one.lost} tasks are left out, of which an action failed." for one in found if one.lost]
    return "\n".join(lines) + "\n"


def recorded(names: Sequence[str]) -> None:
    """Tune on the packed pools.

    Raises:
        SystemExit: a route is not certified.
    """
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            config, pool = unpacked(name, Path(folder))
            report = tuned(name, Path(folder), config, pool)
            if not report["is_certified"]:
                raise SystemExit(f"{name}: {report['why']}")
            figures, saving = report["figures"], msgspec.convert(report["saving"], Estimate)
            print(f"{name}: {setting_of(report)} saves {percent(saving)} of the dollars of `max`")
            for tier_name, one in figures.items():
                print(f"  {tier_name}: right in {percent(msgspec.convert(one['points'], Estimate))} of the test tasks")


def setting_of(report: dict[str, Any]) -> str:
    """The name of the certified setting."""
    return msgspec.convert(report["route"], Route).name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(CASES)}; all by default")
    parser.add_argument("--out", type=Path, help="folder of everything; one that exists is resumed")
    parser.add_argument("--live", type=int, default=150, help="fresh tasks to send to each tier")
    parser.add_argument("--recorded", action="store_true", help="on the packed pools, without a model")
    parser.add_argument("--pack", action="store_true", help="pack the recorded pools")
    parser.add_argument("--write", action="store_true", help="write the table into docs/tune.md")
    wanted = parser.parse_args()
    wanted.names = wanted.names or list(CASES)
    if unknown := sorted(set(wanted.names) - set(CASES)):
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(CASES)}")
    if wanted.recorded:
        return recorded(wanted.names)
    if wanted.out is None:
        parser.error("give --out FOLDER, or --recorded")
    found = []
    for name in wanted.names:
        folder = wanted.out.resolve() / name
        folder.mkdir(parents=True, exist_ok=True)
        if wanted.pack:
            if code := pack(name, folder / "tuned" / "pool", wanted.out.resolve() / f"{name}.tar.xz"):
                raise SystemExit(code)
            continue
        config = folder / f"{name}.yaml"
        if not config.exists():
            config.write_text(yaml.safe_dump(config_of(CASES[name]), sort_keys=False), encoding="utf-8")
        report = tuned(name, folder, config, None)
        if not report["is_certified"]:
            raise SystemExit(f"{name}: {report['why']}")
        found.append(live(name, folder, wanted.live, report))
        (folder / "live.json").write_text(json.dumps(msgspec.to_builtins(found[-1]), indent=1), encoding="utf-8")
    if not found:
        return None
    page = as_markdown(found)
    print(page)
    if wanted.write:
        write_between(PAGE, BEGIN, END, page)
    return None


if __name__ == "__main__":
    main()
