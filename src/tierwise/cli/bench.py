"""`tierwise bench`: every tier on your own tasks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from tierwise.bench.folder import Folder, Manifest
    from tierwise.bench.measure import Job
    from tierwise.bench.records import Record
    from tierwise.bench.summary import Summary
    from tierwise.bench.workload import Workload
    from tierwise.plan import Plan


class Modes(StrEnum):
    """Which modes of a tier are measured."""

    AVERAGE = "average"
    MAX = "max"
    BOTH = "both"


def bench(
    file: Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")],
    workload: Annotated[Path, typer.Argument(help="Tasks with their checks, one JSON object on each line.")],
    tier: Annotated[
        list[str] | None, typer.Option(help="Measure this tier; may be given again. All when not given.")
    ] = None,
    mode: Annotated[Modes, typer.Option(help="One pass, or all passes that the tier's policy may spend.")] = Modes.BOTH,
    seed: Annotated[int, typer.Option(help="Decides the order of the actions, and the seed of each task.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    concurrency: Annotated[int, typer.Option(help="Actions under way at any moment.", min=1, max=1000)] = 4,
    timeout: Annotated[float, typer.Option(help="Seconds that one action may take.", min=0.1)] = 600.0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/FILE-WORKLOAD-TIME when not given.")] = None,
    ledger: Annotated[
        Path | None,
        typer.Option(help="Where actions and passes are recorded; ledger.db in the run's folder when not given."),
    ] = None,
    url: Annotated[str, typer.Option(help="Measure this endpoint, where the config file is served already.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure the tiers of a config file on a workload: quality, latency and dollars, with 95 % intervals.

    Launches the tiers with a ledger of their own, asks every task of every tier through the endpoint, grades the
    answers, and leaves report, records and manifest in one folder. Ctrl-C ends it early; what was measured is kept
    and reported.

    Exit codes: 0 measured, 1 more than 2 % of the actions ended in infrastructure errors, 2 the input is wrong,
    130 interrupted.
    """
    _need_extra()
    import asyncio

    from rich.console import Console

    from tierwise import plan as planning
    from tierwise.bench import workload as workloads
    from tierwise.bench.folder import Folder, Settings
    from tierwise.bench.measure import Job
    from tierwise.cli.pull import bring, missing

    plan = planning.load(file)
    tasks = workloads.load(workload).first(limit)
    tiers = _tiers(plan, tier or [])
    _need_sandbox(tasks)
    if not url:
        bring(plan, missing(plan))
    folder = Folder.create(out or _new_folder(file, workload))
    job = Job(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode=mode.value,
        settings=Settings(seed=seed, concurrency=concurrency, timeout=timeout),
        folder=folder,
        ledger=ledger or folder.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
    )
    console = Console(stderr=as_json, highlight=False)
    is_whole = asyncio.run(_measure(job, console))
    if not folder.records_path.exists():
        console.print("interrupted before anything was measured")
        raise typer.Exit(130)
    summary = _report(folder)
    if as_json:
        _print_json(summary, _paths(job))
    else:
        _print(console, summary, _paths(job))
    if not is_whole:
        raise typer.Exit(130)
    raise typer.Exit(1 if summary.has_too_many_errors else 0)


def _need_extra() -> None:
    from importlib.util import find_spec

    from tierwise.spec.errors import SpecError

    absent = [name for name in ("altair", "jinja2", "scipy", "vl_convert") if find_spec(name) is None]
    if absent:
        raise SpecError(f"tierwise bench needs {', '.join(absent)}: pip install 'tierwise[bench]'")


def _need_sandbox(workload: Workload) -> None:
    """Find out before anything is paid for that answers could not be graded."""
    from tierwise.spec.errors import SpecError
    from tierwise.verifiers.sandbox import backend

    if workload.needs_sandbox and backend().name == "none":
        raise SpecError(
            f"{workload.path} has checks that run code, and no sandbox can be made here: {backend().reason}"
        )


def _tiers(plan: Plan, wanted: Sequence[str]) -> list[str]:
    from tierwise.spec.reading import Reading

    reading = Reading()
    for name in wanted:
        reading.known(name, plan.file.tiers, "--tier", "tier")
    reading.done()
    return [name for name in plan.file.tiers if not wanted or name in wanted]


def _new_folder(file: Path, workload: Path) -> Path:
    from datetime import datetime

    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{file.stem}-{workload.stem}-{moment}"


async def _measure(job: Job, console: Console) -> bool:
    """Whether the run came to its end before somebody interrupted it."""
    from tierwise.bench.measure import measure

    with Progress(console) as progress:
        return await _unless_interrupted(measure(job, progress))


async def _unless_interrupted(work: Coroutine[None, None, None]) -> bool:
    """Run something until it ends, or until Ctrl-C or SIGTERM cancels it; whether it ended by itself."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    working = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, working.cancel)
    try:
        await asyncio.wait([working])
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if working.cancelled():
        return False
    working.result()
    return True


class Progress:
    """Shows how a run goes on: a bar for each row of the result, or a line now and then where there is no terminal."""

    def __init__(self, console: Console) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._console = console
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._rows: dict[str, TaskID] = {}
        self._solved: dict[str, int] = {}
        self._all: TaskID | None = None
        self._ended = self._total = self._errors = 0

    def __enter__(self) -> Self:
        self._console.print("starting the tiers …")
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def planned(self, manifest: Manifest) -> None:
        tasks = len(manifest.tasks)
        for planned in manifest.variants:
            name = planned.variant.name
            self._rows[name] = self._bars.add_task(name, total=tasks, note="")
            self._solved[name] = 0
        self._total = tasks * len(manifest.variants)
        self._all = self._bars.add_task("all", total=self._total, note="")
        self._console.print(f"measuring {tasks} tasks on {len(manifest.variants)} rows, {self._total} actions")

    def ended(self, record: Record) -> None:
        name = record.variant.name
        self._ended += 1
        self._solved[name] += record.is_solved
        self._errors += record.outcome == "error"
        errors = f"{self._errors} errors" if self._errors else ""
        self._bars.update(self._rows[name], advance=1, note=f"{self._solved[name]} solved")
        if self._all is not None:
            self._bars.update(self._all, advance=1, note=errors)
        if (
            not self._console.is_terminal
            and (self._ended * 10) // self._total > ((self._ended - 1) * 10) // self._total
        ):
            self._console.print(f"{self._ended} of {self._total} actions {errors}".rstrip(), markup=False)


def _report(folder: Folder) -> Summary:
    """Write the page from what is in the folder."""
    import msgspec

    from tierwise.bench.summary import summarise
    from tierwise.bench.workload import Task
    from tierwise.report.page import page

    manifest, records = folder.read_manifest(), folder.read_records()
    tasks = msgspec.json.Decoder(Task).decode_lines(folder.tasks_path.read_bytes())
    summary = summarise(manifest, records)
    folder.report_path.write_text(page(manifest, tasks, records, summary), encoding="utf-8")
    return summary


def _print(console: Console, summary: Summary, paths: Mapping[str, Path]) -> None:
    from rich.text import Text

    from tierwise.report import words
    from tierwise.report.tables import table

    console.print()
    console.print(table(summary))
    for warning in words.warnings(summary):
        console.print(Text(warning, style="yellow"))
    for gain in summary.gains:
        console.print(Text(words.gain(gain)))
    console.print(Text(words.population(summary), style="dim"))
    console.print()
    for name, path in paths.items():
        console.print(f"{name:8}{path}", markup=False, soft_wrap=True)


def _print_json(summary: Summary, paths: Mapping[str, Path]) -> None:
    import msgspec

    verdicts = {gain.tier: gain.verdict for gain in summary.gains}
    shown = {
        **{name: str(path) for name, path in paths.items()},
        "error_share": summary.error_share,
        "verdicts": verdicts,
        **msgspec.to_builtins(summary),
    }
    print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())


def _paths(job: Job) -> dict[str, Path]:
    paths = {"report": job.folder.report_path, "records": job.folder.records_path}
    return paths if job.url else {**paths, "ledger": job.ledger}
