"""The findings of a routing recording: balance, drift between kinds of tasks and over time, and slow passes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from tierwise.moe import drift
from tierwise.moe.routed import load_of
from tierwise.moe.tails import Tail, tail
from tierwise.stats.multiplicity import SIGNIFICANT, benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tierwise.mixture.load import Layer, Load
    from tierwise.moe.drift import Drift
    from tierwise.moe.routed import RoutedPass

_HALVES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftComparison:
    """Two groups of passes compared."""

    name: str
    passes: tuple[int, int]
    drift: Drift
    adjusted: float | None
    """The p value after Benjamini-Hochberg over the kinds; None if there are too few tasks for one."""

    @property
    def verdict(self) -> str:
        if self.adjusted is None:
            return "too few tasks to tell"
        return "routed differently" if self.adjusted <= SIGNIFICANT else "no difference shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything that the page and the terminal show about a recording."""

    load: Load
    strata: Sequence[DriftComparison]
    """Each tag compared with all other tasks."""
    over_time: DriftComparison | None
    """The later half of the tasks compared with the earlier half."""
    other: DriftComparison | None
    """This recording compared with another."""
    tail: Tail

    def over_layers(self, read: Callable[[Layer], float | None]) -> tuple[float, float, float] | None:
        """Mean, minimum and maximum over layers; None where no layer has a value."""
        known = [value for layer in self.load.layers if (value := read(layer)) is not None]
        return (fmean(known), min(known), max(known)) if known else None


def findings(passes: Sequence[RoutedPass], other: Sequence[RoutedPass] = ()) -> Findings:
    """Compute the findings.

    Raises:
        SpecError: the recording is empty, or the other one is of another model.
    """
    return Findings(
        load=load_of(passes),
        strata=_adjusted(_strata(passes)),
        over_time=next(iter(_adjusted(_over_time(passes))), None),
        other=next(iter(_adjusted([("the other recording", list(passes), list(other))] if other else [])), None),
        tail=tail(passes),
    )


def _strata(passes: Sequence[RoutedPass]) -> Iterable[tuple[str, list[RoutedPass], list[RoutedPass]]]:
    for tag in sorted({tag for one in passes for tag in one.tags}):
        inside = [one for one in passes if tag in one.tags]
        outside = [one for one in passes if tag not in one.tags]
        if outside:
            yield tag, inside, outside


def _over_time(passes: Sequence[RoutedPass]) -> Iterable[tuple[str, list[RoutedPass], list[RoutedPass]]]:
    """By the order in which tasks began, so that no task is in both groups."""
    order = list(dict.fromkeys(one.task for one in sorted(passes, key=lambda one: one.began)))
    early = set(order[: len(order) // _HALVES])
    first, second = [one for one in passes if one.task in early], [one for one in passes if one.task not in early]
    if first and second:
        yield "the later half of the tasks", second, first


def _adjusted(pairs: Iterable[tuple[str, list[RoutedPass], list[RoutedPass]]]) -> list[DriftComparison]:
    found = [
        (
            name,
            (len(one), len(other)),
            drift.between([done.routing for done in one], [done.routing for done in other], units=_units(one, other)),
        )
        for name, one, other in pairs
    ]
    adjusted = iter(benjamini_hochberg([each.p_value for _, _, each in found if each.p_value is not None]))
    return [
        DriftComparison(name=name, passes=count, drift=each, adjusted=None if each.p_value is None else next(adjusted))
        for name, count, each in found
    ]


def _units(one: Sequence[RoutedPass], other: Sequence[RoutedPass]) -> list[str]:
    """The task of each pass; the same task in two recordings is two units."""
    return [f"{side}/{done.task}" for side, passes in enumerate((one, other)) for done in passes]
