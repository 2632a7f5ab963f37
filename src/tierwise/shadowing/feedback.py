"""Takes labels that come after the answer, for the shadowed actions of one endpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import AlreadyKnown, NotFound, TooLate

if TYPE_CHECKING:
    from tierwise.certificate import PromiseKind
    from tierwise.shadowing.labels import AnswerName, Label
    from tierwise.shadowing.waiting import Waiting
    from tierwise.shadowing.watching import ShadowedRoute, WatchState
    from tierwise.spec.json import Json

MOST_LISTED = 1_000
"""Actions that `GET /v1/feedback` lists."""


class Feedback:
    """The labels of one endpoint. Used on its event loop.

    Args:
        routes: those that are observed, by name.
        states: of their detectors, which this reads and never writes.
        waiting: the action with an id that was chosen and is not observed yet.
        changed: called with a route and its state after a label.
    """

    def __init__(
        self,
        routes: Mapping[str, ShadowedRoute],
        states: Mapping[str, WatchState],
        waiting: Callable[[str], Waiting | None],
        changed: Callable[[str, WatchState], None],
    ) -> None:
        self._routes, self._states = routes, states
        self._waiting, self._changed = waiting, changed

    def give(self, given: Label) -> tuple[AnswerName, ...]:
        """Take a label. It counts once, as soon as all actions that were observed before are counted.

        Args:
            given: the label.

        Returns:
            The answers of the action that must be labelled too before its loss is known.

        Raises:
            AlreadyKnown: the answer has a label, or the action needs none any more.
            TooLate: the action waits no longer.
            NotFound: no action with this id waits for labels.
        """
        early = self._waiting(given.action)
        if early is not None and self._routes[early.answered.route].takes_labels:
            if early.labels.of(given.answer) is not None:
                raise _known(given)
            early.labels = early.labels.plus(given)
            return () if early.is_own else early.labels.needed(self._kind(early.answered.route))
        for name, state in self._states.items():
            found = next((one for one in state.unsettled if one.action == given.action), None)
            if given.action in state.settled or (
                found is not None and (found.loss is not None or found.labels.of(given.answer) is not None)
            ):
                raise _known(given)
            if given.action in state.expired:
                self._changed(name, msgspec.structs.replace(state, late=state.late + 1))
                days = self._routes[name].settings.label_days
                raise TooLate(
                    f"action {given.action!r} waited {days} days for its labels, and counts as no loss now; label "
                    f"sooner, or raise routes.{name}.shadow.label_days",
                    field="action",
                )
            if found is not None:
                self._changed(name, state.labelled(given, self._kind(name)))
                return found.labels.plus(given).needed(self._kind(name))
        raise self.unknown(given.action)

    def owner_of(self, action: str) -> tuple[str, str] | None:
        """The key and team that asked for an action that takes labels; None if there is none with this id."""
        if (early := self._waiting(action)) is not None:
            return early.answered.key, early.answered.team
        every = (one for state in self._states.values() for one in state.unsettled)
        return next(((one.key, one.team) for one in every if one.action == action), None)

    def unknown(self, action: str) -> NotFound:
        """The error of an action that takes no labels."""
        taking = [name for name, route in self._routes.items() if route.takes_labels]
        if not taking:
            return NotFound("no route takes labels; set `shadow: {label_days: 7}` for one", field="action")
        return NotFound(
            f"no action {action!r} waits for labels: an id is the `id` of an answer of {', '.join(taking)}, and "
            "only those that chance chose to be shadowed wait; GET /v1/feedback lists them",
            field="action",
        )

    def wanted(self) -> list[dict[str, Json]]:
        """The actions that wait for labels, those that have waited longest first, at most `MOST_LISTED`."""
        found: list[dict[str, Json]] = []
        for name in self._states:
            kind = self._kind(name)
            found += [
                {
                    "action": one.action,
                    "shadow": one.shadow,
                    "route": name,
                    "at": one.at,
                    "needs": [*one.labels.needed(kind)],
                }
                for one in self._current(name).unsettled
                if one.loss is None
            ]
        return sorted(found, key=lambda one: (one["at"], one["action"]))[:MOST_LISTED]

    def counts(self, route: str) -> dict[str, int]:
        """Actions of a route that wait for labels, that wait behind these, and that were counted; those that nobody
        labelled in time, and labels that came too late. Empty if it takes no labels.
        """
        if not self._routes[route].takes_labels:
            return {}
        state = self._current(route)
        wanted = sum(one.loss is None for one in state.unsettled)
        return {
            "wanted": wanted,
            "behind": len(state.unsettled) - wanted,
            "counted": state.promise.seen,
            "unlabelled": state.unlabelled,
            "late": state.late,
        }

    def _current(self, route: str) -> WatchState:
        """The state of a route after those that have waited for too long have left."""
        state = self._states[route]
        if self._routes[route].counted(state) is not state:
            self._changed(route, state)
        return self._states[route]

    def _kind(self, route: str) -> PromiseKind:
        return self._routes[route].certificate.promise.kind


def _known(given: Label) -> AlreadyKnown:
    return AlreadyKnown(
        f"the {given.answer} answer of action {given.action!r} needs no label: it has one (a label counts once), or "
        "the loss of the action is known without it, as where both answers are the same",
        field="action",
    )
