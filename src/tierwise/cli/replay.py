"""`tierwise replay`: grades a run again and rebuilds its report, from its directory alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from tierwise.runs.directory import RunDirectory
    from tierwise.runs.records import TrialRecord
    from tierwise.workloads.task import Task


def replay(
    run: Annotated[Path, typer.Argument(help="Folder of a run, from `tierwise bench` or `tierwise import`.")],
    out: Annotated[
        Path | None, typer.Option(help="Write the report to this file; if not given, replace the run's report.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the changes as JSON.")] = False,
) -> None:
    """Grade the recorded answers again, and rebuild the report, with no model and no endpoint.

    If no check has changed, the report is identical, byte for byte. If one has (a newer Tierwise, a corrected check in
    the folder's workload.jsonl), the tasks whose outcome changed are listed. The records are not modified. Grades by a
    judge are kept, and so is what another tool graded: an imported run has no tasks to grade, and gets a report.

    Exit codes: 0 no grade changed, 1 some changed, 2 invalid input.
    """
    import asyncio
    import json

    from tierwise.analysis.summary import summarise
    from tierwise.bench.trial import regrade_all
    from tierwise.report.page import page
    from tierwise.runs.directory import RunDirectory
    from tierwise.spec.replacing import replace_file

    directory = RunDirectory(run)
    tasks, records = _read(directory)
    manifest = directory.read_manifest()
    again = asyncio.run(regrade_all(tasks, records)) if tasks else records
    html = page(manifest, tasks, again, summarise(manifest, again, tasks))
    target = out or directory.report_path
    is_same = target.exists() and target.read_text(encoding="utf-8") == html
    replace_file(target, html.encode())
    graded = len(records) if tasks else 0
    changed = [(old, new) for old, new in zip(records, again, strict=True) if old.outcome != new.outcome]
    if as_json:
        flips = [
            {
                "task": old.task,
                "tier": old.tier,
                "mode": old.mode,
                "was": old.outcome,
                "is": new.outcome,
                "why": new.why,
            }
            for old, new in changed
        ]
        facts = {"graded": graded, "changed": flips, "report": str(target), "report_is_the_same": is_same}
        print(json.dumps(facts, indent=2))
    else:
        for old, new in changed:
            print(f"{old.task} ({old.tier}, {old.mode}): {old.outcome} → {new.outcome}: {printable(new.why)}")
        print(f"{graded} answers graded again, {len(changed)} grades changed")
        print(f"report  {target}{' (identical to the previous one)' if is_same else ''}")
    raise typer.Exit(1 if changed else 0)


def _read(directory: RunDirectory) -> tuple[list[Task], list[TrialRecord]]:
    from tierwise.spec.errors import NotFound
    from tierwise.workloads.task import read_tasks

    if not directory.has_manifest:
        raise NotFound(
            f"{directory.path} is not a run: it has no manifest.json; give a folder that `tierwise bench` wrote"
        )
    is_without_tasks = directory.read_manifest().is_imported and not directory.tasks_path.exists()
    return [] if is_without_tasks else read_tasks(directory.tasks_path), directory.read_records()
