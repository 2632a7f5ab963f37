"""Deployments in simulated time: they run draws at the measured speed, or as long as each took when it was recorded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

from tierwise.engines.occupancy import Occupancy

if TYPE_CHECKING:
    from tierwise.pools.clock import Simulation
    from tierwise.pools.draws import Draw
    from tierwise.pools.speed import Speed

_ROUNDING = 1e-9


class RunningDraw:
    """A draw in a simulated engine.

    Attributes:
        draw: the recorded pass.
        limit: tokens after which it ends.
        cached: prompt tokens that are in the engine's cache.
        prompt: what identifies its prompt.
        passes: how many passes of its action have this prompt and run side by side, itself included.
        tokens: tokens so far, once it has ended; while it runs, ask its engine.
        has_prompt: whether its prompt is computed.
        first_token: the time of its first token; None before it.
        on_token: called with the number of tokens after each, and with 0 where there is none; None if nobody asks.
        on_end: called when it has ended by itself.
    """

    __slots__ = (
        "began", "cached", "draw", "first_token", "has_prompt", "is_over", "limit", "mark", "on_end", "on_token",
        "passes", "prompt", "ready", "slot", "tokens", "virtual",
    )  # fmt: skip

    def __init__(
        self,
        draw: Draw,
        limit: int,
        prompt: object,
        on_end: Callable[[], None],
        on_token: Callable[[int], None] | None = None,
        *,
        passes: int = 1,
    ) -> None:
        self.draw, self.limit, self.prompt, self.passes = draw, limit, prompt, passes
        self.on_end, self.on_token = on_end, on_token
        self.cached = draw.usage.cached
        self.tokens = 0
        self.has_prompt = False
        self.first_token: float | None = None
        self.is_over = False
        self.began = 0.0
        self.ready = 0.0
        self.virtual = 0.0
        self.slot = -1
        self.mark = 0.0


class SimulatedEngine(Protocol):
    """A deployment in simulated time."""

    occupancy: Occupancy

    def start(self, running: RunningDraw) -> None:
        """Begin a draw, or let it wait until the engine has a place for it."""

    def stop(self, running: RunningDraw) -> None:
        """End a draw before its time. Its `tokens` are those so far."""

    def tokens(self, running: RunningDraw) -> int:
        """Tokens of a running draw so far."""

    def reset(self) -> None:
        """Forget every prompt and draw."""

    def warm(self, prompt: object, places: int, passes: int) -> None:
        """Hold a prompt in this many slots, as so many of the `passes` that began side by side leave it."""


class RecordedEngine:
    """Every draw takes the time that it took when it was recorded, however many run at once."""

    def __init__(self, simulation: Simulation) -> None:
        self.occupancy = Occupancy()
        self._simulation = simulation

    def reset(self) -> None:
        self.occupancy = Occupancy()

    def start(self, running: RunningDraw) -> None:
        draw, now = running.draw, self._simulation.now
        running.began = now
        running.mark = (draw.seconds - draw.first_token) / max(1, draw.count)  # seconds of a token
        running.ready = now + draw.first_token
        self._simulation.at(running.ready, lambda: self._first(running))

    def stop(self, running: RunningDraw) -> None:
        running.tokens = self.tokens(running)
        running.is_over = True

    def warm(self, prompt: object, places: int, passes: int) -> None:
        """Its times do not depend on what is cached."""

    def tokens(self, running: RunningDraw) -> int:
        now = self._simulation.now
        if running.first_token is None:
            return 0
        if running.mark <= 0:
            return running.limit
        return min(running.limit, 1 + int((now - running.ready) / running.mark + _ROUNDING))

    def _first(self, running: RunningDraw) -> None:
        if running.is_over:
            return
        running.has_prompt = True
        if running.limit:
            running.first_token = self._simulation.now
        if running.on_token is not None:
            self._token(running, min(1, running.limit))
        else:
            ends = running.ready + running.limit * running.mark
            self._simulation.at(ends, lambda: self._end(running))

    def _token(self, running: RunningDraw, number: int) -> None:
        if running.is_over:
            return
        assert running.on_token is not None  # noqa: S101 - only then are tokens planned
        running.on_token(number)
        following = running.ready + number * running.mark
        if number < running.limit:
            self._simulation.at(following, lambda: self._token(running, number + 1))
        else:
            self._simulation.at(following, lambda: self._end(running))

    def _end(self, running: RunningDraw) -> None:
        if running.is_over:
            return
        running.is_over, running.tokens = True, running.limit
        running.on_end()


class LoadedEngine:
    """Draws share the engine as measured (`pools.speed`), and a prompt that it has computed is not computed again.

    Args:
        simulation: the clock.
        speed: the measured speed.
        slots: draws that run at once; further ones wait in their order.
        shares: for a prompt and a number of passes that run side by side, whether every later draw finds it in the
            cache, and so does one that waits while another computes it. Otherwise each slot keeps its own last prompt,
            as in llama.cpp where sharing does not pay or is off.
        fresh_and_cached: for a prompt, its cached tokens when the engine sees it first, and when it has computed it;
            None for as many as the draw had when it was recorded.
    """

    def __init__(
        self,
        simulation: Simulation,
        speed: Speed,
        slots: int,
        *,
        shares: Callable[[object, int], bool],
        fresh_and_cached: Callable[[object], tuple[int, int] | None],
    ) -> None:
        self._simulation, self._speed, self._slots = simulation, speed, slots
        self._shares, self._fresh_and_cached = shares, fresh_and_cached
        self.reset()

    def reset(self) -> None:
        self.occupancy = Occupancy()
        self._waiting: deque[RunningDraw] = deque()
        self._prefilling: deque[RunningDraw] = deque()
        self._decoding: list[tuple[float, int, RunningDraw]] = []
        self._decodes = 0
        self._held: list[object] = [None] * self._slots
        self._free = list(range(self._slots))
        self._known: set[object] = set()
        self._virtual = 0.0
        self._mark = 0.0
        self._rate = 0.0
        self._version = 0
        self._order = 0

    def start(self, running: RunningDraw) -> None:
        running.began = self._simulation.now
        if self._free:
            self._begin(running)
        else:
            self._waiting.append(running)

    def stop(self, running: RunningDraw) -> None:
        running.tokens = self.tokens(running)
        running.is_over = True
        if running.slot < 0:
            self._waiting.remove(running)
            return
        if running.has_prompt:
            self._decodes -= 1
        else:
            was_head = self._prefilling[0] is running
            self._prefilling.remove(running)
            self._held[running.slot] = None  # its prompt is not computed to the end
            if was_head:
                self._begin_prefill()
        self._leave(running)
        self._plan()

    def _begin(self, running: RunningDraw) -> None:
        self._advance()
        running.slot = self._place(running.prompt)
        if (sizes := self._fresh_and_cached(running.prompt)) is not None:
            is_known = running.prompt in self._known or self._held[running.slot] == running.prompt
            running.cached = sizes[is_known]
        self._held[running.slot] = running.prompt
        self._prefilling.append(running)
        if len(self._prefilling) == 1:
            self._begin_prefill()
        self._plan()

    def _place(self, prompt: object) -> int:
        """A free slot: one that holds the prompt, else the one that has been free for longest."""
        held = self._held
        for index, slot in enumerate(self._free):
            if held[slot] == prompt:
                return self._free.pop(index)
        return self._free.pop(0)

    def _begin_prefill(self) -> None:
        if self._prefilling:
            head = self._prefilling[0]
            sizes = self._fresh_and_cached(head.prompt)
            if sizes is not None and head.prompt in self._known:  # another draw has computed it meanwhile
                head.cached = sizes[1]
            fresh = max(0, head.draw.usage.prompt - head.cached)
            head.ready = self._simulation.now + self._speed.prefill(fresh)

    def _leave(self, running: RunningDraw) -> None:
        """Free its slot for the next that waits."""
        self._free.append(running.slot)
        if self._waiting:
            self._begin(self._waiting.popleft())

    def warm(self, prompt: object, places: int, passes: int) -> None:
        if places and self._shares(prompt, passes):
            self._known.add(prompt)
        for slot in self._free[max(0, len(self._free) - places) :]:
            self._held[slot] = prompt

    def tokens(self, running: RunningDraw) -> int:
        self._advance()
        if running.first_token is None:
            return 0
        return min(running.limit, 1 + int(self._virtual - running.virtual + _ROUNDING))

    def _advance(self) -> None:
        """Bring the tokens of a pass that decodes all the time up to now."""
        now = self._simulation.now
        self._virtual += self._rate * (now - self._mark)
        self._mark = now

    def _plan(self) -> None:
        """Plan the next event: the end of a prompt, or the next token or end of a draw."""
        self._version += 1
        decoding = self._decoding
        while decoding and decoding[0][2].is_over:
            heappop(decoding)
        if self._prefilling:
            self._rate = 0.0
            when = self._prefilling[0].ready
        elif decoding:
            self._rate = 1 / max(self._speed.step(self._decodes), _ROUNDING)
            when = self._simulation.now + max(0.0, decoding[0][0] - self._virtual) / self._rate
        else:
            self._rate = 0.0
            return
        version = self._version
        self._simulation.at(when, lambda: self._event(version))

    def _event(self, version: int) -> None:
        if version != self._version:
            return
        self._advance()
        if self._prefilling:
            self._prefilled(self._prefilling.popleft())
            return
        moment, _, running = heappop(self._decoding)
        self._virtual = max(self._virtual, moment)
        self._produced(running, self.tokens(running))

    def _prefilled(self, running: RunningDraw) -> None:
        if self._shares(running.prompt, running.passes):
            self._known.add(running.prompt)
        self._begin_prefill()
        running.virtual = self._virtual
        self._decodes += 1
        running.has_prompt = True
        if running.limit:
            running.first_token = self._simulation.now
        self._produced(running, min(1, running.limit))

    def _produced(self, running: RunningDraw, tokens: int) -> None:
        """Some tokens are there: go on, or end."""
        if running.on_token is not None:
            running.on_token(tokens)
            if running.is_over:
                return
        if tokens >= running.limit:
            running.is_over, running.tokens = True, running.limit
            self._decodes -= 1
            self._leave(running)
            self._plan()
            running.on_end()
            return
        self._order += 1
        following = 1 if running.on_token is not None else running.limit - tokens
        heappush(self._decoding, (running.virtual + tokens - 1 + following, self._order, running))
        self._plan()
