"""What to measure, and where the results go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec

from tierwise.runs.directory import RunSettings
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers.sandbox import backend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tierwise.plan import Plan
    from tierwise.runners import RunnerChoice
    from tierwise.runs.claims import RunClaim
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import Workload

CONCURRENCY = 4
"""Concurrent actions in a closed loop, unless the caller or the workload sets another number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJob:
    """A request to measure one run."""

    config: Path
    workload: Workload
    tiers: Sequence[str]
    """Names of the config file's tiers and routes, in the order of the rows."""
    mode: Literal["average", "max", "both"]
    """`average` allows one pass, `max` all passes that a tier's policy may use, `both` measures a row for each."""
    settings: RunSettings
    directory: RunDirectory
    ledger: str | Path
    """Where actions are recorded when the job launches the tiers itself."""
    url: str = ""
    """URL of a running endpoint that serves the config file; empty to launch one."""
    key: str = ""
    """Key of that endpoint; empty if it needs none."""
    dollars: float | None = None
    """Spend limit of the whole run, earlier sessions included; None for no limit."""
    minutes: float | None = None
    """Time limit of this session: no action starts after it; None for no limit."""
    runner: RunnerChoice | None = None
    """The agent that works on the tasks; None to send each task as one action."""
    claims: Sequence[RunClaim] = ()
    """Published scores to set beside the results; a resumed run keeps those that it began with."""


def settings_for(
    workload: Workload,
    *,
    seed: int = 0,
    concurrency: int | None = None,
    timeout: float = 600.0,
    arrival: str = "",
    repeats: int = 1,
    warm_up: int | None = None,
    runner: RunnerChoice | None = None,
) -> RunSettings:
    """The settings of a run. The workload supplies what the caller leaves out."""
    header = workload.header
    return RunSettings(
        seed=seed,
        concurrency=concurrency or header.concurrency or CONCURRENCY,
        timeout=timeout,
        arrival=arrival or workload.arrival,
        repeats=repeats,
        warm_up=(header.warm_up or 0) if warm_up is None else warm_up,
        runner="" if runner is None else msgspec.json.encode(runner).decode(),
    )


def chosen_tiers(plan: Plan, wanted: Sequence[str]) -> list[str]:
    """The requested tiers and routes in config-file order; all tiers if none are named.

    Raises:
        ConfigErrors: the config file has no tier or route of that name.
    """
    reading = Reading()
    for name in wanted:
        reading.known(name, plan.names, "--tier", "tier or route")
    reading.done()
    return [name for name in plan.names if name in wanted] if wanted else list(plan.file.tiers)


def require_checks(workload: Workload) -> None:
    """Fail before anything is spent if answers cannot be graded: a task has no check, or one that cannot run here.

    Raises:
        SpecError: names the tasks, and what to do.
    """
    if unlabelled := workload.unlabelled:
        ids = ", ".join(task.id for task in unlabelled[:3])
        raise SpecError(
            f"{workload.path}: {len(unlabelled)} of {len(workload.tasks)} tasks have no `check` ({ids}"
            f"{', …' if len(unlabelled) > 3 else ''}), so nothing says whether an answer to them is right. Give each a "
            "check (docs/measuring.md), or find a route by agreement with the reference tier, which needs none: "
            "`tierwise tune --labels agreement`"
        )
    require_sandbox(workload)


def require_runner(workload: Workload, runner: RunnerChoice | None) -> None:
    """Fail before anything is spent if tasks need an agent and there is none, or if the agent cannot run here.

    Raises:
        SpecError: names a task or what is missing, and what to do.
    """
    inside = [task.id for task in workload.tasks if task.environment is not None]
    if runner is None:
        if inside:
            raise SpecError(
                f"{workload.path}: the task {inside[0]!r} is worked on in an environment, which needs an agent: give "
                "`tierwise bench --runner` one (docs/agents.md)"
            )
        return
    if runner.member.needs_environment and len(inside) < len(workload.tasks):
        without = next(task.id for task in workload.tasks if task.environment is None)
        raise SpecError(
            f"{workload.path}: the task {without!r} has no environment, which {runner.kind} needs; "
            "`command` works on tasks with a check",
            field="--runner",
        )
    runner.member.check()


def require_sandbox(workload: Workload) -> None:
    """Fail before anything is spent if answers cannot be graded on this machine.

    Raises:
        SpecError: checks run code, and no sandbox is available.
    """
    if workload.needs_sandbox and backend().name == "none":
        raise SpecError(
            f"{workload.path} has checks that run code, and no sandbox is available here: {backend().reason}"
        )
