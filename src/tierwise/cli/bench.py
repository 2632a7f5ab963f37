"""`tierwise bench`: every tier on your own tasks."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from rich.console import Console

    from tierwise.bench.folder import Folder
    from tierwise.bench.measure import Job
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
        list[str] | None, typer.Option(help="Measure this tier or route; may be given again. All tiers when not given.")
    ] = None,
    mode: Annotated[Modes, typer.Option(help="One pass, or all passes that the tier's policy may spend.")] = Modes.BOTH,
    seed: Annotated[int, typer.Option(help="Decides the order of the actions, and the seed of each task.")] = 0,
    limit: Annotated[int | None, typer.Option(help="Only the first so many tasks.", min=1)] = None,
    repeats: Annotated[
        int, typer.Option(help="Ask each task so often in each row, each time with another seed.", min=1, max=1000)
    ] = 1,
    arrival: Annotated[
        str,
        typer.Option(
            help="How actions arrive: closed (the next when one before has ended), poisson:RATE or constant:RATE "
            "per second, or trace:FILE with a moment on each line. Times then count from the intended beginning. "
            "As the workload says when not given, else closed."
        ),
    ] = "",
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="Actions under way at any moment, where they arrive closed; 4, or what the workload says.",
            min=1,
            max=1000,
        ),
    ] = None,
    warm_up: Annotated[
        int | None,
        typer.Option(help="Actions at the beginning that do not count; 0, or what the workload says.", min=0),
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds that one action may take.", min=0.1)] = 600.0,
    budget_dollars: Annotated[
        float | None,
        typer.Option(help="Begin no action that would bring the run beyond this; earlier sittings count.", min=0.0),
    ] = None,
    budget_minutes: Annotated[
        float | None, typer.Option(help="Begin no action after this time; those under way come to their end.", min=0.0)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; runs/FILE-WORKLOAD-TIME when not given. A run that was interrupted goes on."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this folder: what it lacks is asked, the same way.")
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|URL",
            help="Where actions and passes are recorded: a SQLite file, or postgresql://USER@HOST/DATABASE; ledger.db "
            "in the run's folder when not given.",
        ),
    ] = None,
    url: Annotated[str, typer.Option(help="Measure this endpoint, where the config file is served already.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure the tiers of a config file on a workload: quality, latency and dollars, with 95 % intervals.

    Launches the tiers with a ledger of their own, asks every task of every tier through the endpoint, grades the
    answers, and leaves report, records and manifest in one folder. Ctrl-C ends it early; what was measured is kept
    and reported, and --resume goes on with it.

    Exit codes: 0 measured, 1 more than 2 % of the actions ended in infrastructure errors, 2 the input is wrong,
    130 interrupted.
    """
    _need_extra()
    import uvloop
    from rich.console import Console

    from tierwise import plan as planning
    from tierwise.bench import workload as workloads
    from tierwise.bench.folder import Folder, Settings
    from tierwise.bench.measure import Job
    from tierwise.cli.pull import bring
    from tierwise.ledger.location import locate
    from tierwise.spec.errors import SpecError

    if ledger is not None:
        locate(ledger)  # a wrong URL is found out before anything is loaded
    plan = planning.load(file)
    tasks = workloads.load(workload).first(limit)
    tiers = _tiers(plan, tier or [])
    _need_sandbox(tasks)
    if not url:
        bring(plan, _unhashed(plan))
    if resume is not None and out not in (None, resume):
        raise SpecError("--resume names the run's folder already", field="--out")
    folder = Folder.resume(resume) if resume is not None else Folder.create(out or _new_folder(file, workload))
    job = Job(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode=mode.value,
        settings=Settings(
            seed=seed,
            concurrency=concurrency or tasks.about.concurrency or 4,
            timeout=timeout,
            arrival=arrival or tasks.arrival,
            repeats=repeats,
            warm_up=(tasks.about.warm_up or 0) if warm_up is None else warm_up,
        ),
        folder=folder,
        ledger=ledger or folder.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        dollars=budget_dollars,
        minutes=budget_minutes,
    )
    _allow_files()
    console = Console(stderr=as_json, highlight=False)
    if folder.has_manifest and (again := len(folder.errors())):
        console.print(f"asking {again} actions again that ended in infrastructure errors")
    if not url and folder.has_manifest and folder.read_records() and locate(job.ledger).is_missing:
        console.print(
            f"there is no ledger {job.ledger} any more: a new one begins, without the passes of earlier sittings",
            markup=False,
            soft_wrap=True,
        )
    for note in tasks.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    is_whole = uvloop.run(_measure(job, console))
    if not folder.records_path.exists():
        console.print("interrupted before anything was measured")
        raise typer.Exit(130)
    summary = _report(folder)
    if as_json:
        _print_json(summary, _paths(job))
    else:
        _print(console, summary, _paths(job))
        _print_sitting(console, folder)
    if not is_whole:
        raise typer.Exit(130)
    raise typer.Exit(1 if summary.has_too_many_errors else 0)


def _allow_files() -> None:
    """Let as many connections be open as the system permits; many systems begin with 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


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


def _unhashed(plan: Plan) -> list[str]:
    """Checkpoints that are not here, or whose hash, which the manifest keeps, is not known yet."""
    from tierwise.catalog.weights import weights_of

    needed = dict.fromkeys(process.settings.loads for process in plan.processes)
    return [name for name in needed if name is not None and weights_of(plan.checkpoint(name)).sha256 is None]


def _tiers(plan: Plan, wanted: Sequence[str]) -> list[str]:
    from tierwise.spec.reading import Reading

    reading = Reading()
    for name in wanted:
        reading.known(name, plan.names, "--tier", "tier or route")
    reading.done()
    return [name for name in plan.names if name in wanted] if wanted else list(plan.file.tiers)


def _new_folder(file: Path, workload: Path) -> Path:
    from datetime import datetime

    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{file.stem}-{workload.stem}-{moment}"


async def _measure(job: Job, console: Console) -> bool:
    """Whether the run came to its end before somebody interrupted it."""
    from tierwise.bench.measure import measure
    from tierwise.report.progress import Progress

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


def _report(folder: Folder) -> Summary:
    """Write the page from what is in the folder."""
    from tierwise.bench.summary import summarise
    from tierwise.report.page import page

    manifest, records, tasks = folder.read_manifest(), folder.read_records(), folder.read_tasks()
    summary = summarise(manifest, records, tasks)
    folder.report_path.write_text(page(manifest, tasks, records, summary), encoding="utf-8")
    return summary


def _print(console: Console, summary: Summary, paths: Mapping[str, str]) -> None:
    from rich.text import Text

    from tierwise.report import words
    from tierwise.report.tables import table

    console.print()
    console.print(table(summary))
    for warning in words.warnings(summary):
        console.print(Text(warning, style="yellow"))
    for gain in summary.gains:
        console.print(Text(words.gain(gain)))
    for choice in summary.choices:
        console.print(Text(words.choice(choice)))
    console.print(Text(words.population(summary), style="dim"))
    console.print()
    for name, path in paths.items():
        console.print(f"{name:8}{path}", markup=False, soft_wrap=True)


def _print_sitting(console: Console, folder: Folder) -> None:
    """How far the runner's own times may be off, and how to go on with what was not run."""
    sitting = folder.read_manifest().sittings[-1]
    if sitting.stopped:
        console.print(f"stopped: {sitting.stopped}", markup=False)
    if folder.is_unfinished:
        console.print(f"go on with the same command and --resume {folder.path}", markup=False, soft_wrap=True)
    if sitting.runner is not None and (p99 := sitting.runner.p99()) is not None:
        console.print(f"the runner's own error: p99 {p99 * 1000:.2g} ms", style="dim", markup=False)


def _print_json(summary: Summary, paths: Mapping[str, str]) -> None:
    import msgspec

    verdicts = {gain.tier: gain.verdict for gain in summary.gains}
    shown = {
        **paths,
        "error_share": summary.error_share,
        "verdicts": verdicts,
        **msgspec.to_builtins(summary),
    }
    print(msgspec.json.format(msgspec.json.encode(shown), indent=2).decode())


def _paths(job: Job) -> dict[str, str]:
    from tierwise.ledger.location import locate

    paths = {"report": str(job.folder.report_path), "records": str(job.folder.records_path)}
    return paths if job.url else {**paths, "ledger": locate(job.ledger).name}
