"""What `tierwise tune` is asked to promise, and what sizes of parts can prove of it before anything is recorded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import typer

    from tierwise.cli.console import Console
    from tierwise.stats.promises import Method
    from tierwise.tuning.certify import Kind, Promises


def promises_of(kind: Kind, loss: float, confidence: float, p95: str, labels: str) -> Promises:
    from tierwise.spec.errors import SpecError
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.labels import labels_of, require_kind

    by = labels_of(labels)
    require_kind(by, kind)
    for name, value, allowed in (("--loss", loss, "0.0001 to 0.5"), ("--confidence", confidence, "0.5 to 0.9999")):
        if math.isnan(value):
            raise SpecError(f"nan is not a number from {allowed}", field=name)
    seconds = None
    if p95:
        try:
            seconds = float(p95.strip().removesuffix("s"))
        except ValueError:
            raise SpecError(f"{p95!r} is not a number of seconds, such as 8s", field="--p95") from None
        if not 0 < seconds < float("inf"):
            raise SpecError(f"{p95!r} is not a positive number of seconds", field="--p95")
    return Promises(kind=kind, limit=loss, confidence=confidence, labels=by, p95=seconds)


def labelled(context: typer.Context, workload: Path, promises: Promises, folder: Path) -> Path:
    """Refuse tasks that have not what tells a loss. Returns the workload that is recorded: with a judge, its own, in
    the folder of the tuning; at a dry run in one that is removed.
    """
    from tierwise.cli.output import scratch_folder
    from tierwise.cli.tuning_pool import judged_workload
    from tierwise.tuning.labels import require_labelled
    from tierwise.workloads.files import load

    require_labelled(load(workload), promises.labels)
    place = scratch_folder(context) if context.params["dry_run"] else folder
    return judged_workload(workload, promises.labels, place)


def print_split(
    console: Console,
    file: Path,
    workload: Path,
    promises: Promises,
    draws: int,
    seed: int,
    *,
    races: bool,
    without: str,
) -> None:
    """What the sizes of the parts can prove, before anything is recorded."""
    from tierwise import plan as planning
    from tierwise.certificate import by_agreement
    from tierwise.cli.racing import race_at_most
    from tierwise.pools.sources import sources_of
    from tierwise.stats.promises import labels_needed
    from tierwise.tuning.chains import LARGEST_BET
    from tierwise.tuning.judging import checks_of
    from tierwise.tuning.labels import judge_of
    from tierwise.tuning.split import split
    from tierwise.workloads.files import load

    plan = planning.load(file)
    listed = load(workload).tasks
    parts = split(listed, seed=seed)
    units = len(set(parts.units[parts.calibration].tolist()))
    is_plain = units == len(parts.calibration) and len({task.weight for task in listed}) == 1
    method: Method = "exact" if is_plain and promises.kind != "net" else "betting"
    bet = LARGEST_BET if promises.kind == "harm" else 0.0
    for line in parts.notes:
        console.print(line, style="yellow")
    recorded = f"{len(sources_of(plan, without=without))} deployments × {draws} draws × {len(listed)} tasks"
    sizes = f"{len(parts.tuning)} tuning, {len(parts.calibration)} calibration, {len(parts.test)} test"
    console.print(f"tasks              {sizes}")
    console.print(f"to record          {recorded}")
    if without:
        console.print(f"only judges        {without}: it is not recorded, and no route asks it")
    if races:
        console.print(f"race               {race_at_most(plan, listed, parts, draws, seed)}")
    elif promises.labels != "check":
        console.print("race               none: what drops out is decided by right answers, which only checks tell")
    needs = "tasks needed " if by_agreement(promises.labels) else "labels needed"
    if judge_of(promises.labels):
        checked = len(
            set(parts.calibration.tolist()) & {n for n, one in enumerate(listed) if one.id in checks_of(listed)}
        )
        console.print(f"tasks with a check {checked} calibration tasks; they tell the error of the judge")
    for limit in sorted({promises.limit, 0.01, 0.02, 0.05}):
        needed = labels_needed(limit, promises.delta, method=method, bet=bet)
        enough = "enough" if units >= needed else f"{units} here: too few"
        console.print(f"{needs}      {needed} calibration tasks for {limit:.2%} with no loss seen ({enough})")
    console.print("record a pool, or give one with --pool, to see the expected losses and the largest saving in reach")
