"""The slots of each deployment that one action may occupy: all its choices and policies share them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tierwise.spec.ask import OutOfBudget

if TYPE_CHECKING:
    from tierwise.engines.engine import Deployment


class SharedSlots:
    """As many concurrent passes of one action on a deployment as the deployment has slots. The others wait in turn.

    A panel already starts no more than that for one choice; `n` choices, each with its policy, share them here.
    """

    __slots__ = ("_of",)

    def __init__(self) -> None:
        self._of: dict[str, asyncio.Semaphore] = {}

    async def occupy(self, deployment: Deployment, deadline: float | None) -> asyncio.Semaphore:
        """Occupy one slot. Returns what releases it.

        Args:
            deployment: whose slot.
            deadline: in the time of the event loop; None to wait for any length of time.

        Raises:
            OutOfBudget: no slot was free before the deadline.
        """
        slots = self._of.get(deployment.name)
        if slots is None:
            slots = self._of[deployment.name] = asyncio.Semaphore(deployment.slots)
        if slots.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await slots.acquire()
            except TimeoutError:
                raise OutOfBudget from None
        else:
            await slots.acquire()
        return slots
