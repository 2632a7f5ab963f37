"""The slots of one llama.cpp process, leased to passes: which slot a pass gets, and who is next when none is free.

A lease goes to the slot whose last prompt shares the longest prefix with the pass's, so that its cached tokens are not
computed again. Passes that wait are served by start-time fair queueing (Goyal, Vin and Cheng, 1996): the passes that an
action runs side by side are a flow, and of passes that run alone, those with the same prompt. Of a flow, one pass at a
time is ahead of a pass that arrived later.

A lease lasts until the pass ends, so turns alone would let a group that has every slot delay a single pass by the whole
of an answer. One slot is therefore spare: passes of groups leave it free, and a pass that runs alone may have it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tierwise.engines.llama_cpp.prompt_text import PromptText, shared_characters

_MOST_FLOWS = 64
"""Flows without a waiting pass that are kept at most: each holds the text of a prompt."""


@dataclass(eq=False, slots=True)
class Slot:
    """A slot of the process."""

    number: int
    holds: PromptText = ()
    """What its cache holds, as far as known here: the last prompt with its answer."""
    released: int = 0
    """Rank of its last release; 0 if it was never used."""


@dataclass(eq=False, slots=True)
class _Waiter:
    prompt: PromptText
    group: str
    granted: asyncio.Future[Slot]


class Slots:
    """Leases the slots of one process.

    Args:
        count: number of slots.
        spare: how many of them only passes that run alone may have, and only while passes of groups run.
        first: number of the first of them.
        step: from one number to the next: the slots between are leased by other processes.
    """

    def __init__(self, count: int, spare: int = 0, *, first: int = 0, step: int = 1) -> None:
        self._spare = spare
        self._grouped = 0  # leases of passes of groups
        self._free = [Slot(first + step * place) for place in range(count)]
        self._waiting: list[tuple[int, int, _Waiter]] = []
        self._arrivals = itertools.count(1)
        self._releases = itertools.count(1)
        self._served = 0  # tag of the last pass that got a slot
        self._last: dict[PromptText | str, int] = {}  # last tag of each flow

    @property
    def waiting(self) -> int:
        """Number of passes that wait for a slot."""
        return sum(not waiter.granted.done() for _, _, waiter in self._waiting)

    @asynccontextmanager
    async def leased(self, prompt: PromptText, group: str = "") -> AsyncGenerator[Slot]:
        """Lease a slot during the block; waits until one is free.

        Args:
            prompt: of the pass.
            group: the action whose passes run side by side with it; empty for a pass that runs alone.
        """
        slot = await self._lease(prompt, group)
        try:
            yield slot
        finally:
            slot.released = next(self._releases)
            self._take_back(slot, group)

    async def _lease(self, prompt: PromptText, group: str) -> Slot:
        flow = group or prompt
        tag = max(self._served, self._last.get(flow, 0)) + 1
        self._last[flow] = tag
        waiter = _Waiter(prompt, group, asyncio.get_running_loop().create_future())
        heapq.heappush(self._waiting, (tag, next(self._arrivals), waiter))
        self._serve()
        try:
            return await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():  # granted and cancelled at once
                self._take_back(waiter.granted.result(), group)
            raise

    def _take_back(self, slot: Slot, group: str) -> None:
        self._grouped -= bool(group)
        self._free.append(slot)
        self._serve()

    def _serve(self) -> None:
        passed_over = []  # passes of groups, when only the spare slot is free
        while self._free and self._waiting:
            tag, number, waiter = heapq.heappop(self._waiting)
            if waiter.granted.done():  # it was cancelled
                continue
            if len(self._free) <= self._spare and (waiter.group or not self._grouped):
                passed_over.append((tag, number, waiter))
                if not self._grouped:  # no pass may have the spare slot
                    break
                continue
            self._served = max(self._served, tag)
            self._grouped += bool(waiter.group)
            slot = self._best(waiter.prompt)
            self._free.remove(slot)
            waiter.granted.set_result(slot)
        for entry in passed_over:
            heapq.heappush(self._waiting, entry)
        if not self._waiting or len(self._last) > 2 * len(self._waiting) + _MOST_FLOWS:
            self._last = {flow: tag for flow, tag in self._last.items() if tag > self._served}

    def _best(self, prompt: PromptText) -> Slot:
        """The free slot with the longest common prefix; among equals the one that was released first."""
        return max(self._free, key=lambda slot: (shared_characters(slot.holds, prompt), -slot.released))
