"""Ends the thinking of a running pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.engine import ControlsThinking

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment
    from tierwise.spec.call import Chunk


async def end_thinking(deployment: Deployment, chunk: Chunk) -> bool:
    """End the thinking of the pass that a chunk is of. Returns whether the pass goes on with its answer."""
    engine = deployment.engine
    if not chunk.completion_id or not isinstance(engine, ControlsThinking):
        return False
    return await engine.end_thinking(chunk.completion_id)
