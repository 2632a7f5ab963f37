"""What is to be measured, and where its results go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tierwise.runs.directory import RunSettings
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.verifiers.sandbox import backend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tierwise.plan import Plan
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import Workload

CONCURRENCY = 4
"""Actions under way in a closed loop, where neither the caller nor the workload says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchJob:
    """One run, as it is asked for."""

    config: Path
    workload: Workload
    tiers: Sequence[str]
    """Names of the config file's tiers and routes, in the order of the rows."""
    mode: Literal["average", "max", "both"]
    """One pass, all passes that a tier's policy may spend, or a row for each."""
    settings: RunSettings
    directory: RunDirectory
    ledger: str | Path
    """Where actions are recorded if the tiers are launched for this job."""
    url: str = ""
    """Of an endpoint that serves the config file already; empty to launch one."""
    dollars: float | None = None
    """That the run may cost, with what earlier sessions paid."""
    minutes: float | None = None
    """After which no action is begun any more."""


def settings_for(
    workload: Workload,
    *,
    seed: int = 0,
    concurrency: int | None = None,
    timeout: float = 600.0,
    arrival: str = "",
    repeats: int = 1,
    warm_up: int | None = None,
) -> RunSettings:
    """The settings of a run; the workload decides what is not given."""
    about = workload.about
    return RunSettings(
        seed=seed,
        concurrency=concurrency or about.concurrency or CONCURRENCY,
        timeout=timeout,
        arrival=arrival or workload.arrival,
        repeats=repeats,
        warm_up=(about.warm_up or 0) if warm_up is None else warm_up,
    )


def chosen_tiers(plan: Plan, wanted: Sequence[str]) -> list[str]:
    """The tiers and routes that are named, in the order of the config file; all tiers where none is.

    Raises:
        ConfigErrors: names that the config file does not have.
    """
    reading = Reading()
    for name in wanted:
        reading.known(name, plan.names, "--tier", "tier or route")
    reading.done()
    return [name for name in plan.names if name in wanted] if wanted else list(plan.file.tiers)


def require_sandbox(workload: Workload) -> None:
    """Find out before anything is paid for that answers could not be graded.

    Raises:
        SpecError: checks run code, and no sandbox can be made here.
    """
    if workload.needs_sandbox and backend().name == "none":
        raise SpecError(
            f"{workload.path} has checks that run code, and no sandbox can be made here: {backend().reason}"
        )
