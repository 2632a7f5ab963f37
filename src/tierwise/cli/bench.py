"""`tierwise bench`: measures tiers on your own tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tierwise.cli.options import AsJson, ConfigPath, Limit, Modes, Seed, WorkloadPath
from tierwise.runs.seeds import MAX_REPEATS

if TYPE_CHECKING:
    from tierwise.runners import RunnerChoice
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import Workload

Tiers = Annotated[
    list[str] | None, typer.Option(help="Measure this tier or route; can be repeated. Default: all tiers.")
]
WhichModes = Annotated[
    Modes | None,
    typer.Option(
        help="One pass, all passes that the tier's policy may use, or both. Default: both; max where an agent works, "
        "because each mode is a run of its own there."
    ),
]
Repeats = Annotated[
    int,
    typer.Option(help="Times to run each task in each row, each time with a different seed.", min=1, max=MAX_REPEATS),
]
Arrival = Annotated[
    str,
    typer.Option(
        help="How actions arrive: closed (one starts when another ends), poisson:RATE or constant:RATE per second, or "
        "trace:FILE with one time per line. With the last three, times count from the scheduled start. "
        "Default: the workload's setting, else closed."
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(
        help="Concurrent actions with closed arrival. Default: the workload's setting, else 4.",
        min=1,
        max=1000,
    ),
]
WarmUp = Annotated[
    int | None,
    typer.Option(help="Unrecorded actions at the start. Default: the workload's setting, else 0.", min=0),
]
Timeout = Annotated[float, typer.Option(help="Maximum seconds per action.", min=0.1)]
DollarBudget = Annotated[
    float | None,
    typer.Option(help="Start no action that would exceed this spend; earlier sessions count.", min=0.0),
]
MinuteBudget = Annotated[
    float | None, typer.Option(help="Start no action after this time; running ones finish.", min=0.0)
]
RunFolder = Annotated[
    Path | None,
    typer.Option(help="Directory of the run. Default: runs/FILE-WORKLOAD-TIME. An interrupted run there is resumed."),
]
Resume = Annotated[
    Path | None, typer.Option(help="Resume the run in this directory: measure what is missing, with the same settings.")
]
RunLedger = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|URL",
        help="Where actions and passes are recorded: a SQLite file, or postgresql://USER@HOST/DATABASE. Default: "
        "ledger.db in the run's directory.",
    ),
]
RunnerText = Annotated[
    str,
    typer.Option(
        "--runner",
        metavar="RUNNER",
        help="The agent that works on each task: command:LINE, mini-swe-agent, harbor, inspect, or JSON with its "
        "settings. Default: the workload's setting, else none: each task is one action.",
    ),
]
Url = Annotated[str, typer.Option(help="Measure this running endpoint, which serves the config file.")]
KeyVariable = Annotated[
    str,
    typer.Option("--api-key-env", metavar="NAME", help="Environment variable with the key of the endpoint at --url."),
]


def bench(
    file: ConfigPath,
    workload: WorkloadPath,
    tier: Tiers = None,
    mode: WhichModes = None,
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
    api_key_env: KeyVariable = "",
    runner: RunnerText = "",
    as_json: AsJson = False,
) -> None:
    """Measure the tiers of a config file on a workload: quality, latency and dollars, with 95 % intervals.

    Launches the tiers with a new ledger, sends every task to every tier through the endpoint, grades the answers, and
    writes report, records and manifest to one directory. Ctrl-C reports what was measured; --resume continues.

    Exit codes: 0 measured, 1 over 2 % of the actions failed or were refused, 2 invalid input, 130 interrupted.
    """
    from tierwise import plan as planning
    from tierwise.bench.bench_job import BenchJob, chosen_tiers, require_checks, settings_for
    from tierwise.bench.claims import claims_for
    from tierwise.cli.execution import run
    from tierwise.cli.pull import bring_for_run
    from tierwise.workloads.files import load

    require_packages_and_ledger(ledger)
    plan, tasks = planning.load(file), load(workload).first(limit)
    tiers = chosen_tiers(plan, tier or [])
    require_checks(tasks)
    agent = agent_of(runner, tasks)
    bring_for_run(plan, url)
    pace: dict[str, Any] = {"concurrency": concurrency, "arrival": arrival, "repeats": repeats, "warm_up": warm_up}
    directory = directory_of(out, resume, f"{file.stem}-{workload.stem}")
    job = BenchJob(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode=modes_of(mode, agent).value,
        settings=settings_for(tasks, seed=seed, timeout=timeout, runner=agent, **pace),
        directory=directory,
        ledger=ledger or directory.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        key=key_in_variable(api_key_env),
        dollars=budget_dollars,
        minutes=budget_minutes,
        runner=agent,
        claims=claims_for(plan, tasks, tiers),
    )
    raise typer.Exit(run(job, as_json=as_json))


def modes_of(mode: Modes | None, agent: RunnerChoice | None) -> Modes:
    """The modes to measure, where none is named: both come from one action, but not from one agent's work."""
    return mode or (Modes.BOTH if agent is None else Modes.MAX)


def agent_of(text: str, tasks: Workload) -> RunnerChoice | None:
    """The agent that works on a workload: that of `--runner`, else the workload's; None without one.

    Raises:
        SpecError: it cannot run here, or tasks need another.
    """
    from tierwise.bench.bench_job import require_runner
    from tierwise.runners import parse_runner

    agent = parse_runner(text) if text else tasks.header.runner
    require_runner(tasks, agent)
    return agent


def require_packages_and_ledger(ledger: str | None) -> None:
    """Reject a missing extra and an invalid URL before anything is loaded."""
    from tierwise.cli.extras import need_extra
    from tierwise.ledger.location import locate

    need_extra("bench", "tierwise bench")
    locate(ledger or "ledger.db")


def key_in_variable(variable: str) -> str:
    from tierwise.gateway.access import key_in

    return key_in(variable) if variable else ""


def directory_of(out: Path | None, resume: Path | None, name: str) -> RunDirectory:
    from tierwise.cli.output import new_directory
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.errors import SpecError

    if resume is None:
        return RunDirectory.create(out or new_directory(name))
    if out not in (None, resume):
        raise SpecError("--resume already gives the run's directory; leave --out out", field="--out")
    return RunDirectory.resume(resume)
