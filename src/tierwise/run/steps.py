"""How an action came to the tier that answered it: the decisions of policies that choose among tiers."""

from __future__ import annotations

from collections.abc import Sequence

from tierwise.ledger.records import Decision, Trace


def steps_of(trace: Trace) -> list[Decision]:
    """The last decision of each policy about each tier that it asked, for every choice of an action, in order.

    A tier is judged by one signal after another; the last is why its answer was kept or not.
    """
    last: dict[tuple[int, str, str], Decision] = {}
    for event in trace.decisions:
        if event.about:
            key = (event.choice, event.tier, event.about)
            last.pop(key, None)
            last[key] = event
    return list(last.values())


def of_route(steps: Sequence[Decision], route: str) -> list[Decision]:
    """The steps of a route's own policy for the first choice, whose answer gives an action its tier."""
    return [one for one in steps if one.tier == route and one.choice == 0]


def decided_by(steps: Sequence[Decision]) -> str:
    """The signal by which a route's answer was kept; empty where the last tier answered because no other did.

    Args:
        steps: of the route, see `of_route`.
    """
    kept = [one for one in steps if one.accepted is not False]
    return kept[-1].signal if kept and kept[-1] is steps[-1] else ""


def in_short(steps: Sequence[Decision], tier: str) -> str:
    """Why a route was answered by a tier, without levels, so that equal reasons are equal texts.

    `fast by margin`, `max after fast: agreement`, `max by session`.
    """
    if signal := decided_by(steps):
        return f"{tier} by {signal}"
    refused = ", ".join(f"{one.about}: {one.signal}" for one in steps if one.accepted is False)
    return f"{tier} after {refused}"


def in_detail(steps: Sequence[Decision], tier: str) -> str:
    """The same with levels: `fast not accepted by margin 0.31; max answers`."""
    said = [f"{one.about} {_VERDICTS[one.accepted]}by {one.signal}{_level(one)}" for one in steps]
    return "; ".join(said if decided_by(steps) else [*said, f"{tier} answers"])


_VERDICTS = {True: "accepted ", False: "not accepted ", None: ""}


def _level(step: Decision) -> str:
    return "" if step.level is None else f" {step.level:.3g}"
