"""What observes certified routes in each worker: one keeps the evidence and asks again, the others send it what chance
chose. When that one dies, its successor goes on with the evidence that was stored.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tierwise.gateway.feedback import told_of
from tierwise.service import new_trace, shadow_memory, shadowed_routes, shadows_of
from tierwise.shadowing.elsewhere import ShadowsElsewhere

if TYPE_CHECKING:
    from tierwise.plan import Plan
    from tierwise.service import Service
    from tierwise.shadowing import Answered, Shadows

OBSERVER = 0
"""The number of the worker that keeps the evidence."""


def _read_only(fields: dict[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(fields)


class _Packer(pickle.Pickler):
    """Also takes read-only views of dicts, which prompts have."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, MappingProxyType):
            return _read_only, (dict(obj),)
        return NotImplemented


def packed(one: Answered) -> bytes:
    """An action for another worker."""
    _Packer(data := io.BytesIO()).dump(one)
    return data.getvalue()


class Observing:
    """Shadows of one worker.

    Args:
        number: the worker's.
        tell: sends a message to the supervisor, which hands it to those that it is for.
    """

    def __init__(self, number: int, tell: Callable[[str, Any], None]) -> None:
        self._keeps, self._tell = number == OBSERVER, tell
        self._reports: dict[str, Any] = {}
        """What is known of the routes, as it was told last."""

    def observing(self, plan: Plan, service: Service) -> Service:
        """The service with what observes its routes."""
        if self._keeps:
            return replace(service, shadows=shadows_of(plan, service))
        if not (routes := shadowed_routes(plan, service.certificates)):
            return service
        shadows = ShadowsElsewhere(
            routes,
            service.router,
            service.prices,
            new_trace,
            memory=shadow_memory(service.ledger),
            send=self._send,
            reports=self._reports,
        )
        return replace(service, shadows=shadows)

    def _send(self, certificate: str, one: Answered, is_own: bool) -> None:
        self._tell("shadow", [certificate, packed(one), is_own])

    async def made_ready(self, before: Service, plan: Plan, service: Service) -> tuple[Service, Shadows | None]:
        """The service of a new version with what observes its routes; the same as before if their certificates are.

        Returns:
            The service; and what was stopped for it, with its evidence stored, which goes on if the version is not
            served after all.
        """
        if not self._keeps or before.shadows is None:
            return self.observing(plan, service), None
        if before.shadows.can_adopt(shadowed_routes(plan, service.certificates)):
            for name, state in before.shadows.states.items():
                if state.alarm:
                    service.router.certified.void(name, state.alarm)
            return replace(service, shadows=before.shadows), None
        try:
            await before.shadows.stop()
            return self.observing(plan, service), before.shadows
        except BaseException:  # the version is let go of meanwhile
            before.shadows.resume()
            raise

    def adopt(self, before: Service, plan: Plan, service: Service) -> None:
        """The service is about to answer."""
        if self._keeps and service.shadows is not None and service.shadows is before.shadows:
            service.shadows.adopt(shadowed_routes(plan, service.certificates), service.router, service.prices)

    def take(self, shadows: Shadows | None, told: Any) -> None:
        """Another worker answered an action that chance chose."""
        certificate, data, is_own = told
        if shadows is not None:
            shadows.take(certificate, pickle.loads(data), is_own=is_own)  # noqa: S301 - a worker packed it; it has no program's words

    def labels(self, shadows: Shadows | None, asked: Any) -> Any:
        """Take a label that came to another worker, if the evidence is here."""
        return told_of(shadows, asked) if self._keeps and shadows is not None else None

    def learn(self, reports: Any) -> None:
        """The worker that keeps the evidence says what is known."""
        self._reports.clear()
        self._reports.update(reports)

    def report(self, shadows: Shadows | None) -> None:
        """Tell the others what is known, if it is kept here and has changed."""
        if self._keeps and shadows is not None:
            found = {name: shadows.report(name) for name in shadows.states}
            if found != self._reports:
                self._reports = found
                self._tell("evidence", found)
