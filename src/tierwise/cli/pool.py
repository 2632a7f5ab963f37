"""`tierwise pool`: records candidates of deployments once, and tries policies on them without a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli import bench
from tierwise.cli.options import AsJson, ConfigPath, Limit, Seed, WorkloadPath

if TYPE_CHECKING:
    from tierwise.runs.directory import RunSettings
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
TopLogprobs = Annotated[
    int,
    typer.Option(help="Alternatives per token whose log-probabilities are recorded; 0 asks for none.", min=0, max=20),
]
PoolFolder = Annotated[
    Path | None,
    typer.Option(help="Directory of the pool. Default: runs/pool-FILE-WORKLOAD-TIME. An interrupted one is resumed."),
]


@app.command()
def record(
    file: ConfigPath,
    workload: WorkloadPath,
    draws: Draws = 16,
    deployments: Deployments = "",
    top_logprobs: TopLogprobs = 5,
    seed: Seed = 0,
    limit: Limit = None,
    concurrency: bench.Parallel = None,
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
    from tierwise.bench.bench_job import BenchJob, require_sandbox
    from tierwise.cli.execution import run
    from tierwise.workloads.files import load

    bench.require_packages_and_ledger(ledger)
    tasks = load(workload).first(limit)
    tiers = _recorded_tiers(file, deployments, is_launched=not url)
    require_sandbox(tasks)
    directory = bench.directory_of(out, resume, f"pool-{file.stem}-{workload.stem}")
    job = BenchJob(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode="average",
        settings=_settings(tasks, seed, concurrency, timeout, draws, top_logprobs),
        directory=directory,
        ledger=ledger or directory.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        key=bench.key_in_variable(api_key_env),
        dollars=budget_dollars,
        minutes=budget_minutes,
    )
    raise typer.Exit(run(job, as_json=as_json))


def _recorded_tiers(file: Path, deployments: str, *, is_launched: bool) -> list[str]:
    """The tiers through which draws are recorded; fetches the checkpoints that a launch needs."""
    from tierwise import plan as planning
    from tierwise.cli.pull import bring, unhashed
    from tierwise.pools.sources import sources_of

    plan = planning.load(file)
    sources = sources_of(plan, [name for name in deployments.split(",") if name])
    if is_launched:
        bring(plan, unhashed(plan))
    return [source.tier for source in sources]


def _settings(
    tasks: Workload, seed: int, concurrency: int | None, timeout: float, draws: int, top_logprobs: int
) -> RunSettings:
    from msgspec import structs

    from tierwise.bench.bench_job import settings_for
    from tierwise.runs.draws import PoolSettings

    settings = settings_for(
        tasks, seed=seed, concurrency=concurrency, timeout=timeout, arrival="closed", repeats=draws, warm_up=0
    )
    return structs.replace(settings, pool=PoolSettings(top_logprobs=top_logprobs))
