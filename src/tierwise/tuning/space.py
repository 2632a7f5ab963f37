"""The settings that a config file allows: fixed tiers, the reference with fewer votes, and routes from a cheaper tier.

Routes over two cheaper tiers are in `tuning.ladders`.

A route asks a cheap tier, and passes on to the reference, or to a variant of it, what a signal does not accept. Its
thresholds are quantiles of the signal on the tuning tasks. Whether an answer is accepted is all that a threshold
decides, so all thresholds of a route follow from few replays: one that accepts everything, one that accepts nothing,
and one for each number of agreeing draws (`tuning.evaluate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tierwise.policies import Cascade, Majority, PolicyChoice
from tierwise.policies.acceptance import CascadeSignal
from tierwise.policies.learned import SignalName
from tierwise.pools.grid import Setting
from tierwise.spec.budget import Budget
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import Reading
from tierwise.stopping import Curtailment, Predictive, StopChoice

if TYPE_CHECKING:
    from tierwise.plan import Plan

SignalKind = SignalName
SIGNALS: tuple[SignalKind, ...] = ("span_probability", "margin", "tail_confidence", "entropy", "length")
"""Those with a threshold. Agreement has a number of draws instead."""
FALLING: frozenset[SignalKind] = frozenset({"entropy", "length"})
"""Signals that accept up to their threshold; the others from it on."""
QUANTILES = 36
"""Thresholds of each signal, at most."""
AGREEMENTS = (2, 3)
DIGITS = 4
"""Significant digits of a threshold, as it is written into the config file."""
NEVER = CascadeSignal(tail_confidence=1e9)
"""Accepts nothing, and asks for log-probabilities."""
ACCEPTING = (NEVER, CascadeSignal(length=10**9))
_FEWER = (0.5, 1.0)
_STOPS = (StopChoice(curtailment=Curtailment()), StopChoice(predictive=Predictive(probability=0.97)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A tier that differs from one of the config file in its policy."""

    name: str
    base: str
    """The tier of the config file."""
    policy: PolicyChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One setting."""

    ladder: tuple[str, ...]
    """The tiers that it asks, cheapest first; one for a tier that is served alone."""
    signals: tuple[CascadeSignal, ...] = ()
    """Tried in turn; with two cheaper tiers, one of each."""
    variant: Variant | None = None
    """The last tier, if the config file does not have it."""

    @property
    def name(self) -> str:
        if len(self.ladder) == 1:
            return self.ladder[0]
        joined = " or " if self.steps is None else ", then "
        said = joined.join(f"{one.kind} {one.threshold:g}" for one in self.signals)
        return f"{' → '.join(self.ladder)} by {said}"

    @property
    def steps(self) -> tuple[tuple[CascadeSignal, ...], ...] | None:
        """The signals of each cheaper tier, where there are two."""
        return steps_of(self.ladder, self.signals)

    @property
    def is_fixed(self) -> bool:
        """Whether it is a tier of the config file, served alone."""
        return len(self.ladder) == 1 and self.variant is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is searched."""

    reference: str
    fixed: tuple[str, ...]
    """Tiers of the config file that the pool can answer, the reference included."""
    cheap: tuple[str, ...]
    """Those that a route asks first."""
    variants: tuple[Variant, ...]
    kinds: tuple[SignalKind, ...] = SIGNALS
    agreements: tuple[int, ...] = AGREEMENTS
    may_combine: bool = True
    """Whether a threshold may be followed by agreement: not where requests offer tools, whose answers are accepted
    without any signal."""
    tops: tuple[Route, ...] = field(init=False)
    """The reference and its variants, each served alone."""

    def __post_init__(self) -> None:
        tops = [Route(ladder=(self.reference,)), *(Route(ladder=(one.name,), variant=one) for one in self.variants)]
        object.__setattr__(self, "tops", tuple(tops))

    def routes(self, thresholds: Mapping[tuple[str, SignalKind], tuple[float, ...]]) -> Iterator[Route]:
        """All settings: fixed tiers, variants, and routes with these thresholds for each cheap tier and signal."""
        for name in self.fixed:
            yield Route(ladder=(name,))
        yield from (top for top in self.tops if top.variant is not None)
        for cheap in self.cheap:
            for top in self.tops:
                for signals in self._signals(cheap, thresholds):
                    yield Route(ladder=(cheap, *top.ladder), signals=signals, variant=top.variant)

    def _signals(
        self, cheap: str, thresholds: Mapping[tuple[str, SignalKind], tuple[float, ...]]
    ) -> Iterator[tuple[CascadeSignal, ...]]:
        agreeing = [CascadeSignal(agreement=n) for n in self.agreements]
        yield from ((one,) for one in agreeing)
        for kind in self.kinds:
            for threshold in thresholds.get((cheap, kind), ()):
                first = signal_of(kind, threshold)
                yield (first,)
                if self.may_combine:
                    yield from ((first, one) for one in agreeing)


def signal_of(kind: SignalKind, threshold: float) -> CascadeSignal:
    """A signal with its threshold."""
    return msgspec.convert({kind: int(threshold) if kind == "length" else threshold}, CascadeSignal)


def steps_of(
    ladder: tuple[str, ...], signals: tuple[CascadeSignal, ...]
) -> tuple[tuple[CascadeSignal, ...], ...] | None:
    """The signals of each step of a route; None if it has one step, whose signals are tried in turn."""
    return tuple((one,) for one in signals) if len(ladder) > 2 else None


def reference_of(plan: Plan, wanted: str, dollars: Mapping[str, float]) -> str:
    """The tier that routes are compared with: the wanted one, else the last tier of the first route, else the dearest.

    Args:
        plan: the config file.
        wanted: a tier's name; empty to choose.
        dollars: of an action, by each tier that the pool can answer.

    Raises:
        ConfigErrors: there is no tier of that name.
        SpecError: the pool cannot answer it.
    """
    if wanted:
        reading = Reading()
        reading.known(wanted, plan.file.tiers, "--reference", "tier")
        reading.done()
    else:
        last = wanted_reference(plan, wanted)
        wanted = last if last in dollars else max(dollars, key=lambda name: dollars[name])
    if wanted not in dollars:
        raise SpecError(
            f"the pool cannot answer tier {wanted!r}, so nothing can be compared with it; record a pool with it, or "
            f"name another: {', '.join(dollars)}",
            field="--reference",
        )
    return wanted


def wanted_reference(plan: Plan, wanted: str) -> str:
    """The wanted tier, else the last tier of the first route; empty without a route."""
    return wanted or next((plan.tiers[name].policy.member.tiers()[-1] for name in plan.file.routes), "")


def variants_of(plan: Plan, reference: str) -> Iterator[Variant]:
    """The reference with fewer votes and with other stopping rules; none if it does not vote."""
    choice = plan.tiers[reference].policy
    policy = choice.member
    if not isinstance(policy, Majority) or policy.confidence is not None:
        return
    for n in sorted({max(2, round(share * policy.n)) for share in _FEWER}):
        for stop in _STOPS:
            other = msgspec.structs.replace(policy, n=n, stop=stop)
            if other != policy:
                changed = msgspec.structs.replace(choice, **{choice.kind: other})
                yield Variant(name=f"{reference}-{n}-{stop.kind}", base=reference, policy=changed)


def setting_of(plan: Plan, tier: Variant | str) -> Setting:
    """A tier, or a variant of one, as a setting of a replay."""
    base = tier if isinstance(tier, str) else tier.base
    own = plan.tiers[base]
    choice = own.policy if isinstance(tier, str) else tier.policy
    name = tier if isinstance(tier, str) else tier.name
    return Setting(name=name, tier=base, policy=choice.member, verifier=choice.verifier, budget=own.budget)


def cascaded(name: str, ladder: tuple[str, ...], base: str, *signals: CascadeSignal) -> Setting:
    """A route as a setting of a replay.

    Args:
        name: of the setting.
        ladder: the tiers that it asks.
        base: the last of them, or the tier that it is a variant of.
        signals: what accepts an answer, as `Route.signals`.
    """
    steps = steps_of(ladder, signals)
    policy = Cascade(ladder=ladder, signals=signals) if steps is None else Cascade(ladder=ladder, steps=steps)
    return Setting(name=name, tier=base, policy=policy, verifier=None, budget=Budget())
