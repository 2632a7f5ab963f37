"""The goals of Tierwise beside the others, and whether they are met."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from peers.calls import FIELDS, Figures
from peers.systems import OURS, POLICIES

MAJORITY_SECONDS, JUDGED_SECONDS = 0.18, 0.36
DRAWS = 3
"""Of best of 3: a judge makes more calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One promise."""

    name: str
    limit: str
    ours: str
    best_other: str
    ratio: str
    is_met: bool
    why: str = ""


def goals(figures: Sequence[Figures]) -> list[Goal]:
    """Every goal that has a limit. What was not measured is not met."""
    return [
        _seconds("majority of 5, seconds", "majority_of_5", MAJORITY_SECONDS, figures),
        _judged(figures),
        _error(figures),
        _fields(figures),
        _hang_ups(figures),
    ]


def _seconds(name: str, policy: str, limit: float, figures: Sequence[Figures]) -> Goal:
    ours, others = _of(policy, figures)
    medians = {f"{one.system} {one.way}": statistics.median(one.seconds) for one in others if one.seconds}
    best = min(medians, key=lambda key: medians[key], default=None)
    if ours is None or not ours.seconds or ours.failure:
        return _lost(name, f"≤ {limit}", ours)
    own = statistics.median(ours.seconds)
    return Goal(
        name=name,
        limit=f"≤ {limit}",
        ours=f"{own:.3f}",
        best_other="none" if best is None else f"{medians[best]:.3f} ({best})",
        ratio="" if best is None else f"{medians[best] / own:.2f}",
        is_met=own <= limit,
    )


def _judged(figures: Sequence[Figures]) -> Goal:
    made = _seconds("best of 3 with a judge, seconds", "best_of_3", JUDGED_SECONDS, figures)
    ours, _ = _of("best_of_3", figures)
    if ours is None or not ours.calls or min(ours.calls) > DRAWS:
        return made
    return Goal(
        name=made.name,
        limit=made.limit,
        ours=f"{made.ours} without a judge",
        best_other=made.best_other,
        ratio="",
        is_met=False,
        why="no judge was asked",
    )


def _error(figures: Sequence[Figures]) -> Goal:
    def worst(one: Figures) -> float:
        return max(one.beyond, default=float("nan"))

    name = "tokens of error in reported usage, worst request"
    return _worst(name, "0 (1 for each aborted call)", figures, worst, lambda own: own == 0)


def _fields(figures: Sequence[Figures]) -> Goal:
    def lost(one: Figures) -> float:
        return float("nan") if one.kept is None else len(FIELDS) - len(one.kept)

    name = f"request fields lost, of {len(FIELDS)}, worst policy"
    return _worst(name, "0", figures, lost, lambda own: own == 0)


def _hang_ups(figures: Sequence[Figures]) -> Goal:
    def left(one: Figures) -> float:
        if not one.hang_ups:
            return float("nan")
        return sum(hang_up.running for hang_up in one.hang_ups)

    return _worst("calls that run 100 ms after a hang-up, worst policy", "0", figures, left, lambda own: own == 0)


def _worst(
    name: str,
    limit: str,
    figures: Sequence[Figures],
    value: Callable[[Figures], float],
    is_met: Callable[[float], bool],
) -> Goal:
    """Compares the worst policies. Every policy of ours has to be measured."""
    own = [one for one in figures if one.system == OURS]
    found = {one.policy: value(one) for one in own}
    missing = [policy for policy in POLICIES if policy not in found or found[policy] != found[policy]]
    failed = [one for one in own if one.failure or one.field_failure]
    if missing or failed:
        return _lost(name, limit, failed[0] if failed else None)
    others: dict[str, float] = {}
    for one in figures:
        if one.system != OURS and value(one) == value(one):
            others[one.system] = max(others.get(one.system, 0.0), value(one))
    best = min(others, key=lambda key: others[key], default=None)
    worst = max(found.values())
    return Goal(
        name=name,
        limit=limit,
        ours=f"{worst:g}",
        best_other="none" if best is None else f"{others[best]:g} ({best})",
        ratio="" if best is None else _ratio(others[best], worst),
        is_met=is_met(worst),
    )


def _ratio(other: float, own: float) -> str:
    if own:
        return f"{other / own:.2f}"
    return "1.00" if not other else f"{other:g} to 0"


def _of(policy: str, figures: Iterable[Figures]) -> tuple[Figures | None, list[Figures]]:
    of_it = [one for one in figures if one.policy == policy]
    ours = next((one for one in of_it if one.system == OURS), None)
    return ours, [one for one in of_it if one.system != OURS]


def _lost(name: str, limit: str, ours: Figures | None) -> Goal:
    why = (ours.failure or ours.field_failure or "") if ours is not None else ""
    return Goal(name=name, limit=limit, ours="not measured", best_other="", ratio="", is_met=False, why=why)
