"""Arguments and options that several verbs take, each with one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Modes(StrEnum):
    """Which modes of a tier are measured."""

    AVERAGE = "average"
    MAX = "max"
    BOTH = "both"


class OneMode(StrEnum):
    """Which mode of a tier is meant."""

    AVERAGE = "average"
    MAX = "max"


class IntervalPopulation(StrEnum):
    """The population that the intervals describe."""

    TASKS = "tasks"
    CLUSTERS = "clusters"


class Style(StrEnum):
    """How a result is written."""

    TABLE = "table"
    MARKDOWN = "markdown"


ConfigPath = Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")]
WorkloadPath = Annotated[
    Path, typer.Argument(help="Tasks with their checks: one JSON object on each line, or a folder with workload.yaml.")
]
Limit = Annotated[int | None, typer.Option(help="Only the first N tasks of the workload.", min=1, metavar="N")]
Seed = Annotated[int, typer.Option(help="Decides the order of the actions, and the seed of each task.")]
Concurrency = Annotated[int, typer.Option(help="Actions in flight at any moment.", min=1, max=1000)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OneModeOnly = Annotated[OneMode | None, typer.Option(help="Only this mode.")]
Format = Annotated[Style, typer.Option("--format", help="How to print it.")]
