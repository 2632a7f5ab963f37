"""Asks the reference tier again, after the answer, for a share of the actions of certified routes.

A shadow is an action of its own in the ledger. It begins after the user's action is recorded, outside of the user's
deadline and budget, and only while users leave room for it (`room.py`). It is stopped as soon as they need that, and
waits for another turn (`waiting.py`). Nothing that happens here reaches a user: whatever fails is counted and logged.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from tierwise.certificate import by_agreement
from tierwise.ledger.records import SHADOW_OF, Record, Trace
from tierwise.policies import Single
from tierwise.run import Action
from tierwise.shadowing.answered import Answered, is_labelled, size_of, strata_of, texts_of
from tierwise.shadowing.comparing import chosen, differ, loss_of
from tierwise.shadowing.feedback import Feedback
from tierwise.shadowing.labels import Labels
from tierwise.shadowing.memory import KeptTexts, ShadowMemory
from tierwise.shadowing.outcome import Outcome, discard, uncounted
from tierwise.shadowing.room import Pace, Room
from tierwise.shadowing.tool_turns import ReferenceTier
from tierwise.shadowing.waiting import Waiting, WaitingActions
from tierwise.shadowing.watching import DETECTORS, Observed, ShadowedRoute, WatchState, hashes_of
from tierwise.spec.ask import Answer
from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.router import Router
    from tierwise.run.tier import Tier
    from tierwise.spec.json import Json
    from tierwise.spec.prompt import Prompt

_LOG = logging.getLogger("tierwise")

LOOK_SECONDS = 0.25
"""Between two looks whether the engines are quiet."""
SAVE_SECONDS = 1.0
"""Between two writes of the detectors' states."""
_COMPARE_SECONDS = 120.0
"""The longest comparison of two answers: it may run code."""


class Shadows:
    """Observes the certified routes of one endpoint. Used on its event loop.

    Args:
        routes: those that are observed, by name.
        router: tiers, and the states of certificates, which an alarm voids.
        prices: what passes cost.
        new_trace: begins an action.
        memory: the detectors' states; an alarm in them voids its certificate again.
        texts: requests and answers, where they are kept.
        chance: draws from 0 to 1, which choose the observed actions.
    """

    is_elsewhere = False  # whether another process observes, and has what is known

    def __init__(
        self,
        routes: Mapping[str, ShadowedRoute],
        router: Router,
        prices: PriceBook,
        new_trace: Callable[[], Trace],
        *,
        memory: ShadowMemory | None = None,
        texts: KeptTexts | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._routes, self._router, self._prices = dict(routes), router, prices
        self._new_trace, self._chance = new_trace, chance
        self._memory, self._texts = memory or ShadowMemory(), texts or KeptTexts(None)
        self._queue = WaitingActions()
        self._paces = {name: Pace() for name in self._routes}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_working = self._is_saving = self._is_unsaved = self._is_stopped = False
        self.record: Callable[[Record], None] = discard
        """Called with each shadow's record; the gateway sets it."""
        self.count: Callable[[str, Outcome], None] = uncounted
        """Called with route and outcome; the gateway sets it."""
        settings = [route.settings.keep_days for route in self._routes.values()]
        self._texts.forget(time(), max(settings, default=0))
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.states = self._restored()
        self._turn: Waiting | None = None
        """The action that is being observed."""
        self.feedback = Feedback(self._routes, self.states, self._waiting_for, self._changed)

    def _restored(self) -> dict[str, WatchState]:
        stored, found = self._memory.read(), {}
        for name, route in self._routes.items():
            state = stored.get(name)
            if state is None or state.certificate != route.certificate.sha256:
                state = WatchState.fresh(route.certificate)
            found[name] = state = route.counted(state)
            if state.alarm:
                self._router.certified.void(name, state.alarm)
        return found

    def adopt(self, routes: Mapping[str, ShadowedRoute], router: Router, prices: PriceBook) -> bool:
        """Observe the same certificates for another service from now on; false, and nothing changes, if not so."""
        if not self.can_adopt(routes):
            return False
        self._routes.update(routes)
        self._router, self._prices = router, prices
        for name, state in self.states.items():
            if state.alarm:
                router.certified.void(name, state.alarm)
        return True

    def can_adopt(self, routes: Mapping[str, ShadowedRoute]) -> bool:
        """Whether `adopt` will."""
        return not self._is_stopped and hashes_of(self._routes) == hashes_of(routes)

    def resume(self) -> None:
        """Observe again after `stop`."""
        self._is_stopped = False

    def tier_for(self, tier: Tier, prompt: Prompt) -> Tier:
        """The tier that answers a request: the given one, except for a turn with tools that nobody has labelled.

        Args:
            tier: the one of the requested model.
            prompt: the request.
        """
        route = self._routes.get(tier.name)
        if route is None or not prompt.has_tools or route.settings.tool_turns == "route" or not self._holds(tier.name):
            return tier
        return replace(tier, policy=ReferenceTier(route.certificate.reference))

    def report(self, route: str) -> dict[str, Json] | None:
        """What is known of a route's shadowed actions, as `/v1/models` shows it; None for a route without them."""
        if (state := self.states.get(route)) is None:
            return None
        one = state.disagreement
        return {
            "share": self._routes[route].settings.share,
            "observed": one.seen,
            "differing": one.losses,
            "certified_rate": one.limit,
            "waiting": sum(waiting.answered.route == route for waiting in self._queue),
            "lost": state.lost,
            "labelled": state.promise.seen,
            "loss": state.promise.losses,
            "evidence": {name: getattr(state, name).evidence for name in DETECTORS},
            "labels": {**self.feedback.counts(route)},
            "strata": [*state.strata()],
            "alarm": state.alarm,
        }

    @property
    def is_busy(self) -> bool:
        """Whether a shadow runs or waits for a quiet moment."""
        return self._is_working

    def offer(self, one: Answered) -> None:
        """Observe an action, if chance chooses it. Returns at once and never raises."""
        try:
            self._offer(one)
        except Exception as error:  # noqa: BLE001 - an answer must not depend on it
            _LOG.error("action %s was not shadowed: %r", one.action, error)

    def _offer(self, one: Answered) -> None:
        route = self._routes.get(one.route)
        if route is None or self._is_stopped or one.is_bounded or one.prompt.has_tools or not one.passes:
            return
        if not self._holds(one.route) or self._chance() >= route.settings.share:
            return
        kept = replace(one, passes=(chosen(one.answer, one.passes),))  # the others may be large
        self._observe_later(kept, route)

    def take(self, certificate: str, one: Answered) -> None:
        """Observe an action that chance chose in another process, if the certificate is the same."""
        route = self._routes.get(one.route)
        if route is not None and not self._is_stopped and route.certificate.sha256 == certificate:
            self._observe_later(one, route)

    def _observe_later(self, one: Answered, route: ShadowedRoute) -> None:
        is_own = self._is_own(one, route.certificate.reference)
        self._wait(Waiting(answered=one, is_own=is_own, size=size_of(one.prompt.messages), since=now()))

    def _wait(self, one: Waiting) -> None:
        for other in self._queue.add(one):
            self._leave(other)
        if not self._is_working and len(self._queue):
            self._is_working = True
            self._spawn(self._work())

    def _leave(self, one: Waiting) -> None:
        """An action that is not observed. If its shadow has begun, that may be because of what it says: a long answer
        has to yield more often than a short one. It then counts as one without harm or difference, so that no
        alarm is raised because of who is missing.
        """
        answered = one.answered
        if not one.tries or not self._holds(answered.route):
            self._counted(answered.route, "dropped")
            return
        is_promised = self._has_label(answered) and self._is_promised(answered)
        loss = 0.0 if is_promised else None
        self._observe(answered, Observed.of_lost(answered.action, loss, strata_of(answered)), "lost")

    def _has_label(self, one: Answered) -> bool:
        """Whether something tells the promised loss: a verifier, or labels that come later; by agreement, the
        reference's answer.
        """
        route = self._routes[one.route]
        return route.takes_labels or by_agreement(route.certificate.promise.labels) or is_labelled(one)

    def _is_promised(self, one: Answered) -> bool:
        """Whether the promise is about this action."""
        certificate = self._routes[one.route].certificate
        return certificate.promise.kind != "selective" or one.answer.tier != certificate.reference

    def _holds(self, route: str) -> bool:
        state = self._router.certified.state(route)
        return state is not None and state.holds

    def _is_own(self, one: Answered, reference: str) -> bool:
        """Whether the answer is what the reference gives alone: cheaper tiers' candidates did not count in it."""
        if one.answer.tier != reference:
            return False
        candidates = {done.tier for done in one.passes if done.call.candidate}
        return candidates == {reference} or isinstance(self._router.tiers[reference].policy, Single)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Cancel what runs, and store the states. Idempotent."""
        self._is_stopped = True
        self._is_unsaved |= self._is_saving  # what is being written may not get there
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in self._queue.take_all():
            self._leave(one)
        if self._is_unsaved:
            self._is_unsaved = False
            self._memory.write(self.states)

    async def _work(self) -> None:
        """Observe what waits, one action after the other."""
        try:
            while len(self._queue):
                for one in self._queue.take_old(now()):
                    self._leave(one)
                if (turn := await self._next()) is None:
                    await asyncio.sleep(LOOK_SECONDS)
                else:
                    await self._take_turn(*turn)
        finally:
            self._is_working = False

    async def _next(self) -> tuple[Waiting, Room] | None:
        """The first action of each route has its turn, if it is quiet enough. None if no route has."""
        seen: set[str] = set()
        for one in self._queue:
            name = one.answered.route
            if not self._holds(name):  # since an alarm the reference answers, or will
                self._queue.remove(one)
                self._leave(one)
                continue
            if name in seen:
                continue
            seen.add(name)
            route = self._routes[name]
            is_alone = route.settings.wait_for == "idle"
            room = Room.of(route.certificate.reference, self._router.serving, is_alone=is_alone)
            is_quiet = not (room.needed() or await room.occupied())
            if self._paces[name].is_over(now(), is_quiet=is_quiet) and self._holds(name) and one in self._queue:
                return one, room
        return None

    async def _take_turn(self, one: Waiting, room: Room) -> None:
        answered, pace = one.answered, self._paces[one.answered.route]
        self._queue.remove(one)
        one.tries += not one.is_own
        self._turn = one
        outcome: Outcome = "yielded"
        try:
            outcome = await self._try(one, room)
        finally:
            self._turn = None
            if outcome == "yielded":  # or the endpoint stops, and it has to leave
                for other in self._queue.add(one):
                    self._leave(other)
        if outcome == "yielded":
            pace.yielded()
            self._counted(answered.route, outcome)
        elif outcome in ("agreed", "differed"):
            pace.ended()

    async def _try(self, one: Waiting, room: Room) -> Outcome:
        """Observe one action; never raises, except when the endpoint stops."""
        answered = one.answered
        try:
            return self._observe_own(answered) if one.is_own else await self._shadow(answered, room)
        except Exception as error:  # noqa: BLE001 - a bug must not end shadowing
            _LOG.error("the shadow of action %s failed with an internal error", answered.action, exc_info=error)
            self._counted(answered.route, "failed")
            return "failed"

    def _observe_own(self, one: Answered) -> Outcome:
        """The reference tier gave the answer, so nothing is asked."""
        kind = self._routes[one.route].certificate.promise.kind
        loss = {"harm": 0.0, "net": 0.5, "selective": None}[kind] if self._has_label(one) else None
        seen = Observed(action=one.action, differs=False, loss=loss, strata=strata_of(one))
        self._observe(one, seen, "own")
        self._keep(one, seen, one.answer, "")  # tasks made of these texts are then like the traffic
        return "own"

    async def _shadow(self, one: Answered, room: Room) -> Outcome:
        reference = self._routes[one.route].certificate.reference
        trace = self._new_trace()
        action = Action(
            room.tiers[reference],
            trace,
            tiers=room.tiers,
            verifier=one.verifier,
            prices=self._prices,
        )
        solving = asyncio.create_task(action.solve(one.prompt))
        yields = ""

        def stop(why: str) -> None:
            nonlocal yields
            if not yields:
                yields = why
                solving.cancel()

        looking = asyncio.create_task(room.watch_queues(stop))
        answer: Answer | None = None
        error = "the endpoint was stopped"
        try:
            with room.watched(stop):
                await asyncio.wait({solving})
            if solving.cancelled():
                error = f"stopped: {yields}"
            elif (failure := solving.exception()) is not None:
                error = f"{type(failure).__name__}: {failure}"
                if not isinstance(failure, TierwiseError):
                    raise failure
            else:
                answer, error = solving.result(), ""
        finally:
            looking.cancel()
            if not solving.done():
                solving.cancel()
                await asyncio.wait({solving})
            self._record(one, action, trace, answer, error, yields=solving.cancelled() and bool(yields))
        if answer is None:
            if not yields:
                self._counted(one.route, "failed")
            return "yielded" if yields else "failed"
        return await self._compared(one, answer, trace)

    def _record(
        self, one: Answered, action: Action, trace: Trace, answer: Answer | None, error: str, *, yields: bool
    ) -> None:
        """Hand over the record of a shadow, without its texts."""
        self.record(
            Record(
                trace=trace,
                model=f"{one.route} (shadow)",
                tier=action.tier or self._routes[one.route].certificate.reference,
                reason=f"{SHADOW_OF}{one.action}",
                ending="yielded" if yields else "failed" if answer is None else "answered",
                seconds=now() - trace.began,
                first_output=None,
                finish="" if answer is None else answer.completion.finish,
                why="" if answer is None else answer.why,
                error=error,
                shadow_of=one.action,
            )
        )

    async def _compared(self, one: Answered, reference: Answer, trace: Trace) -> Outcome:
        promise = self._routes[one.route].certificate.promise
        is_kept = one.answer.tier != self._routes[one.route].certificate.reference
        async with asyncio.timeout(_COMPARE_SECONDS):
            differs = await differ(one.answer, one.passes, reference, trace.passes, one.verifier)
            if by_agreement(promise.labels):
                loss: float | None = float(differs)
            else:
                loss = await loss_of(one.answer, reference, one.verifier, promise.kind, is_kept=is_kept)
        outcome: Outcome = "differed" if differs else "agreed"
        seen = Observed(action=one.action, differs=differs, loss=loss, strata=strata_of(one))
        self._observe(one, seen, outcome, trace.action)
        self._keep(one, seen, reference, trace.action)
        return outcome

    def _keep(self, one: Answered, seen: Observed, reference: Answer, shadow: str) -> None:
        """Keep the texts of an observed action, where the settings say so."""
        line = texts_of(one, seen, reference, shadow)
        self._texts.add(line, time(), self._routes[one.route].settings.keep_days)

    def _waiting_for(self, action: str) -> Waiting | None:
        """An action that was chosen, and is not observed yet."""
        turn = self._turn
        return turn if turn is not None and turn.answered.action == action else self._queue.named(action)

    def _observe(self, one: Answered, seen: Observed, outcome: Outcome, shadow: str = "") -> None:
        """Add an observation to the detectors of its route."""
        route = self._routes[one.route]
        if route.takes_labels and self._is_promised(one):
            labels = Labels() if seen.is_lost or self._turn is None else self._turn.labels
            loss = labels.loss(route.certificate.promise.kind, differs=seen.differs) if seen.loss is None else seen.loss
            kept = one.unsettled(at=time(), shadow=shadow, loss=loss, labels=labels)
            seen = replace(seen, unsettled=kept)
        state = self.states[one.route].after(seen)
        self._counted(one.route, outcome)
        self._changed(one.route, state)

    def _changed(self, name: str, state: WatchState) -> None:
        """Keep the state of a route after all that can be counted; an alarm voids the certificate."""
        before = self.states[name]
        self.states[name] = state = self._routes[name].counted(state)
        self._is_unsaved = True
        if state.alarm and not before.alarm:
            self._memory.write(self.states)  # at once: it has to survive whatever comes next
            self._router.certified.void(name, state.alarm)
        if not self._is_saving and not self._is_stopped:
            self._is_saving = True
            self._spawn(self._save())

    async def _save(self) -> None:
        try:
            while self._is_unsaved:
                self._is_unsaved = False
                await asyncio.to_thread(self._memory.write, dict(self.states))
                await asyncio.sleep(SAVE_SECONDS)
        finally:
            self._is_saving = False

    def _counted(self, route: str, outcome: Outcome) -> None:
        self.counts[route, outcome] += 1
        self.count(route, outcome)
