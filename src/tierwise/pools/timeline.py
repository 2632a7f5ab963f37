"""The panel that begins an action on an idle deployment: unfolded once, and shared by all settings that ask for it.

Nothing in it depends on the policy but where it stops, so a policy only walks along it. What is different (a second
panel, a pass beside it, a budget that binds) is simulated pass by pass (`pools.asking`), with the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from tierwise.pools.engines import RunningDraw, SimulatedEngine
from tierwise.run.recovery import LOST, is_lost
from tierwise.spec.call import Call, Outcome, Pass, Usage

if TYPE_CHECKING:
    from types import TracebackType

    from tierwise.pools.clock import Simulation
    from tierwise.pools.draws import Draw
    from tierwise.pools.memo import Memo
    from tierwise.spec.ask import Order
    from tierwise.spec.prompt import Prompt


class Fallback(BaseException):
    """The action must be simulated pass by pass. No policy can catch it by accident."""


class Spent(NamedTuple):
    """What the passes of a panel have used when a policy leaves it; passes that ran are aborted then."""

    passes: int
    prompt: int
    cached: int
    completion: int
    busy: float


class Timeline:
    """When the passes of a panel start and end if none is stopped.

    Attributes:
        running: the passes, in the order of their starts.
        ends: the number of the pass that ends first, second …
        at: the times of these ends.
        spent: what all passes have used at each end; at -1 of the list: before any.
        tokens: tokens of every started pass at each end; None for a pass whose prompt is not computed.
    """

    def __init__(
        self, engine: SimulatedEngine, simulation: Simulation, draws: Sequence[Draw], bound: int | None, width: int,
        prompt: object,
    ) -> None:  # fmt: skip
        self.running: list[RunningDraw] = []
        self.began: list[float] = []
        self.marks: list[float] = []
        self.ends: list[int] = []
        self.at: list[float] = []
        self.busy: list[float] = []
        self.spent: list[Spent] = []
        self.tokens: list[list[int | None]] = []
        self.costs: dict[int, float] = {}
        """Dollars by the end at which a policy left it."""
        self.passes: dict[tuple[str, str, bool], list[tuple[Prompt, list[Pass]]]] = {}
        self._engine, self._simulation = engine, simulation
        self._draws, self._bound, self._prompt = draws, bound, prompt
        self.first = Spent(min(width, len(draws)), 0, 0, 0, 0.0)
        for _ in range(self.first.passes):
            self._start()
        while simulation.step():
            pass
        self._reached = self._in_draw_order()

    def _start(self) -> None:
        number, now = len(self.running), self._simulation.now
        if number == len(self._draws):
            return
        draw = self._draws[number]
        limit = draw.count if self._bound is None else min(self._bound, draw.count)
        running = RunningDraw(draw, limit, self._prompt, lambda: self._end(number), passes=len(self._draws))
        self.running.append(running)
        self.began.append(now)
        self.marks.append(self._engine.occupancy.enter(now))
        self._engine.start(running)

    def _end(self, number: int) -> None:
        now, engine = self._simulation.now, self._engine
        share = engine.occupancy.shared(now)
        self.ends.append(number)
        self.at.append(now)
        self.busy.append(engine.occupancy.leave(self.marks[number], now))
        counts: list[int | None] = []
        prompt = cached = completion = 0
        busy = 0.0
        ended = set(self.ends)
        for index, running in enumerate(self.running):
            tokens = running.tokens if running.is_over else engine.tokens(running)
            counts.append(tokens if running.has_prompt else None)
            if running.has_prompt:
                prompt += running.draw.usage.prompt
                cached += min(running.cached, running.draw.usage.prompt)
                completion += tokens
            if index not in ended:
                busy += share - self.marks[index]
        self.tokens.append(counts)
        self.spent.append(Spent(len(self.running), prompt, cached, completion, busy + sum(self.busy)))
        self._simulation.at(now, self._start)

    def _in_draw_order(self) -> list[int]:
        """For each pass, the end at which it and all before it are there."""
        place = {number: index for index, number in enumerate(self.ends)}
        reached, latest = [], 0
        for number in range(len(self.ends)):
            latest = max(latest, place[number])
            reached.append(latest)
        return reached

    def reached(self, position: int, order: Order) -> int:
        """The end after which entry `position` is there."""
        return self._reached[position] if order == "draw" else position

    def finished(self, call: Call, tier: str, deployment: str, memo: Memo) -> list[Pass]:
        """Every pass as it ends by itself, by its number. Equal calls share them."""
        key = (tier, call.role, call.candidate)
        known = self.passes.setdefault(key, [])
        for prompt, passes in known:
            if prompt is call.prompt or prompt == call.prompt:
                return passes
        made: list[Pass] = [None] * len(self.ends)  # type: ignore[list-item]  # every number is filled below
        for index, number in enumerate(self.ends):
            running = self.running[number]
            made[number] = self._pass(number, call, tier, deployment, memo, running.tokens, self.at[index], None)
        known.append((call.prompt, made))
        return made

    def all_passes(self, call: Call, tier: str, deployment: str, memo: Memo, last: int) -> list[Pass]:
        """Every pass that had started, when the policy left after end `last`, in the order in which they ended."""
        finished = self.finished(call, tier, deployment, memo)
        if last < 0:
            return [self._pass(n, call, tier, deployment, memo, None, 0.0, 0.0) for n in range(self.first.passes)]
        ended = self.ends[: last + 1]
        now, share = self.at[last], self.busy[last] + self.marks[self.ends[last]]
        return [finished[number] for number in ended] + [
            self._pass(number, call, tier, deployment, memo, tokens, now, share - self.marks[number])
            for number, tokens in enumerate(self.tokens[last])
            if number not in ended
        ]

    def _pass(
        self, number: int, call: Call, tier: str, deployment: str, memo: Memo, tokens: int | None, at: float,
        aborted: float | None,
    ) -> Pass:  # fmt: skip
        """A pass that ended by itself, or that was aborted after these busy seconds."""
        running, began = self.running[number], self.began[number]
        draw, first = running.draw, running.first_token
        logprobs = bool(call.prompt.fields.get("logprobs"))
        part = memo.remember(draw.part(tokens or 0, logprobs=logprobs, ended=aborted is None))
        has_first = first is not None and bool(tokens)
        usage = Usage(exact=False) if tokens is None else draw.usage_of(tokens, running.cached)
        ended: Outcome = LOST if is_lost(part.completion, usage) else "finished"
        return Pass(
            number=number,
            tier=tier,
            deployment=deployment,
            call=Call(prompt=call.prompt, role=call.role, candidate=call.candidate, after=call.after, draw=number),
            outcome=ended if aborted is None else "aborted",
            completion=part.completion,
            usage=usage,
            started=began,
            first_token=first - began if first is not None and has_first else None,
            seconds=at - began,
            busy_seconds=self.busy[self.ends.index(number)] if aborted is None else aborted,
        )


class Walk(Protocol):
    """The action that walks along a timeline."""

    is_sharing: bool

    def now(self, at: float) -> None:
        """Advance its clock to this time of the timeline."""


class SharedPanel:
    """A panel that walks along a timeline."""

    __slots__ = (
        "_at",
        "_call",
        "_choice",
        "_last",
        "_next",
        "_order",
        "_passes",
        "_settle",
        "_timeline",
        "left",
        "position",
    )

    def __init__(
        self, timeline: Timeline, choice: Walk, passes: list[Pass], order: Order, settle: Callable[[int], None]
    ) -> None:
        self._timeline, self._choice, self._passes, self._order = timeline, choice, passes, order
        self._settle = settle
        self._last = -1
        self._next = 0
        self.left = len(passes)
        self.position = -1

    async def __aenter__(self) -> Self:
        self._choice.is_sharing = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._choice.is_sharing = False
        self._settle(self._last)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Pass:
        position = self._next
        if not self.left:
            raise StopAsyncIteration
        timeline = self._timeline
        if self._order == "finish":
            last, number = position, timeline.ends[position]
        else:
            last, number = timeline.reached(position, "draw"), position
        if last > self._last:
            self._last = last
            self._choice.now(timeline.at[last])
        self._next = position + 1
        self.left -= 1
        self.position = number
        return self._passes[number]
