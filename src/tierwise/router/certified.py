"""Routes with a certificate while they are served: whether it holds, and the safe tier that answers if it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tierwise.run.tier import Tier
from tierwise.spec.ask import Answer, Ask
from tierwise.spec.budget import Budget
from tierwise.spec.prompt import Prompt

_LOG = logging.getLogger("tierwise")

CERTIFICATE = "certificate"
"""The signal of the decision that a route is answered by its safe tier."""

CertificateState = Literal["unchecked", "holds", "void"]
"""`unchecked`: the engines are not ready, so nothing was compared yet. Only a route whose certificate `holds` is
answered by its own policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedRoute:
    """A route with a certificate, at one moment."""

    certificate: str
    """The SHA-256 of the certificate."""
    safe: str
    """The tier that answers unless it holds."""
    state: CertificateState = "unchecked"
    reasons: tuple[str, ...] = ()
    """Why it is void, in the order in which it was noticed."""

    @property
    def holds(self) -> bool:
        return self.state == "holds"

    @property
    def label(self) -> str:
        """What every answer says: the beginning of the certificate's hash, or the state and its reasons."""
        if self.holds:
            return self.certificate[:12]
        return f"{self.state}; {'; '.join(self.reasons) or 'the engines are not ready yet'}"


def _nobody(name: str, reason: str) -> None:
    """Tell nobody."""


class CertifiedRoutes:
    """The state of every route with a certificate, while its endpoint runs.

    The service calls `hold` or `void` once it has compared the certificate with the running engines. An alarm at run
    time, such as that of shadowed traffic, calls `void`: actions that arrive later are then answered by the route's
    safe tier, with the reason in their header, `usage.tierwise.certificate`, trace and ledger, in the log and in the
    metric `tierwise_route_certified`. A void certificate stays void until the endpoint is started again. Not
    thread-safe: call it on the event loop.
    """

    def __init__(self, routes: Mapping[str, CertifiedRoute] | None = None) -> None:
        self._routes = dict(routes or {})
        self.when_void: Callable[[str, str], None] = _nobody
        """Called with the route and the reason once a certificate does not hold any more."""
        self.when_changed: Callable[[str, str], None] = _nobody
        """Called with a deployment and what changed about its engine, whether or not a certificate is about it."""

    def __iter__(self) -> Iterator[str]:
        """The names of the routes with a certificate."""
        return iter(self._routes)

    def state(self, route: str) -> CertifiedRoute | None:
        """The present state of a route; None for a route, or a tier, without a certificate."""
        return self._routes.get(route)

    def hold(self, route: str) -> None:
        """The certificate was compared, and holds. A void one stays void."""
        now = self._routes[route]
        if now.state == "unchecked":
            self._routes[route] = replace(now, state="holds")

    def void(self, route: str, reason: str) -> None:
        """The certificate does not hold (any more): from now on the safe tier answers.

        Args:
            route: a route with a certificate.
            reason: one line that says what differs or what was noticed, for users.

        Raises:
            KeyError: the route has no certificate.
        """
        now = self._routes[route]
        if reason in now.reasons:
            return
        _LOG.warning("route %s: its certificate is void, so tier %s answers: %s", route, now.safe, reason)
        self._routes[route] = replace(now, state="void", reasons=(*now.reasons, reason))
        self.when_void(route, reason)

    def void_ones(self) -> list[tuple[str, str]]:
        """Routes whose certificates do not hold, each with every reason."""
        return [(name, reason) for name, one in self._routes.items() for reason in one.reasons]

    @property
    def are_checked(self) -> bool:
        """Whether every certificate has been compared with the running engines."""
        return all(one.state != "unchecked" for one in self._routes.values())

    def serving(self, tiers: Mapping[str, Tier]) -> Mapping[str, Tier]:
        """The tiers that answer now: a route whose certificate does not hold is its safe tier."""
        void = {name: one for name, one in self._routes.items() if not one.holds}
        if not void:
            return tiers
        return {**tiers, **{name: replace(tiers[name], policy=SafeTier(one)) for name, one in void.items()}}


@dataclass(frozen=True, slots=True)
class SafeTier:
    """The policy of a route whose certificate does not hold: its safe tier answers, and the trace says why."""

    route: CertifiedRoute

    def most(self, at: Callable[[str], Budget]) -> Budget:
        return at(self.route.safe)

    def tiers(self) -> tuple[str, ...]:
        return (self.route.safe,)

    @property
    def sets(self) -> frozenset[str]:
        return frozenset()

    async def solve(self, prompt: Prompt, ask: Ask) -> Answer:
        reason = f"its certificate is {self.route.label}: its safe tier {self.route.safe} answers"
        ask.note(reason, signal=CERTIFICATE, about=self.route.safe)
        return await ask.at(self.route.safe).solve(prompt, shown=True, drafts=ask.drafts)
