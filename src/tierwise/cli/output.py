"""Output shared by several verbs: JSON, and tables for a terminal or a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from tierwise.cli.console import Console


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def wide_console() -> Console:
    """A console for tables: as wide as the terminal, or 160 characters if the output is a file or pipe."""
    import sys

    from tierwise.cli.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)


def new_directory(name: str) -> Path:
    """The default directory of a run without `--out`: `runs/NAME-TIME`."""
    return Path("runs") / f"{name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"


def scratch_folder(context: typer.Context) -> Path:
    """A temporary folder that is removed when the verb ends, however it does; for dry runs, which leave nothing."""
    from tempfile import TemporaryDirectory

    return Path(context.with_resource(TemporaryDirectory(prefix="tierwise-")))
