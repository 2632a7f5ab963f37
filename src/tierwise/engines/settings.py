"""How a deployment is written in the config file, and what a launch finds on this machine.

Settings are data and the checks that need nothing but them. What needs the machine or the checkpoint is an engine's
preflight, and what starts it is its launch; both depend on the settings, and the settings on neither (`row.EngineRow`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.spec.sampling import Sampling

Problem = tuple[str, str]
"""The name of a setting or request lever, and why it cannot work with what to do instead."""


class Remote(NamedTuple):
    """A server that runs already."""

    url: str
    """Its base, with `/v1`."""
    model: str
    """What it calls the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContext:
    """What a launch finds on this machine."""

    base: Path
    """The config file's folder, which relative paths start from."""
    logs: Path
    """The folder for its log."""
    model: Path | None = None
    """The checkpoint on this machine, a file or a folder, for an engine that loads one."""

    def program(self, name: str) -> str:
        """A program as it is started: a path starts from the config file's folder, a mere name is looked up on PATH."""
        # Not by Path, which removes the "./" that makes a path of a name.
        return os.path.join(self.base, os.path.expanduser(name)) if os.sep in name else name  # noqa: PTH111, PTH118

    def file(self, path: str) -> str:
        """A path of the config file, from the folder that it lies in."""
        return str(self.base / Path(path).expanduser())


class Settings(Protocol):
    """A deployment in the config file: a frozen msgspec struct with the engine's name as tag."""

    @property
    def slots(self) -> int:
        """How many passes run side by side."""

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer that one pass may hold; None where only the server knows."""

    @property
    def loads(self) -> str | None:
        """The name of the checkpoint that it loads; None where it runs already, or loads none."""

    @property
    def remote(self) -> Remote | None:
        """The server that runs already; None where we launch it, or where there is no server."""

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        """Every setting that cannot work on any machine.

        Args:
            checkpoints: the names that the config file declares.
        """

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        """Request levers of a tier that this deployment has no field for."""
