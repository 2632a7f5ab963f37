"""`tierwise compare`: what changed between two runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tierwise.cli.options import AsJson, ChangedTasks, Format, IntervalPopulation, OneMode, OneModeOnly, Style
from tierwise.cli.output import print_json, wide_console
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from tierwise.analysis.arms import Arm
    from tierwise.analysis.compare import Comparison


def compare(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of the baseline run.")],
    run_b: Annotated[
        Path, typer.Argument(metavar="RUN_B", help="Folder of the run to compare with it; may be the same folder.")
    ],
    tier: Annotated[str, typer.Option(help="Only this tier or route; if not given, all that both runs have.")] = "",
    mode: OneModeOnly = None,
    base_tier: Annotated[str, typer.Option(help="RUN_A's tier or route, if different.")] = "",
    base_mode: Annotated[OneMode | None, typer.Option(help="RUN_A's mode, if different.")] = None,
    population: Annotated[
        IntervalPopulation | None,
        typer.Option(help="What the intervals describe: new tasks, or new clusters (the default if tasks have them)."),
    ] = None,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the tasks in common, even if more than 2 % are missing.")
    ] = False,
    changed_task: ChangedTasks = None,
    deployments: Annotated[
        bool,
        typer.Option("--deployments", help="Compare every tier of RUN_B with --base-tier: quality, speed, memory."),
    ] = False,
    style: Format = Style.TABLE,
    as_json: AsJson = False,
) -> None:
    """Compare two runs task by task: quality, seconds and dollars with 95 % intervals, and which tasks changed outcome.

    A change is RUN_B's value minus RUN_A's. Both runs must have asked the same tasks, except those of --changed-task.
    Exit codes: 0 compared, 2 the input is wrong or not comparable.
    """
    from tierwise.analysis.compare import compare as compared
    from tierwise.analysis.pairs import pair

    if deployments:
        _print_deployments(run_a, run_b, base_tier, style, as_json=as_json)
        return
    found = [
        compared(
            pair(base, other, common=common, changed_tasks=changed_task or ()),
            None if population is None else population.value,
        )
        for base, other in rows(run_a, run_b, tier, mode, base_tier, base_mode)
    ]
    if as_json:
        print_json([fields(one) for one in found])
        return
    for number, one in enumerate(found):
        if number:
            print()
        _print(one, style)


def _print_deployments(run_a: Path, run_b: Path, base: str, style: Style, *, as_json: bool) -> None:
    import msgspec

    from tierwise.analysis.lever_effects import lever_effects
    from tierwise.report import lever_table
    from tierwise.spec.errors import SpecError

    if run_a.resolve() != run_b.resolve():
        raise SpecError("--deployments compares the tiers of one run; give the same folder twice")
    found = lever_effects(run_b, base)
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    grid = lever_table.table(found)
    if style is Style.MARKDOWN:
        print(printable(grid.as_markdown(), lines=True))
        return
    wide_console().print(grid.for_terminal())


def rows(
    base: Path, other: Path, tier: str, mode: OneMode | None, base_tier: str, base_mode: OneMode | None
) -> list[tuple[Arm, Arm]]:
    """The selected rows, in pairs of base and other."""
    from tierwise.analysis.arms import arms, choose, matched

    first = choose(arms(base), base_tier or tier, _name(base_mode or mode))
    second = choose(arms(other), tier, _name(mode))
    return matched(first, second)


def _name(mode: OneMode | None) -> Literal["average", "max"] | None:
    return None if mode is None else mode.value


def fields(found: Comparison) -> dict[str, object]:
    """A comparison with its computed properties, for JSON."""
    import msgspec

    return {"verdict": found.verdict, "population": found.population, **msgspec.to_builtins(found)}


def _print(found: Comparison, style: Style) -> None:
    from rich.text import Text

    from tierwise.report import comparing

    if style is Style.MARKDOWN:
        print(printable(comparing.as_markdown(found), lines=True), end="")
        return
    console = wide_console()
    console.print(Text(f"{found.other} against {found.base}", "bold"))
    console.print(comparing.changes(found).for_terminal())
    console.print(Text(comparing.verdict(found)))
    for line in comparing.flips(found.gained, found.lost):
        console.print(Text(line))
    for line in comparing.notes(found):
        console.print(Text(line, "dim"))
