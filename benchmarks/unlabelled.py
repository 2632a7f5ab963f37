"""Routes that are certified without labels, or with a judge, and what they harm by the labels.

    python benchmarks/unlabelled.py [sums chains] [--loss 0.1 0.2] [--write]      half an hour, without a model

Takes the checks and grades out of the packed pools of `certified.py`, and runs `tierwise tune --labels agreement` on
what is left. Then the grades are looked at: the true harm of the certified setting over all tasks of the pool, beside
the disagreement that was promised. The same promise of harm, with labels, stands beside it, and with a judge: a
simulated one, which errs on 10 % of the different answers, where 60 % of the tasks have a check. `--write` puts the
table into docs/certificates.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from certified import ROOT, unpacked
from pages import write_between
from tierwise import plan as planning
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.runs.directory import RunDirectory
from tierwise.runs.records import TrialOutcome, TrialRecord
from tierwise.stats.estimates import rate
from tierwise.tuning.complete import with_all_draws
from tierwise.tuning.costs import replayed
from tierwise.tuning.judging import judged_tasks
from tierwise.tuning.outcomes import Runner
from tierwise.tuning.space import Route, setting_of
from tierwise.tuning.spending import unbounded
from tierwise.workloads.files import encoded, load

PAGE = ROOT / "docs" / "certificates.md"
BEGIN, END = "<!-- benchmarks/unlabelled.py -->", "<!-- end of benchmarks/unlabelled.py -->"
ORDERS = 3
"""Of each task's draws; the machine's time is the price of more."""
REFERENCE = "max"
JUDGE_ERRS, CHECKED = 0.1, 0.6
"""Of a simulated judge: the share of different answers that it gets wrong. The share of the tasks that have a check."""
ANSWERED = (TrialOutcome.CORRECT, TrialOutcome.INCORRECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One certificate."""

    pool: str
    loss: float
    labels: str
    setting: str
    """Empty where nothing is worth serving."""
    why: str
    saving: float = 0.0
    disagreement: str = ""
    harm: str = ""


def without_labels(pool: Path, out: Path) -> Path:
    """Copy a pool without checks and grades."""
    source, copy = RunDirectory(pool), RunDirectory.create(out)
    tasks = [msgspec.structs.replace(one.task, check=None) for one in read_pool(source).tasks]
    copy.write_tasks(tasks)
    manifest = source.read_manifest()
    digest = hashlib.sha256(encoded(tasks)).hexdigest()
    copy.write_manifest(
        msgspec.structs.replace(manifest, workload=msgspec.structs.replace(manifest.workload, sha256=digest))
    )
    copy.write_records(
        [
            msgspec.structs.replace(
                one,
                outcome=TrialOutcome.UNLABELLED if one.outcome in ANSWERED else one.outcome,
                why="",
                passes=[msgspec.structs.replace(each, solved=None) for each in one.passes or ()],
            )
            for one in source.read_records()
        ]
    )
    return out


def with_judge(pool: Path, out: Path) -> tuple[Path, Path]:
    """Copy a pool as a judge would have graded it that errs at random. Returns the pool, and the workload beside it, of
    which a random part has checks.
    """
    source, copy, rng = RunDirectory(pool), RunDirectory.create(out), random.Random(0)
    given = [
        one.task if rng.random() < CHECKED else msgspec.structs.replace(one.task, check=None)
        for one in read_pool(source).tasks
    ]
    workload = out / "given.jsonl"
    workload.write_bytes(encoded(given))
    judged = judged_tasks(load(workload), REFERENCE)
    copy.write_tasks(judged)
    manifest = source.read_manifest()
    digest = hashlib.sha256(encoded(judged)).hexdigest()
    copy.write_manifest(
        msgspec.structs.replace(manifest, workload=msgspec.structs.replace(manifest.workload, sha256=digest))
    )
    copy.write_records([_judged(one) for one in source.read_records()])
    return out, workload


def _judged(record: TrialRecord) -> TrialRecord:
    if record.outcome not in ANSWERED or random.Random(f"{record.task} {record.answer.strip()}").random() >= JUDGE_ERRS:
        return record
    right, wrong = ANSWERED
    return msgspec.structs.replace(record, outcome=wrong if record.outcome == right else right)


def tuned(config: Path, pool: Path, workload: Path, out: Path, loss: float, labels: str) -> dict[str, Any] | str:
    """The report of a run; why it was refused, if it was."""
    command = ["tune", str(config), str(workload), "--pool", str(pool), "--loss", str(loss)]
    command += ["--reference", REFERENCE, "--labels", labels, "--orders", str(ORDERS), "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", *command], check=False, cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        return done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.stdout
    found: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return found


def truth(config: Path, pool: Path, route: Route) -> tuple[str, str]:
    """How often a route's answers differ from the reference's, and how often they harm, over all tasks."""
    read = with_all_draws(read_pool(RunDirectory(pool), config=config))
    free = unbounded(replace(read, plan=planning.load(config)))
    settings = [replayed(free.plan, route, "~0"), replayed(free.plan, Route(ladder=(REFERENCE,)), "~1")]
    others = [] if route.variant is None else [setting_of(free.plan, route.variant)]
    with Replayer(free, free.plan.file.prices) as replayer:
        run = Runner(replayer, ORDERS, 0)
        ours, theirs = replayer.run([*settings, *others], orders=ORDERS)[:2]
        pairs = list(zip(ours, theirs, strict=True))
        differs = sum(run.differ(one.task, one.answer, other.answer) for one, other in pairs)
        harms = sum(not one.correct and bool(other.correct) for one, other in pairs)
    return _share(differs / ORDERS, len(free.tasks)), _share(harms / ORDERS, len(free.tasks))


def row(name: str, config: Path, loss: float, labels: str, out: Path, given: tuple[Path, Path], pool: Path) -> Row:
    """Certify, and look at the labels.

    Args:
        name: of the pool.
        config: its config file.
        loss: that is promised.
        labels: by which.
        out: a folder.
        given: the pool to decide from, and its workload.
        pool: the pool with labels.
    """
    report = tuned(config, *given, out, loss, labels)
    if isinstance(report, str):
        return Row(pool=name, loss=loss, labels=labels, setting="", why=report)
    if not report["is_certified"]:
        return Row(pool=name, loss=loss, labels=labels, setting="", why=report["why"])
    route = msgspec.convert(report["route"], Route)
    disagreement, harm = truth(config, pool, route)
    return Row(
        pool=name,
        loss=loss,
        labels=labels,
        setting=route.name,
        why=report["why"],
        saving=report["saving"]["value"],
        disagreement=disagreement,
        harm=harm,
    )


def _share(count: float, tasks: int) -> str:
    """With an exact interval over the tasks; a mean over orders is rounded to whole tasks for it."""
    found = rate(round(count), tasks)
    if found is None or found.interval is None:
        raise ValueError("there are no tasks")
    return f"{count / tasks:.1%} [{found.interval.low:.1%}, {found.interval.high or 1.0:.1%}]"


def as_markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        "| pool | promise | labels | certified route | saves, test tasks | disagreement, all tasks | harm, all tasks |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        promised = f"{'disagreement' if one.labels == 'agreement' else 'harm'} ≤ {one.loss:.0%}"
        used = {"agreement": "none", "check": "checks"}.get(one.labels, f"a judge, {CHECKED:.0%} checks")
        if one.setting:
            cells = [one.setting, f"{one.saving:.0%}", one.disagreement, one.harm]
        else:
            cells = [f"none: {one.why}", "–", "–", "–"]
        lines.append(f"| {one.pool} | {promised} | {used} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=["sums", "chains"])
    parser.add_argument("--loss", type=float, nargs="*", default=[0.1])
    parser.add_argument("--write", action="store_true", help="write the table into docs/certificates.md")
    wanted = parser.parse_args()
    rows = []
    for name in wanted.names:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            config, pool = unpacked(name, folder)
            bare = without_labels(pool, folder / "bare")
            given = {
                "agreement": (bare, bare / "workload.jsonl"),
                "check": (pool, pool / "workload.jsonl"),
                f"judge:{REFERENCE}": with_judge(pool, folder / "judged"),
            }
            for loss in wanted.loss:
                for labels, of in given.items():
                    rows.append(row(name, config, loss, labels, folder / f"{labels}{loss}", of, pool))
                    print(rows[-1], flush=True)
    table = as_markdown(rows)
    print(table)
    if wanted.write:
        write_between(PAGE, BEGIN, END, table)


if __name__ == "__main__":
    main()
