"""`tierwise pool`: records candidates of deployments once, and tries policies on them without a model."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli import bench
from tierwise.cli.options import AsJson, ConfigPath, Limit, Seed, WorkloadPath

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.bench.bench_job import BenchJob
    from tierwise.pools.grid import Grid
    from tierwise.pools.reading import Pool
    from tierwise.pools.results import SettingResult
    from tierwise.runs.directory import RunDirectory, RunSettings
    from tierwise.workloads.files import Workload

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Record candidates of deployments once, and try policies on them without a model.",
)

Draws = Annotated[int, typer.Option(help="Draws of each task and deployment.", min=1, max=1000)]
Deployments = Annotated[
    str,
    typer.Option(
        metavar="NAME,NAME",
        help="Record these deployments, each with every sampling that its tiers use. Default: all with a tier.",
    ),
]
Chains = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TIER",
        help="Record whole actions of this tier, such as draft, critique and refinement, in place of single passes; "
        "can be repeated. Only these tiers are recorded then.",
    ),
]
TopLogprobs = Annotated[
    int,
    typer.Option(help="Alternatives per token whose log-probabilities are recorded; 0 asks for none.", min=0, max=20),
]
PoolFolder = Annotated[
    Path | None,
    typer.Option(help="Directory of the pool. Default: runs/pool-FILE-WORKLOAD-TIME. An interrupted one is resumed."),
]


class Timing(StrEnum):
    """Where the times of passes come from."""

    LOAD = "load"
    RECORDED = "recorded"


PoolPath = Annotated[Path, typer.Argument(help="Directory of a pool, from `tierwise pool record`.")]
Policies = Annotated[
    Path | None, typer.Option(help="A file of settings to try. Default: the tiers of the recorded config file.")
]
Orders = Annotated[
    int, typer.Option(help="Orders of each task's draws: the recorded one, then random ones.", min=1, max=100_000)
]
AtOnce = Annotated[int, typer.Option(help="Concurrent actions, in a closed loop.", min=1, max=1000)]
ReplayTiming = Annotated[
    Timing,
    typer.Option(help="The speed that the pool shows at each load, or the time that each draw took when recorded."),
]
OrderSeed = Annotated[int, typer.Option(help="Determines the random orders.")]
SameConfig = Annotated[
    Path | None, typer.Option(help="Refuse the pool if this config file has other checkpoints, levers or sampling.")
]
SameWorkload = Annotated[Path | None, typer.Option(help="Refuse the pool if this is not its workload.")]
Recompute = Annotated[bool, typer.Option(help="Find votes and verdicts anew instead of using those of the recording.")]
OutFile = Annotated[Path | None, typer.Option(help="Also write the results to this file, as JSON.")]


DrawnAtOnce = Annotated[
    int | None,
    typer.Option(
        help="Draws at once. Default: as many as the recorded deployment with the fewest slots has, at most 32; with "
        "--chains, where each action runs its own passes, as for `tierwise bench`.",
        min=1,
        max=1000,
    ),
]


@app.command()
def record(
    file: ConfigPath,
    workload: WorkloadPath,
    draws: Draws = 16,
    deployments: Deployments = "",
    chains: Chains = None,
    top_logprobs: TopLogprobs = 5,
    seed: Seed = 0,
    limit: Limit = None,
    concurrency: DrawnAtOnce = None,
    timeout: bench.Timeout = 600.0,
    budget_dollars: bench.DollarBudget = None,
    budget_minutes: bench.MinuteBudget = None,
    out: PoolFolder = None,
    resume: bench.Resume = None,
    ledger: bench.RunLedger = None,
    url: bench.Url = "",
    api_key_env: bench.KeyVariable = "",
    as_json: AsJson = False,
) -> None:
    """Draw candidates for every task of a workload, once per deployment and sampling, and grade them.

    A pool is a run: its directory has the same manifest, records and report, and --resume continues it, also after
    `kill -9`. Draws that ended in infrastructure errors are asked again then. The draws of a task follow each other,
    and the first tasks run 1, 2, 4 … at a time, so that the pool shows the engine's speed at each load.

    Exit codes: 0 recorded, 1 over 2 % of the draws failed or were refused, 2 invalid input, 130 interrupted.
    """
    from tierwise.cli.execution import run

    bench.require_packages_and_ledger(ledger)
    job = recording(
        file,
        workload,
        draws=draws,
        directory=lambda: bench.directory_of(out, resume, f"pool-{file.stem}-{workload.stem}"),
        deployments=deployments,
        chains=chains or [],
        top_logprobs=top_logprobs,
        seed=seed,
        limit=limit,
        concurrency=concurrency,
        timeout=timeout,
        ledger=ledger,
        url=url,
        key=bench.key_in_variable(api_key_env),
        dollars=budget_dollars,
        minutes=budget_minutes,
    )
    raise typer.Exit(run(job, as_json=as_json))


@app.command("from-runs")
def from_runs(
    file: ConfigPath,
    workload: WorkloadPath,
    run: Annotated[
        list[str], typer.Option(metavar="TIER=DIR", help="The imported run with the draws of a tier; repeat it.")
    ],
    out: Annotated[Path, typer.Option(help="New directory for the pool.")],
    as_json: AsJson = False,
) -> None:
    """Make a pool of imported runs: the repeats of a task (epochs, samples) become draws of a tier.

    The workload has the tasks under the log's ids. A log must have answers, tokens, times and several draws of a task;
    grades stay those of the log. Nothing is asked.

    Exit codes: 0 written, 2 invalid input, and nothing was written.
    """
    import asyncio

    from tierwise import plan as planning
    from tierwise.bench.imported_draws import imported_draws, write_pool
    from tierwise.cli.output import print_json
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import load
    from tierwise.workloads.files.write import check_free

    check_free(out)
    runs = {tier: RunDirectory(path) for tier, path in _named(run).items()}
    given = imported_draws(planning.load(file), load(workload), runs)
    written = asyncio.run(write_pool(given, out)).path
    tasks = len(given.workload.tasks)
    if as_json:
        print_json({"pool": str(written), "tasks": tasks, "draws": given.draws, "tiers": list(given.runs)})
    else:
        print(f"{written}: {given.draws} draws of {tasks} tasks for {', '.join(given.runs)}")


def _named(runs: list[str]) -> dict[str, Path]:
    """TIER=DIR as a mapping."""
    from tierwise.spec.errors import SpecError

    found: dict[str, Path] = {}
    for one in runs:
        tier, equals, path = one.partition("=")
        if not (tier and equals and path):
            raise SpecError(f"{one!r} is not TIER=DIR, such as fast=runs/imported/fast", field="--run")
        if tier in found:
            raise SpecError(f"tier {tier!r} is given twice; a pool has one run of each", field="--run")
        found[tier] = Path(path)
    return found


def recording(
    file: Path,
    workload: Path,
    *,
    draws: int,
    directory: Callable[[], RunDirectory],
    deployments: str = "",
    chains: Sequence[str] = (),
    top_logprobs: int = 5,
    seed: int = 0,
    limit: int | None = None,
    concurrency: int | None = None,
    timeout: float = 600.0,
    ledger: str | None = None,
    url: str = "",
    key: str = "",
    dollars: float | None = None,
    minutes: float | None = None,
    without: str = "",
) -> BenchJob:
    """The job that records a pool; `directory` opens its directory once the rest is known to be valid. Draws of the
    tier `without` are not recorded.
    """
    from tierwise.bench.bench_job import BenchJob, require_sandbox
    from tierwise.workloads.files import load

    tasks = load(workload).first(limit)
    tiers, at_once = _recorded_tiers(file, deployments, list(chains), without, is_launched=not url)
    require_sandbox(tasks)
    opened = directory()
    return BenchJob(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode="max" if chains else "average",
        settings=_settings(tasks, seed, concurrency or at_once, timeout, draws, top_logprobs),
        directory=opened,
        ledger=ledger or opened.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        key=key,
        dollars=dollars,
        minutes=minutes,
    )


def _recorded_tiers(
    file: Path, deployments: str, chains: list[str], without: str, *, is_launched: bool
) -> tuple[list[str], int | None]:
    """The tiers through which draws are recorded, and how many draws run at once where the user does not say; fetches
    the checkpoints that a launch needs.
    """
    from tierwise import plan as planning
    from tierwise.cli.pull import bring_for_run
    from tierwise.pools.sources import chained_tiers, drawn_at_once, sources_of

    plan = planning.load(file)
    names = [name for name in deployments.split(",") if name]
    tiers = (
        chained_tiers(plan, chains) if chains else [source.tier for source in sources_of(plan, names, without=without)]
    )
    if is_launched:
        bring_for_run(plan)
    return tiers, None if chains else drawn_at_once(plan, tiers)


def _settings(
    tasks: Workload, seed: int, concurrency: int | None, timeout: float, draws: int, top_logprobs: int
) -> RunSettings:
    from msgspec import structs

    from tierwise.bench.bench_job import settings_for
    from tierwise.runs.draws import PoolSettings

    settings = settings_for(
        tasks, seed=seed, concurrency=concurrency, timeout=timeout, arrival="closed", repeats=draws, warm_up=0
    )
    # So that the first draws find in the slots what any prompt begins with, as in an engine that has run for a while.
    first = min(settings.concurrency, len(tasks.tasks))
    return structs.replace(settings, warm_up=first, pool=PoolSettings(top_logprobs=top_logprobs))


@app.command()
def replay(
    pool: PoolPath,
    policies: Policies = None,
    orders: Orders = 1,
    concurrency: AtOnce = 1,
    timing: ReplayTiming = Timing.LOAD,
    seed: OrderSeed = 0,
    config: SameConfig = None,
    workload: SameWorkload = None,
    recompute: Recompute = False,
    out: OutFile = None,
    as_json: AsJson = False,
) -> None:
    """Run policies on a pool: what they would answer, and what it would cost, without a model.

    Policies run unchanged, in simulated time. Without --policies, the tiers of the recorded config file are tried that
    the pool can answer. A policy that needs passes which the pool does not have is refused.

    Exit codes: 0 replayed, 2 invalid input.
    """
    from tierwise.cli.extras import need_extra

    need_extra("bench", "tierwise pool replay")
    from rich.progress import Progress

    from tierwise.cli.console import Console
    from tierwise.pools.replaying import Replayer
    from tierwise.pools.results import as_json as facts
    from tierwise.pools.results import results

    recorded, grid = _read(pool, policies, config, workload)
    console = Console(stderr=True, highlight=False)
    notes = list(recorded.notes)
    with Replayer(recorded, grid.prices, recomputes=recompute) as replayer:
        settings = list(grid.settings)
        if policies is None:
            settings, left_out = replayer.answerable(settings)
            notes += left_out
        for note in notes:
            console.print(note, style="yellow", markup=False, soft_wrap=True)
        with Progress(console=console, transient=True) as progress:
            shown = progress.add_task("replaying", total=len(settings) * orders * len(recorded.tasks))
            found = replayer.run(
                settings,
                orders=orders,
                concurrency=concurrency,
                timing=timing.value,
                seed=seed,
                ended=lambda actions: progress.update(shown, completed=actions),
            )
    names = [one.name for one in settings]
    baseline = grid.baseline if grid.baseline in names else next(iter(names), "")
    rows = results(recorded, names, found, baseline) if names else []
    about = {"baseline": baseline, "orders": orders, "concurrency": concurrency, "timing": timing.value}
    _show(facts(recorded, rows, {**about, "notes": notes}), rows, baseline, out, as_json=as_json)


@app.command()
def calibrate(pool: PoolPath, as_json: AsJson = False) -> None:
    """Measure on a pool which signals tell right from wrong answers, and print `confidence` and `cut` to paste.

    Confidence helps a vote only where it tells right from wrong answers to the *same* question. A signal is refused
    below an AUROC of .55 within questions, and where that may be chance. A route needs one with a high AUROC of all
    answers; its deciles are shown with what is right. Answers with and without thinking are calibrated apart.

    Exit codes: 0 measured, 2 invalid input, such as a pool without log-probabilities.
    """
    from tierwise.cli.extras import need_extra

    need_extra("bench", "tierwise pool calibrate")
    import msgspec

    from tierwise.cli.output import print_json, wide_console
    from tierwise.pools.calibrating import calibrate as calibrated
    from tierwise.report.calibration_table import calibration_table, combination_line, reliability_table, settings
    from tierwise.spec.errors import SpecError

    recorded, _ = _read(pool, None, None, None)
    if all(one.task.check is None for one in recorded.tasks):
        raise SpecError(
            f"the tasks of {pool} have no check, so nothing says which answers are right; `tierwise tune --labels "
            "agreement` measures signals by agreement with the reference"
        )
    found = calibrated(recorded)
    if not any(row.answers for one in found for row in one.signals):
        raise SpecError(
            f"{pool} has no log-probabilities; record one with --top-logprobs 5 from an engine that gives them"
        )
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    console = wide_console()
    for one in found:
        console.print(calibration_table(one))
        console.print()
        if (deciles := reliability_table(one)) is not None:
            console.print(deciles)
            console.print()
        console.print(combination_line(one), markup=False, highlight=False, soft_wrap=True)
        for line in settings(one):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        console.print()


def _read(pool: Path, policies: Path | None, config: Path | None, workload: Path | None) -> tuple[Pool, Grid]:
    from tierwise.pools.grid import read_grid, tiers_as_settings
    from tierwise.pools.reading import read_pool
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import load

    recorded = read_pool(RunDirectory(pool), config=config, workload=None if workload is None else load(workload))
    if policies is not None:
        return recorded, read_grid(policies, recorded.plan)
    return recorded, tiers_as_settings(recorded.plan, list(recorded.plan.tiers))


def _show(
    facts: dict[str, object], rows: Sequence[SettingResult], baseline: str, out: Path | None, *, as_json: bool
) -> None:
    import msgspec

    from tierwise.cli.output import print_json, wide_console
    from tierwise.report.pool_table import table
    from tierwise.spec.replacing import replace_file

    if out is not None:
        replace_file(out, msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n")
    if as_json:
        print_json(facts)
        return
    console = wide_console()
    console.print(table(rows, baseline))
    if out is not None:
        console.print(f"results {out}")
