"""Runs a bench job on the command line: progress, Ctrl-C, report and exit code.

Every verb that measures through the endpoint uses it, so all of them can be interrupted and resumed in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from tierwise.analysis.summary import RunSummary
    from tierwise.bench.bench_job import BenchJob
    from tierwise.cli.console import Console
    from tierwise.runs.directory import RunDirectory

T = TypeVar("T")

INTERRUPTED = 130


def run(job: BenchJob, *, as_json: bool = False) -> int:
    """Execute a job, write its report and print its summary.

    Returns:
        The exit code: 0 measured, 130 interrupted, 1 if a fault stopped the run, the server refused a tier's
        requests, or more than 2 % of the actions ended in infrastructure errors.
    """
    import uvloop

    from tierwise.analysis.summary import summary_of
    from tierwise.cli.console import Console
    from tierwise.report.page import write_page

    _allow_files()
    console = Console(stderr=as_json, highlight=False)
    _print_notes(console, job)
    found = uvloop.run(_executed(job, console))
    if found is None and not job.directory.records_path.exists():
        console.print("interrupted before anything was measured")
        return INTERRUPTED
    summary = found or summary_of(job.directory)
    write_page(job.directory, summary)
    if as_json:
        _print_json(summary, _paths(job))
    else:
        _print(console, summary, _paths(job))
        _print_session(console, job.directory)
    if found is None:
        return INTERRUPTED
    has_failed = job.directory.read_manifest().sessions[-1].has_failed
    return 1 if has_failed or summary.refusals or summary.has_too_many_errors else 0


def _allow_files() -> None:
    """Raise the limit of open files to the hard limit; the default is often 1024."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _print_notes(console: Console, job: BenchJob) -> None:
    """Print notes that are known before the tiers start."""
    from tierwise.ledger.location import locate

    directory = job.directory
    if directory.has_manifest and (again := len(directory.errors())):
        console.print(f"{again} actions ended in infrastructure errors and are run again")
    if not job.url and directory.has_manifest and directory.read_records() and locate(job.ledger).is_missing:
        console.print(
            f"the ledger {job.ledger} no longer exists: a new one is created, without the passes of earlier sessions",
            markup=False,
            soft_wrap=True,
        )
    for note in job.workload.notes:
        console.print(f"note: {note}", markup=False, style="dim")


async def _executed(job: BenchJob, console: Console) -> RunSummary | None:
    from tierwise.bench.execute import execute
    from tierwise.report.progress import ProgressBars

    with ProgressBars(console) as progress:
        return await unless_interrupted(execute(job, progress))


async def unless_interrupted(work: Coroutine[None, None, T]) -> T | None:
    """Run a coroutine. Returns None if Ctrl-C or SIGTERM cancelled it."""
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
    return None if working.cancelled() else working.result()


def _print(console: Console, summary: RunSummary, paths: Mapping[str, str]) -> None:
    from rich.text import Text

    from tierwise.report import sentences
    from tierwise.report.summary_table import table

    console.print()
    console.print(table(summary))
    for warning in sentences.warnings(summary):
        console.print(Text(warning, style="yellow"))
    for agent in summary.agents:
        console.print(Text(sentences.agent(agent)))
    for gain in summary.gains:
        console.print(Text(sentences.gain(gain)))
    for selection in summary.selections:
        console.print(Text(sentences.selection(selection)))
    for line in sentences.duties(summary):
        console.print(Text(line, style="dim"))
    console.print(Text(sentences.population(summary), style="dim"))
    _print_claims(console, summary)
    console.print()
    for name, path in paths.items():
        console.print(f"{name:8}{path}", markup=False, soft_wrap=True)


def _print_claims(console: Console, summary: RunSummary) -> None:
    from rich.text import Text

    from tierwise.report import claim_table

    if summary.claims:
        console.print()
        console.print(claim_table.table(summary.claims))
        for line in (*claim_table.sources(summary.claims), claim_table.ABOUT):
            console.print(Text(line, style="dim"))


def _print_session(console: Console, directory: RunDirectory) -> None:
    """Print why the session stopped, how to resume, outages of the endpoint, and the runner's timing error."""
    from tierwise.report import sentences

    manifest = directory.read_manifest()
    session = manifest.sessions[-1]
    if gone := sentences.outages(manifest):
        console.print(gone, markup=False)
    if session.stopped:
        console.print(f"stopped: {session.stopped}", markup=False)
    if directory.is_unfinished:
        console.print(f"to continue, run the same command with --resume {directory.path}", markup=False, soft_wrap=True)
    if session.runner is not None and (p99 := session.runner.p99()) is not None:
        console.print(f"timing error of the runner: p99 {p99 * 1000:.2g} ms", style="dim", markup=False)


def _print_json(summary: RunSummary, paths: Mapping[str, str]) -> None:
    import msgspec

    from tierwise.cli.output import print_json

    print_json(
        {
            **paths,
            "error_share": summary.error_share,
            "verdicts": {gain.tier: gain.verdict for gain in summary.gains},
            **msgspec.to_builtins(summary),
        }
    )


def _paths(job: BenchJob) -> dict[str, str]:
    from tierwise.ledger.location import locate

    paths = {"report": str(job.directory.report_path), "records": str(job.directory.records_path)}
    return paths if job.url else {**paths, "ledger": locate(job.ledger).name}
