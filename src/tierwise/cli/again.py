"""`tierwise tune --from`: certifies again from what holds of an earlier run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from tierwise.cli.console import Console
    from tierwise.plan import Plan
    from tierwise.pools.reading import Pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.again import Held
    from tierwise.tuning.record import TuningRecord

_GIVEN = ("loss", "confidence", "promise", "labels", "p95", "dollars", "reference", "orders", "seed")
"""Options that an earlier run decides unless they are given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """An earlier run that is made again."""

    held: Held
    workload: Path
    """What is recorded: `given`, or as a judge grades it."""
    given: Path
    """The tasks with what was added to them."""
    options: Mapping[str, Any]

    @property
    def promise(self) -> str:
        return str(self.options["promise"])

    @property
    def rest(self) -> tuple[float, float, str, str, float | None, str, int, int]:
        """Loss, confidence, labels, p95, dollars, reference, orders and seed."""
        loss, confidence, labels, p95, dollars, reference, orders, seed = (
            self.options[name] for name in _GIVEN if name != "promise"
        )
        return loss, confidence, labels, p95, dollars, reference, orders, seed

    def recorded(
        self, file: Path, folder: Path, limits: tuple[float | None, float | None], *, as_json: bool
    ) -> RunDirectory:
        """The pool to decide from."""
        return recorded_again(self.held, file, self.workload, folder, limits, as_json=as_json)


def prepare(
    context: typer.Context,
    file: Path,
    earlier: Path | None,
    shadowed: Path | None,
    workload: Path,
    folder: Path,
    draws: Callable[[], int],
) -> Resumed | None:
    """Compare an earlier run with file and workload, and say what holds; None if there is none. Ends the command after
    a dry run; and where nothing but prices changed, after the decision, which then needs no test.

    Args:
        context: with the command's options.
        file: the config file.
        earlier: folder of the run; None without one.
        shadowed: a file of shadowed traffic.
        workload: the tasks.
        folder: into which everything is written.
        draws: how many of each task and deployment are needed.
    """
    from tierwise.cli.caps import require_recording
    from tierwise.spec.errors import SpecError

    require_recording(context.params)
    if earlier is not None:
        return _compared(context, file, earlier, shadowed, workload, folder, draws())
    if shadowed is not None:
        raise SpecError(
            "is for a run that is made again; give the --out folder of the earlier one with --from", field="--shadowed"
        )
    return None


def _compared(
    context: typer.Context,
    file: Path,
    earlier: Path,
    shadowed: Path | None,
    workload: Path,
    folder: Path,
    draws: int,
) -> Resumed:
    from tierwise import plan as planning
    from tierwise.cli.console import Console
    from tierwise.cli.output import scratch_folder
    from tierwise.cli.tuning_pool import judged_workload
    from tierwise.spec.errors import SpecError
    from tierwise.tuning.again import hold
    from tierwise.tuning.judging import judge_alone
    from tierwise.tuning.looks import look_note
    from tierwise.tuning.record import read_record
    from tierwise.tuning.repricing import open_pool
    from tierwise.tuning.spending import require_prices
    from tierwise.workloads.files import load

    given = context.params
    dry_run, as_json = given["dry_run"], given["as_json"]
    console = Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True)
    if folder.resolve() == earlier.resolve():
        raise SpecError("is the folder of the earlier run, which is kept; give another", field="--out")
    record, plan = read_record(earlier), planning.load(file)
    require_prices(plan)
    options = told(context, record)
    pool = None if given["pool"] is None else Path(given["pool"])  # as it was typed
    directory, recorded = open_pool(record, earlier, pool)
    place = scratch_folder(context) if dry_run else folder
    if shadowed is not None:
        workload = with_shadowed(console, workload, shadowed, place, needs_labels=options["labels"] == "check")
    given_tasks, workload = workload, judged_workload(workload, options["labels"], place)
    without = judge_alone(plan, options["labels"], options["reference"])
    held = hold(record, earlier, directory, plan, load(workload), draws, without=without)
    show(console, held)
    if held.needs_no_test and options == told(None, record):
        console.print("nothing but prices changed: the tests that were passed hold, and no look is taken")
        if not dry_run:
            _reprice(console, record, recorded, plan, directory, folder, as_json=as_json)
        raise typer.Exit(0)
    if dry_run:
        number = 1 + len(held.before)
        console.print(look_note(number, (1 - options["confidence"]) / 2 ** (number - 1)), style="yellow")
        raise typer.Exit(0)
    return Resumed(held=held, workload=workload, given=given_tasks, options=options)


def _reprice(
    console: Console,
    record: TuningRecord,
    pool: Pool,
    plan: Plan,
    directory: RunDirectory,
    folder: Path,
    *,
    as_json: bool,
) -> None:
    """Decide at the prices of a config file, and write everything."""
    from tierwise.cli.output import print_json
    from tierwise.cli.whatif import write
    from tierwise.report.whatif_text import answer, facts
    from tierwise.tuning.repricing import reprice

    found = reprice(record, pool, plan.file.prices)
    written = write(found, directory.path, folder, plan.path.read_text(encoding="utf-8"), plan.path)
    if as_json:
        print_json(facts(found))
        return
    for line in (*answer(found), *found.notes):
        console.print(line)
    for path in written:
        console.print(f"{path.name:<18} {path}")


def told(context: typer.Context | None, record: TuningRecord) -> dict[str, Any]:
    """The options of an earlier run, but for those that are given now."""
    promise = record.promise
    found: dict[str, Any] = {
        "loss": promise.limit,
        "confidence": promise.confidence,
        "promise": promise.kind,
        "labels": promise.labels,
        "p95": "" if promise.p95_seconds is None else f"{promise.p95_seconds}s",
        "dollars": promise.dollars,
        "reference": record.reference,
        "orders": record.orders,
        "seed": record.parts.seed,
    }
    if context is not None:
        sources = {name: context.get_parameter_source(name) for name in _GIVEN}
        given = {name for name, source in sources.items() if source is not None and source.name != "DEFAULT"}
        found |= {name: getattr(value := context.params[name], "value", value) for name in given}
    return found


def with_shadowed(console: Console, workload: Path, shadowed: Path, folder: Path, *, needs_labels: bool = True) -> Path:
    """Write the workload with tasks of shadowed traffic into a folder, labelled ones if only these count. Returns the
    new file.
    """
    import msgspec

    from tierwise.spec.replacing import replace_file
    from tierwise.workloads.files import load
    from tierwise.workloads.files.shadowed import read_shadowed

    found, own = read_shadowed(shadowed, needs_labels=needs_labels), load(workload).tasks
    ids = {task.id for task in own}
    new = [task for task in found.tasks if task.id not in ids]
    for reason, number in found.left_out.items():
        console.print(f"{number} shadowed actions are left out: {reason}", style="yellow")
    console.print(f"{len(new)} tasks of shadowed traffic are added to the {len(own)} of {workload}")
    path = folder / "workload.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(path, msgspec.json.Encoder().encode_lines([*own, *new]))
    return path


def show(console: Console, held: Held) -> None:
    """Print what holds, what has to be recorded, and what that costs."""
    from tierwise.report.numbers import dollars

    for one in held.sources:
        name = f"{one.source.deployment} ({one.source.tier})"
        why = f": {one.why}" if one.why else "" if not one.missing else ": of new tasks, or more draws"
        cost = "" if one.dollars is None or not one.missing else f", about {dollars(one.dollars)}"
        time = "" if one.seconds is None or not one.missing else f", about {one.seconds / 60:,.0f} minutes"
        console.print(f"{name:<24} {one.taken} draws hold, {one.missing} to record{why}{cost}{time}")


def recorded_again(
    held: Held,
    file: Path,
    workload: Path,
    folder: Path,
    limits: tuple[float | None, float | None],
    *,
    as_json: bool,
) -> RunDirectory:
    """The earlier pool where it is still the right one, else one with what holds of it and with the rest recorded."""
    from tierwise import plan as planning
    from tierwise.cli.console import Console
    from tierwise.cli.execution import run
    from tierwise.cli.pool import recording
    from tierwise.runs.directory import RunDirectory
    from tierwise.tuning.again import stale, take_over, with_sessions
    from tierwise.workloads.files import load

    if held.has_same_pool:
        return held.directory
    directory = RunDirectory(folder / "pool")
    take_over(held, directory, planning.load(file), load(workload))
    pooled = held.manifest.settings.pool
    while not directory.has_manifest or directory.is_unfinished:
        job = recording(
            file,
            workload,
            draws=held.draws,
            directory=lambda: directory,
            top_logprobs=5 if pooled is None else pooled.top_logprobs,
            seed=held.manifest.settings.seed,
            dollars=limits[0],
            minutes=limits[1],
            without=held.without,
        )
        if code := run(job, as_json=as_json):
            raise typer.Exit(code)
        for name, why in stale(held, directory).items():
            Console(stderr=as_json, highlight=False, markup=False, soft_wrap=True).print(
                f"the draws of {name} that were taken over do not hold, and are recorded again: {why}", style="yellow"
            )
    with_sessions(held, directory)
    return directory
