"""Observes routes in the processes of an endpoint that keep no evidence, if several serve it.

Chance chooses in each process, with one probability, from what that one answers: such draws are a draw from all
traffic, whichever process answered what. The process that keeps the evidence does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tierwise.shadowing.memory import KeptTexts, ShadowMemory
from tierwise.shadowing.shadows import Shadows

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Trace
    from tierwise.router import Router
    from tierwise.shadowing.answered import Answered
    from tierwise.shadowing.watching import ShadowedRoute
    from tierwise.spec.json import Json


class ShadowsElsewhere(Shadows):
    """As `Shadows`, which another process has.

    Args:
        routes: those that are observed, by name.
        router: tiers, and the states of certificates.
        prices: what passes cost.
        new_trace: begins an action.
        memory: the states as they were stored last; an alarm in them voids its certificate here too. Only read.
        send: hands an action that chance chose over, with the SHA-256 of the certificate.
        reports: what the other process says of the routes.
    """

    is_elsewhere = True

    def __init__(
        self,
        routes: Mapping[str, ShadowedRoute],
        router: Router,
        prices: PriceBook,
        new_trace: Callable[[], Trace],
        *,
        memory: ShadowMemory,
        send: Callable[[str, Answered], None],
        reports: Mapping[str, Any],
    ) -> None:
        super().__init__(routes, router, prices, new_trace, memory=memory, texts=KeptTexts(None))
        self._send, self._reports = send, reports
        self._first = {name: super(ShadowsElsewhere, self).report(name) for name in routes}
        self._memory = ShadowMemory(None)
        self.states.clear()

    def report(self, route: str) -> dict[str, Json] | None:
        """As `Shadows.report`, about a second old."""
        return self._reports.get(route) or self._first.get(route)

    def _observe_later(self, one: Answered, route: ShadowedRoute) -> None:
        self._send(route.certificate.sha256, one)
