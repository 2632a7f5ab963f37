"""`tierwise import`: converts other tools' results to runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.options import AsJson, Style, name_of
from tierwise.cli.output import print_json, wide_console
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.analysis.leaderboard import Leaderboard
    from tierwise.runs.importers import Imported


def _tools() -> Iterable[str]:
    from tierwise.runs.importers import IMPORTERS

    return IMPORTERS


def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Result files, or directories of them.")],
    out: Annotated[Path | None, typer.Option(help="Directory for the runs.")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            parser=name_of(_tools),
            metavar="TOOL",
            help="The tool that wrote the files: {names}. By default recognised from their content.",
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="The score that decides whether an answer is correct, where the logs have several.")
    ] = "",
    cluster: Annotated[
        str, typer.Option(metavar="KEY", help="Key of a sample's data that names the cluster of its task.")
    ] = "",
    table: Annotated[
        bool,
        typer.Option("--table", help="Print scores and paired differences, with naive and clustered standard errors."),
    ] = False,
    style: Annotated[Style, typer.Option("--format", help="How to print the table.")] = Style.TABLE,
    as_json: AsJson = False,
) -> None:
    """Import results of other tools as runs, which compare, gate and replay read: evaluation harnesses, agent runners
    and load tools.

    Exit codes: 0 imported, 2 a file is invalid and nothing was written.
    """
    from tierwise.analysis.leaderboard import leaderboard
    from tierwise.runs import importers
    from tierwise.spec.errors import SpecError

    if out is None and not table:
        raise SpecError("nothing to do; give --out DIR to write runs, --table to print a table, or both")
    options = importers.ImportOptions(metric=metric, cluster=cluster)
    runs = [run for path in importers.logs(paths) for run in importers.read(path, kind or "", options)]
    names = [run.name for run in runs]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(
            f"several files are named {', '.join(duplicates)}; rename them, because each becomes a run of that name"
        )
    if table:
        _check_table(runs)
    folders = {} if out is None else _write(runs, out)
    found = leaderboard(runs) if table else None
    if as_json:
        print_json(_fields(runs, folders, found))
        return
    for run in runs if folders else ():
        print(f"{folders[run.name]}  {_counts(run)}")
    if found is not None:
        _print(found, style)


def _check_table(runs: list[Imported]) -> None:
    from tierwise.spec.errors import SpecError

    if len({run.suite for run in runs}) > 1:
        raise SpecError(f"a table covers one suite; these are {', '.join(sorted({run.suite for run in runs}))}")
    if unchecked := [run.name for run in runs if not run.has_checks]:
        raise SpecError(f"a table compares scores, and {unchecked[0]} has none; import with --out, and compare")
    if repeated := [run.name for run in runs if run.repeats > 1]:
        raise SpecError(
            f"a table covers one result of each task, and {repeated[0]} has several; import with --out, and use "
            "`tierwise compare`"
        )


def _write(runs: list[Imported], out: Path) -> dict[str, Path]:
    """Write all runs or none: they are written to a temporary directory and then moved."""
    import shutil
    import tempfile

    from tierwise.runs import importers
    from tierwise.spec.errors import SpecError

    taken = [out / run.name for run in runs if (out / run.name).exists()]
    if taken:
        raise SpecError(f"{taken[0]} already exists; give another directory to --out, or move this one away")
    try:
        out.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".importing-", dir=out))
    except OSError as error:
        raise SpecError(f"cannot write runs to {out}: {error}") from error
    try:
        for run in runs:
            importers.write(run, draft / run.name)
        for run in runs:
            (draft / run.name).rename(out / run.name)
    finally:
        shutil.rmtree(draft)
    return {run.name: out / run.name for run in runs}


def _counts(run: Imported) -> str:
    solved, errors = sum(one.is_solved for one in run.results), sum(not one.is_graded for one in run.results)
    text = f"{run.suite}: {solved} of {len(run.results)} solved"
    if not run.has_checks:
        text = f"{run.suite}: {len(run.results)} requests, no check"
    tasks = len({one.task for one in run.results})
    if run.repeats > 1:
        text += f" ({tasks} tasks, up to {run.repeats} times each)"
    if errors:
        text += f", {errors} infrastructure errors"
    if run.absent:
        text += f", {len(run.absent)} not run"
    if run.size is not None and tasks != run.size:
        extra = tasks - run.size
        text += f"; the suite has {run.size}: {abs(extra)} {'more' if extra > 0 else 'missing'}"
    return text


def _fields(runs: list[Imported], folders: dict[str, Path], found: Leaderboard | None) -> dict[str, object]:
    import msgspec

    shown: dict[str, object] = {
        "runs": [
            {
                "name": run.name,
                "tier": run.tier,
                "suite": run.suite,
                "size": run.size,
                "results": len(run.results),
                "repeats": run.repeats,
                "solved": sum(result.is_solved for result in run.results) if run.has_checks else None,
                "not_run": len(run.absent),
                "folder": str(folders[run.name]) if folders else None,
            }
            for run in runs
        ]
    }
    if found is not None:
        shown |= {**msgspec.to_builtins(found), "significant": found.significant}
    return shown


def _print(found: Leaderboard, style: Style) -> None:
    from rich.text import Text

    from tierwise.report import comparing

    tables = [comparing.scores(found)] + ([comparing.paired_tests(found)] if found.paired_tests else [])
    if style is Style.MARKDOWN:
        parts = [*(table.as_markdown() for table in tables), "\n".join(comparing.leaderboard_notes(found))]
        print(printable("\n\n".join(parts), lines=True))
        return
    console = wide_console()
    for table in tables:
        console.print(table.for_terminal())
        console.print()
    for line in comparing.leaderboard_notes(found):
        console.print(Text(line, "dim"))
