"""A route of the config file: shorthand for a tier with the policy `cascade`."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tierwise.policies.acceptance import CascadeSignal
from tierwise.policies.cascade import DEFAULT_SIGNALS, Cascade, wrong_steps
from tierwise.spec.paths import FilePath
from tierwise.spec.shadow import Shadow


class RouteConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model name that chooses among tiers: shorthand for a tier with the policy `cascade`."""

    cascade: Annotated[list[str], msgspec.Meta(min_length=1)]
    """Tiers, cheapest first; see the policy `cascade`."""
    signals: tuple[CascadeSignal, ...] | None = None
    """The signals that accept a cheaper answer, with thresholds; see the policy `cascade`. None for its default."""
    steps: tuple[tuple[CascadeSignal, ...], ...] | None = None
    """In place of `signals`: a list for each tier but the last; see the policy `cascade`."""
    certificate: FilePath | None = None
    """The file with its certificate, from the config file's folder: what `tierwise tune` proved about it. Where it does
    not hold, the route is not served, or answered by the certificate's safe tier."""
    shadow: Shadow | None = None
    """How many actions of a route with a certificate are asked again on its reference tier. None for none."""

    def __post_init__(self) -> None:
        if why := wrong_steps(self.cascade, self.steps, has_signals=self.signals is not None):
            raise ValueError(why)

    @property
    def policy(self) -> Cascade:
        """What it is short for."""
        signals = DEFAULT_SIGNALS if self.signals is None else self.signals
        return Cascade(ladder=tuple(self.cascade), signals=signals, steps=self.steps)
