"""The engine of a recording. Launches nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.engines.replay.engine import ReplayEngine
from tierwise.engines.replay.recording import read_recording

if TYPE_CHECKING:
    from tierwise.engines.replay.settings import Replay
    from tierwise.engines.settings import LaunchContext


def command(settings: Replay, context: LaunchContext) -> str:
    """The text shown instead of a command line."""
    return f"(no process) replays {context.file(settings.recording)}"


def build(settings: Replay, name: str, context: LaunchContext) -> ReplayEngine:
    """The engine.

    Raises:
        SpecError: the recording cannot be read.
    """
    return ReplayEngine(name, read_recording(Path(context.file(settings.recording))), speed=settings.speed)
