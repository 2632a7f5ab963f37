"""`tierwise gate`: whether a run may replace another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tierwise.cli.compare import rows
from tierwise.cli.options import AsJson, ChangedTasks, OneMode
from tierwise.cli.output import print_json, wide_console

if TYPE_CHECKING:
    from tierwise.analysis.gate import Gate


def gate(
    run: Annotated[Path, typer.Argument(help="Folder of the candidate run.")],
    against: Annotated[Path, typer.Option(help="Folder of the baseline run; may be the same folder.")],
    policy: Annotated[Path, typer.Option(help="gate.yaml: the quality margin, and bounds on latency and dollars.")],
    tier: Annotated[str, typer.Option(help="The tier or route; required if the runs have several.")] = "",
    mode: Annotated[OneMode | None, typer.Option(help="The mode; required if the tier has two.")] = None,
    base_tier: Annotated[str, typer.Option(help="The baseline's tier or route, if different.")] = "",
    base_mode: Annotated[OneMode | None, typer.Option(help="The baseline's mode, if different.")] = None,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Stop at the first look that decides; may be used while RUN is running."),
    ] = False,
    common: Annotated[
        bool, typer.Option("--common", help="Use the tasks in common, even if more than 2 % are missing.")
    ] = False,
    changed_task: ChangedTasks = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a Markdown summary for a pull request to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decide whether a run may replace its baseline: non-inferior quality, and bounds on latency and dollars.

    Exit codes: 0 PASS, 1 FAIL, 2 INCONCLUSIVE, invalid input or a file that cannot be written; the last two print no
    verdict.
    """
    from tierwise.analysis import gate as gates
    from tierwise.analysis.pairs import pair
    from tierwise.spec.errors import SpecError

    bounds = gates.load(policy)
    found = rows(against, run, tier, mode, base_tier, base_mode)
    if len(found) > 1:
        names = ", ".join(other.variant.name for _, other in found)
        raise SpecError(
            f"a gate judges one tier in one mode; these runs have {names} in common: select one with --tier and --mode"
        )
    pairs = pair(*found[0], common=common or sequential, changed_tasks=changed_task or ())
    judged = gates.gate(pairs, bounds, is_sequential=sequential)
    _write(judged, junit, markdown)
    if as_json:
        print_json(fields(judged))
    else:
        show(judged)
    raise typer.Exit(judged.exit_code)


def _write(judged: Gate, junit: Path | None, markdown: Path | None) -> None:
    from tierwise.report import gating
    from tierwise.spec.errors import SpecError, TierwiseError
    from tierwise.spec.replacing import replace_file

    for path, write in ((junit, gating.as_junit), (markdown, gating.as_markdown)):
        if path is None:
            continue
        try:
            replace_file(path, write(judged).encode())
        except TierwiseError as error:  # its exit code is that of FAIL
            raise SpecError(str(error)) from error


def fields(judged: Gate) -> dict[str, object]:
    """A gate's result with its computed properties, for JSON."""
    import msgspec

    computed = {"verdict": judged.verdict, "tasks": judged.tasks, "needed": judged.needed}
    return {**computed, **msgspec.to_builtins(judged)}


def show(judged: Gate) -> None:
    """Print a gate's result."""
    from rich.text import Text

    from tierwise.report import gating
    from tierwise.report.comparing import flips

    console = wide_console()
    style = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}[judged.verdict]
    console.print(Text(gating.headline(judged), style))
    console.print(gating.checks(judged).for_terminal())
    for line in flips(judged.gained, judged.lost):
        console.print(Text(line))
    for line in gating.notes(judged):
        console.print(Text(line, "dim"))
