"""Recordings as an engine."""

from tierwise.engines.replay.launch import build, command
from tierwise.engines.replay.preflight import preflight
from tierwise.engines.replay.settings import Replay
from tierwise.engines.row import EngineRow

__all__ = ["ROW", "Replay"]

ROW: EngineRow[Replay] = EngineRow(
    settings=Replay, title="recordings", preflight=preflight, command=command, build=build
)
