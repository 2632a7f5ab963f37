"""A llama.cpp that Tierwise launched, with what only it can do: share a computed prompt, and end thinking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.llama_cpp.metrics import METRIC_NAMES
from tierwise.engines.process.launched import LaunchedEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from tierwise.engines.llama_cpp.client import SlotClient
    from tierwise.engines.part import Part
    from tierwise.engines.process.followed import FollowedProcess
    from tierwise.engines.process.supervisor import Launch
    from tierwise.spec.call import Call
    from tierwise.spec.capabilities import Capabilities


class LlamaCppEngine(LaunchedEngine):
    """A supervised llama.cpp.

    Args:
        name: as for `LaunchedEngine`.
        launch: as for `LaunchedEngine`.
        logs: as for `LaunchedEngine`.
        client: leases the slots of the process.
        facts: as for `LaunchedEngine`.
        capabilities: as for `LaunchedEngine`.
    """

    def __init__(
        self,
        name: str,
        launch: Callable[[int], Launch],
        *,
        logs: Path,
        client: SlotClient,
        facts: Callable[[str], Awaitable[Mapping[str, str]]],
        capabilities: Callable[[str], Awaitable[Capabilities]],
    ) -> None:
        super().__init__(
            name, launch, logs=logs, client=client, facts=facts, capabilities=capabilities, metrics=METRIC_NAMES
        )
        self._slots = client
        client.serves = lambda base_url: self.supervisor.serves(base_url.removesuffix("/v1"))

    def follow(self, process: FollowedProcess, part: Part) -> None:
        """As `LaunchedEngine.follow`; only slots of this part are leased."""
        super().follow(process, part)
        self._slots.part = part
        process.on_launch(lambda launch: self._slots.begin(f"{launch.url}/v1", launch.scratch))

    def prefill(self, call: Call, passes: int) -> Call | None:
        """As `engine.SharesPrompts`."""
        return self._slots.prefill(call, passes)

    async def end_thinking(self, completion_id: str) -> bool:
        """As `engine.ControlsThinking`."""
        return await self._slots.end_thinking(f"{await self.supervisor.ready()}/v1", completion_id)
