"""`tierwise bench`: every tier on your own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson, ConfigPath, Limit, Modes, Seed, WorkloadPath

if TYPE_CHECKING:
    from tierwise.runs.directory import RunDirectory

Tiers = Annotated[
    list[str] | None, typer.Option(help="Measure this tier or route; may be given again. All tiers when not given.")
]
WhichModes = Annotated[Modes, typer.Option(help="One pass, or all passes that the tier's policy may spend.")]
Repeats = Annotated[
    int, typer.Option(help="Ask each task so often in each row, each time with another seed.", min=1, max=1000)
]
Arrival = Annotated[
    str,
    typer.Option(
        help="How actions arrive: closed (the next when one before has ended), poisson:RATE or constant:RATE "
        "per second, or trace:FILE with a moment on each line. Times then count from the intended beginning. "
        "As the workload says when not given, else closed."
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(
        help="Actions under way at any moment, where they arrive closed; 4, or what the workload says.",
        min=1,
        max=1000,
    ),
]
WarmUp = Annotated[
    int | None,
    typer.Option(help="Actions at the beginning that do not count; 0, or what the workload says.", min=0),
]
Timeout = Annotated[float, typer.Option(help="Seconds that one action may take.", min=0.1)]
DollarBudget = Annotated[
    float | None,
    typer.Option(help="Begin no action that would bring the run beyond this; earlier sessions count.", min=0.0),
]
MinuteBudget = Annotated[
    float | None, typer.Option(help="Begin no action after this time; those under way come to their end.", min=0.0)
]
RunFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the run; runs/FILE-WORKLOAD-TIME when not given. A run that was interrupted goes on."),
]
Resume = Annotated[
    Path | None, typer.Option(help="Go on with the run in this folder: what it lacks is asked, the same way.")
]
RunLedger = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL",
        help="Where actions and passes are recorded: a SQLite file, or postgresql://USER@HOST/DATABASE; ledger.db "
        "in the run's folder when not given.",
    ),
]
Url = Annotated[str, typer.Option(help="Measure this endpoint, where the config file is served already.")]


def bench(
    file: ConfigPath,
    workload: WorkloadPath,
    tier: Tiers = None,
    mode: WhichModes = Modes.BOTH,
    seed: Seed = 0,
    limit: Limit = None,
    repeats: Repeats = 1,
    arrival: Arrival = "",
    concurrency: Parallel = None,
    warm_up: WarmUp = None,
    timeout: Timeout = 600.0,
    budget_dollars: DollarBudget = None,
    budget_minutes: MinuteBudget = None,
    out: RunFolder = None,
    resume: Resume = None,
    ledger: RunLedger = None,
    url: Url = "",
    as_json: AsJson = False,
) -> None:
    """Measure the tiers of a config file on a workload: quality, latency and dollars, with 95 % intervals.

    Launches the tiers with a ledger of their own, asks every task of every tier through the endpoint, grades the
    answers, and leaves report, records and manifest in one folder. Ctrl-C ends it early; what was measured is kept
    and reported, and --resume goes on with it.

    Exit codes: 0 measured, 1 more than 2 % of the actions ended in infrastructure errors, 2 the input is wrong,
    130 interrupted.
    """
    from tierwise import plan as planning
    from tierwise.bench.bench_job import BenchJob, chosen_tiers, require_sandbox, settings_for
    from tierwise.cli.execution import need_extra, run
    from tierwise.cli.pull import bring, unhashed
    from tierwise.ledger.location import locate
    from tierwise.workloads.files import load

    need_extra()
    locate(ledger or "ledger.db")  # a wrong URL is found out before anything is loaded
    plan, tasks = planning.load(file), load(workload).first(limit)
    tiers = chosen_tiers(plan, tier or [])
    require_sandbox(tasks)
    if not url:
        bring(plan, unhashed(plan))
    settings = settings_for(
        tasks, seed=seed, concurrency=concurrency, timeout=timeout, arrival=arrival, repeats=repeats, warm_up=warm_up
    )
    directory = _directory(out, resume, f"{file.stem}-{workload.stem}")
    job = BenchJob(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode=mode.value,
        settings=settings,
        directory=directory,
        ledger=ledger or directory.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        dollars=budget_dollars,
        minutes=budget_minutes,
    )
    raise typer.Exit(run(job, as_json=as_json))


def _directory(out: Path | None, resume: Path | None, name: str) -> RunDirectory:
    from tierwise.cli.output import new_directory
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.errors import SpecError

    if resume is None:
        return RunDirectory.create(out or new_directory(name))
    if out not in (None, resume):
        raise SpecError("--resume names the run's folder already", field="--out")
    return RunDirectory.resume(resume)
