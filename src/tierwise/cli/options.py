"""Arguments and options shared by several verbs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Modes(StrEnum):
    """Which modes of a tier are measured."""

    AVERAGE = "average"
    MAX = "max"
    BOTH = "both"


class OneMode(StrEnum):
    """One mode of a tier."""

    AVERAGE = "average"
    MAX = "max"


class IntervalPopulation(StrEnum):
    """The population that the intervals generalize to."""

    TASKS = "tasks"
    CLUSTERS = "clusters"


class Style(StrEnum):
    """Output format of a result."""

    TABLE = "table"
    MARKDOWN = "markdown"


def name_of(names: Callable[[], Iterable[str]]) -> Callable[[str], str]:
    """A parser for the name of a member of a family, whose table `names` imports only when it is needed: when a name is
    given, and for the help of a `NamingCommand`.
    """

    def name(value: str) -> str:
        known = list(names())
        if value not in known:
            raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}")
        return value

    name.names = names  # type: ignore[attr-defined]
    return name


class NamingCommand(TyperCommand):
    """A command whose help names the members of families: `{names}` in the help of an option that `name_of` parses."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # Typer's click is its own or the package, by its version
        """Write the help. Only now the tables are imported."""
        option: Any
        for option in self.params:
            if names := getattr(getattr(option.type, "func", None), "names", None):
                option.help = option.help.replace("{names}", ", ".join(names()))
        super().format_help(ctx, formatter)


ConfigPath = Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")]
WorkloadPath = Annotated[
    Path, typer.Argument(help="Tasks with their checks: one JSON object per line, or a folder with workload.yaml.")
]
Limit = Annotated[int | None, typer.Option(help="Only the first N tasks of the workload.", min=1, metavar="N")]
Seed = Annotated[int, typer.Option(help="Determines the order of the actions, and the seed of each task.")]
Concurrency = Annotated[int, typer.Option(help="Number of concurrent actions.", min=1, max=1000)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OneModeOnly = Annotated[OneMode | None, typer.Option(help="Only this mode.")]
Format = Annotated[Style, typer.Option("--format", help="Output format.")]
ChangedTasks = Annotated[
    list[str] | None,
    typer.Option(
        "--changed-task",
        metavar="TASK",
        help="This task differs between the two runs, and the difference is meant; can be repeated.",
    ),
]
