"""The detectors of one route: what its shadowed actions say about its certificate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING

import msgspec

from tierwise.certificate import Certificate, Figure, PromiseKind, by_agreement
from tierwise.shadowing.labels import MOST_UNSETTLED, Label, Labels, Unsettled
from tierwise.stats.drift import BrokenPromise, Change

if TYPE_CHECKING:
    from tierwise.spec.shadow import Shadow

DETECTORS = ("promise", "harm", "disagreement")
"""The fields of a state that raise alarms."""
RECENT = 200
"""Observations that strata are counted in."""
REMEMBERED = 1_000
"""Actions that are remembered once they wait no longer for labels, so that a late label is told from a wrong id."""
_NAMED = 3
"""Strata and actions that an alarm names."""
_LEAST = 3
"""Differing answers that make a stratum worth naming."""
_RAREST, _MOST = 1e-3, 0.999
"""Bounds of the certified rate of disagreement: a rate of zero or one could not be tested."""


_DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowedRoute:
    """A certified route, and how it is observed."""

    certificate: Certificate
    settings: Shadow

    @property
    def takes_labels(self) -> bool:
        """Whether its actions wait for labels. Where agreement was promised, none is needed."""
        return bool(self.settings.label_days) and not by_agreement(self.certificate.promise.labels)

    def counted(self, state: WatchState) -> WatchState:
        """The state of this route after all losses whose turn it is now."""
        if not state.unsettled:
            return state
        days = self.settings.label_days if self.takes_labels else 0
        return state.counted(self.certificate.promise.kind, time() - days * _DAY)


def hashes_of(routes: Mapping[str, ShadowedRoute]) -> dict[str, str]:
    """The SHA-256 of the certificates of routes, by name."""
    return {name: route.certificate.sha256 for name, route in routes.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What one shadowed action says."""

    action: str
    differs: bool
    """Whether route and reference answer differently."""
    loss: float | None = None
    """The promised loss, from 0 to 1; None if nothing tells right from wrong."""
    strata: Mapping[str, str]
    """Kinds of traffic that it belongs to: a value for each name."""
    is_lost: bool = False
    """Whether nothing was seen: its shadow had to yield until it was too late."""
    unsettled: Unsettled | None = None
    """It waits for labels if its loss is not known, and for those before it; None on a route that takes no labels."""

    @classmethod
    def of_lost(cls, action: str, loss: float | None, strata: Mapping[str, str]) -> Observed:
        """An action that counts with the least that it can: no difference, and no loss.

        The expected value of what is counted is then at most that of what happened, whatever decides who is lost. So
        no alarm becomes likelier, and the guarantee against false ones stands.
        """
        return cls(action=action, differs=False, loss=loss, strata=strata, is_lost=True)


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """A stored observation."""

    action: str
    differs: bool
    strata: dict[str, str]


class WatchState(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of a route's shadowed actions, as stored."""

    certificate: str
    """The SHA-256 of the certificate that it belongs to."""
    promise: BrokenPromise
    """Of the promised loss, in labelled actions."""
    harm: Change
    """Of the same losses."""
    disagreement: Change
    """Of all actions, against the certified rate of disagreement."""
    lost: int = 0
    """Actions whose shadows had to yield until it was too late; they are counted as without loss or difference."""
    recent: tuple[Recent, ...] = ()
    alarm: str = ""
    """Why the certificate is void; empty if it is not."""
    unsettled: tuple[Unsettled, ...] = ()
    """Actions whose losses are not counted yet, in the order in which they were observed."""
    settled: tuple[str, ...] = ()
    """Actions whose losses were told by labels, latest last."""
    expired: tuple[str, ...] = ()
    """Actions that waited for labels for too long, latest last."""
    unlabelled: int = 0
    """Those that expired, in all; they are counted with the least loss that their labels allow."""
    late: int = 0
    """Labels that came after that."""

    @classmethod
    def fresh(cls, certificate: Certificate) -> WatchState:
        """The state before the first observation."""
        delta = 1 - certificate.promise.confidence
        limit = certificate.promise.limit
        if certificate.promise.kind == "net":  # the loss is (1 + harm - gain)/2
            limit = (1 + limit) / 2
        limit = min(max(limit, _RAREST), _MOST)
        rate = certified_rate(certificate.disagreement, certificate.evidence.tasks)
        return cls(
            certificate=certificate.sha256,
            promise=BrokenPromise(limit=limit, delta=delta),
            harm=Change(limit=limit, delta=delta),
            disagreement=Change(limit=rate, delta=delta),
        )

    def after(self, seen: Observed) -> WatchState:
        """The state after one more observation. The first alarm stays."""
        promise, harm, unsettled = self.promise, self.harm, self.unsettled
        if seen.unsettled is not None:
            unsettled = (*unsettled, seen.unsettled)
        elif seen.loss is not None:
            promise, harm = promise.after(seen.loss), harm.after(seen.loss)
        recent = self.recent
        if not seen.is_lost:
            recent = (*recent, Recent(action=seen.action, differs=seen.differs, strata=dict(seen.strata)))[-RECENT:]
        found = msgspec.structs.replace(
            self,
            promise=promise,
            harm=harm,
            disagreement=self.disagreement.after(float(seen.differs)),
            lost=self.lost + seen.is_lost,
            recent=recent,
            unsettled=unsettled,
        )
        return _judged(found)

    def labelled(self, given: Label, kind: PromiseKind) -> WatchState:
        """The state after a label of an action that waits for it; `counted` then counts it in its turn.

        Args:
            given: the label.
            kind: of the promise.
        """

        def changed(one: Unsettled) -> Unsettled:
            if one.action != given.action or one.loss is not None:
                return one
            labels = one.labels.plus(given)
            return msgspec.structs.replace(one, labels=labels, loss=labels.loss(kind))

        return msgspec.structs.replace(self, unsettled=tuple(map(changed, self.unsettled)))

    def counted(self, kind: PromiseKind, since: float) -> WatchState:
        """The state after all losses whose turn it is, first observed first.

        Args:
            kind: of the promise.
            since: those that were observed earlier wait no longer, in seconds since 1970.
        """
        promise, harm = self.promise, self.harm
        settled, expired, left = [*self.settled], [*self.expired], list(self.unsettled)
        unlabelled = self.unlabelled
        for one in self.unsettled:
            loss = one.loss
            if loss is None:
                if one.at >= since and len(left) <= MOST_UNSETTLED:
                    break
                loss = one.labels.least(kind)
                unlabelled += 1
                expired.append(one.action)
            elif one.labels != Labels():
                settled.append(one.action)
            del left[0]
            promise, harm = promise.after(loss), harm.after(loss)
        if len(left) == len(self.unsettled):
            return self
        found = msgspec.structs.replace(
            self,
            promise=promise,
            harm=harm,
            unsettled=tuple(left),
            settled=tuple(settled[-REMEMBERED:]),
            expired=tuple(expired[-REMEMBERED:]),
            unlabelled=unlabelled,
        )
        return _judged(found)

    def finding(self) -> str:
        """One line that says what was noticed; empty if nothing was."""
        if self.promise.is_alarm:
            said = f"shadowed traffic says that the promise is broken: {_loss(self.promise)}"
        elif self.harm.is_alarm:
            said = f"shadowed traffic says that the loss has risen: {_loss(self.harm)}"
        elif self.disagreement.is_alarm:
            one = self.disagreement
            said = (
                f"shadowed traffic has changed: answers differ from the reference's in {one.losses:.0f} of {one.seen} "
                f"actions, and at most {one.limit:.1%} was certified"
            )
        else:
            return ""
        strata = "; ".join(self.strata())
        actions = ", ".join(self.tasks_to_add()[:_NAMED])
        return ". ".join(
            part
            for part in (
                said,
                f"Most differences among the last {len(self.recent)}: {strata}" if strata else "",
                f"Add tasks like {actions}, and certify again with `tierwise tune --from`" if actions else "",
            )
            if part
        )

    def strata(self) -> list[str]:
        """The kinds of traffic in which most of the recent answers differ, most surprising first."""
        seen: Counter[tuple[str, str]] = Counter()
        differing: Counter[tuple[str, str]] = Counter()
        for one in self.recent:
            seen.update(one.strata.items())
            if one.differs:
                differing.update(one.strata.items())
        overall = sum(one.differs for one in self.recent) / max(1, len(self.recent))

        def surprise(stratum: tuple[str, str]) -> float:
            n = seen[stratum]
            return (differing[stratum] - n * overall) / math.sqrt(max(1e-9, n * overall * (1 - overall)))

        found = [one for one, count in differing.items() if count >= _LEAST]
        found.sort(key=lambda one: (-surprise(one), -differing[one], one))
        return [f"{name} {value} ({differing[name, value]} of {seen[name, value]})" for name, value in found[:_NAMED]]

    def tasks_to_add(self) -> list[str]:
        """The actions whose answers differ, latest first."""
        return [one.action for one in reversed(self.recent) if one.differs]


def _judged(state: WatchState) -> WatchState:
    """The state with what its detectors notice; the first alarm stays."""
    return state if state.alarm else msgspec.structs.replace(state, alarm=state.finding())


def certified_rate(disagreement: Figure, tasks: int) -> float:
    """The highest rate of differing answers that is consistent with a certificate: the upper end of its interval."""
    high = disagreement.value if disagreement.high is None else disagreement.high
    return min(max(high, disagreement.value, 1 / max(1, tasks), _RAREST), _MOST)


def _loss(one: BrokenPromise | Change) -> str:
    mean = one.losses / max(1, one.seen)
    lately = " (the latest have more)" if mean <= one.limit else ""
    said = f"a loss of {mean:.1%} over {one.seen} actions with a known loss{lately}"
    return f"{said}, and at most {one.limit:.1%} is promised"
