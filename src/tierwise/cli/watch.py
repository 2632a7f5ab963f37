"""`tierwise watch`: is what runs now still what was tested?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.bench import KeyVariable, RunFolder, RunLedger, Url, key_in_variable, require_packages_and_ledger
from tierwise.cli.compare import rows
from tierwise.cli.gate import fields, show
from tierwise.cli.options import AsJson, ConfigPath, OneMode, WorkloadPath
from tierwise.cli.output import new_directory, print_json

if TYPE_CHECKING:
    from tierwise.analysis.gate import Gate
    from tierwise.bench.bench_job import BenchJob
    from tierwise.runs.directory import Manifest

LOOK_SECONDS = 1.0
"""Between two looks at the run while it is measured."""


def watch(
    file: ConfigPath,
    workload: WorkloadPath,
    against: Annotated[Path, typer.Option(help="Folder of the run that was measured when it was tested.")],
    policy: Annotated[Path, typer.Option(help="gate.yaml: the quality margin, and bounds on latency and dollars.")],
    tier: Annotated[str, typer.Option(help="The tier or route to ask.")],
    mode: Annotated[
        OneMode, typer.Option(help="One pass, or all passes that the tier's policy may use.")
    ] = OneMode.MAX,
    out: RunFolder = None,
    ledger: RunLedger = None,
    url: Url = "",
    api_key_env: KeyVariable = "",
    as_json: AsJson = False,
) -> None:
    """Ask a canary workload again, and stop as soon as it is decided whether this is still as good as what was tested.

    Measures the tier with the settings of the run --against, by the sequential gate: a verdict after any look is wrong
    in at most 2.5 % of runs in each direction. Says what else differs: engines, their versions, checkpoints. For a job
    that runs every night.

    Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE or invalid input, 130 interrupted.
    """
    import uvloop

    from tierwise.analysis import gate as gates
    from tierwise.analysis.pairs import pair
    from tierwise.cli.execution import INTERRUPTED
    from tierwise.runs.directory import RunDirectory

    require_packages_and_ledger(ledger)
    bounds, base = gates.load(policy), RunDirectory(against).read_manifest()
    rows(against, against, tier, mode, "", None)  # refuse a baseline without this row before anything is asked
    job = _job(file, workload, base, tier, mode, out, ledger, url, key_in_variable(api_key_env))
    run = job.directory

    def decide() -> Gate:
        found = rows(against, run.path, tier, mode, "", None)
        return gates.gate(pair(*found[0], common=True), bounds, is_sequential=True)

    judged = uvloop.run(_decided(job, decide))
    if judged is None:
        raise typer.Exit(INTERRUPTED)
    changes = changed(base, run.read_manifest())
    if as_json:
        print_json({**fields(judged), "changed_deployments": changes, "run": str(run.path)})
    else:
        show(judged)
        print(*changes, f"run: {run.path}", sep="\n")
    raise typer.Exit(judged.exit_code)


def _job(
    file: Path,
    workload: Path,
    base: Manifest,
    tier: str,
    mode: OneMode,
    out: Path | None,
    ledger: str | None,
    url: str,
    key: str,
) -> BenchJob:
    """The tier on the workload, with the settings of the baseline."""
    from tierwise import plan as planning
    from tierwise.bench.bench_job import BenchJob, chosen_tiers, require_checks
    from tierwise.cli.pull import bring_for_run
    from tierwise.runs.directory import RunDirectory
    from tierwise.workloads.files import load

    plan, tasks = planning.load(file), load(workload)
    tiers = chosen_tiers(plan, [tier])
    require_checks(tasks)
    bring_for_run(plan, url)
    directory = RunDirectory.create(out or new_directory(f"watch-{file.stem}-{workload.stem}"))
    return BenchJob(
        config=file,
        workload=tasks,
        tiers=tiers,
        mode=mode.value,
        settings=base.settings,
        directory=directory,
        ledger=ledger or directory.path / "ledger.db",
        url=url.rstrip("/").removesuffix("/v1"),
        key=key,
    )


async def _decided(job: BenchJob, decide: Callable[[], Gate]) -> Gate | None:
    """Measure until the gate is decided, or all is measured; None if the user interrupted it."""
    import asyncio

    from tierwise.bench.execute import execute
    from tierwise.cli.console import Console
    from tierwise.cli.execution import unless_interrupted
    from tierwise.report.progress import ProgressBars
    from tierwise.spec.errors import SpecError

    async def measured() -> Gate:
        with ProgressBars(Console(stderr=True, highlight=False)) as progress:
            measuring = asyncio.create_task(execute(job, progress))
            try:
                while not measuring.done():
                    await asyncio.wait([measuring], timeout=LOOK_SECONDS)
                    try:
                        judged = await asyncio.to_thread(decide)
                    except SpecError:  # nothing to compare yet
                        continue
                    if judged.verdict != "INCONCLUSIVE":
                        return judged
            finally:
                measuring.cancel()
                await asyncio.wait([measuring])
            measuring.result()
        return decide()

    return await unless_interrupted(measured())


def changed(base: Manifest, now: Manifest) -> list[str]:
    """Sentences on how the deployments of a run differ from those of an earlier one, as their engines report them."""
    before = {one.name: one for one in base.deployments or []}
    found = []
    for one in now.deployments or []:
        if (was := before.get(one.name)) is None:
            found.append(f"deployment {one.name!r} was not there")
            continue
        if was.engine != one.engine:
            found.append(f"deployment {one.name!r} runs on {one.engine}, and ran on {was.engine}")
        hashes = [None if weights is None else weights.sha256 for weights in (was.weights, one.weights)]
        if None not in hashes and hashes[0] != hashes[1]:
            found.append(f"deployment {one.name!r} has another checkpoint: SHA-256 {str(hashes[1])[:12]}…")
        found += [
            f"deployment {one.name!r} reports {name} {one.facts.get(name, 'nothing')}, "
            f"and {was.facts.get(name, 'nothing')} before"
            for name in sorted(was.facts.keys() | one.facts.keys())
            if was.facts.get(name) != one.facts.get(name)
        ]
    return found
