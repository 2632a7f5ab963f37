"""Checks that the recording exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.engines.replay.settings import Replay
    from tierwise.engines.settings import LaunchContext, Problem


def preflight(settings: Replay, context: LaunchContext) -> Iterable[Problem]:
    """All settings that cannot work here."""
    if not Path(context.file(settings.recording)).is_file():
        yield "recording", f"there is no file {settings.recording!r} in the folder of the config file"
