"""A deployment in the config file, and the context of a launch on this machine.

Settings contain data and the checks that need nothing else. Checks that need the machine or the checkpoint are in an
engine's preflight, and starting it is in its launch. Both depend on the settings; the settings depend on neither.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.spec.sampling import Sampling

Problem = tuple[str, str]
"""The name of a setting or request lever, and an error message: why it cannot work, and what to do instead."""


class Remote(NamedTuple):
    """A server that is already running."""

    url: str
    """The base URL, including `/v1`."""
    model: str
    """The server's name for the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchContext:
    """Paths that a launch needs."""

    base: Path
    """The folder of the config file; relative paths are relative to it."""
    logs: Path
    """The folder for log files."""
    model: Path | None = None
    """The checkpoint on this machine, a file or folder; None if the engine loads none or it is not downloaded."""

    def program(self, name: str) -> str:
        """The program to start: a path is relative to the config file's folder, a bare name is looked up on PATH."""
        # pathlib would remove the "./" that makes a name a path.
        return os.path.join(self.base, os.path.expanduser(name)) if os.sep in name else name  # noqa: PTH111, PTH118

    def file(self, path: str) -> str:
        """A path from the config file, resolved against its folder."""
        return str(self.base / Path(path).expanduser())


class Settings(Protocol):
    """A deployment in the config file: a frozen msgspec struct with the engine's name as tag."""

    @property
    def slots(self) -> int:
        """Maximum number of concurrent passes."""

    @property
    def context(self) -> int | None:
        """Context window in tokens, prompt plus answer; None if only the server knows it."""

    @property
    def loads(self) -> str | None:
        """The name of the checkpoint that it loads; None if it is already running or loads none."""

    @property
    def remote(self) -> Remote | None:
        """The server that is already running; None if Tierwise launches it or there is no server."""

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        """Return all settings that cannot work on any machine.

        Args:
            checkpoints: the names that the config file declares.
        """

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        """Return the request levers of a tier that this deployment does not support."""


class BaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults for a deployment that loads no checkpoint, has no server, and supports what its engine ignores.

    A subclass declares `tag_field="engine"` and its `tag`, and has `slots`; it overrides what differs.
    """

    @property
    def context(self) -> int | None:
        """As `Settings`."""
        return None

    @property
    def loads(self) -> str | None:
        """As `Settings`."""
        return None

    @property
    def remote(self) -> Remote | None:
        """As `Settings`."""
        return None

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:  # noqa: ARG002 - the signature of `Settings`
        """As `Settings`."""
        return ()

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:  # noqa: ARG002 - the signature of `Settings`
        """As `Settings`."""
        return ()
