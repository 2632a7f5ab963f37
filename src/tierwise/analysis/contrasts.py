"""One row compared with another on the same tasks: what extra passes and other tiers add, in total and by kind of task.

Where several contrasts are tested, each has an adjusted p value: Holm's for the few that were planned, Benjamini and
Hochberg's for the scan over kinds of tasks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tierwise.stats import multiplicity
from tierwise.stats.multiplicity import SIGNIFICANT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tierwise.runs.records import TierVariant, TrialRecord, Unit
    from tierwise.stats.design import Design
    from tierwise.stats.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A row minus its base, on the actions that were graded in both."""

    row: str
    base: str
    tag: str = ""
    """The kind of tasks; empty for all."""
    both: int
    only_row: int
    only_base: int
    neither: int
    quality: Estimate
    """Share solved minus the base's."""
    p_value: float
    adjusted: float
    """The p value, adjusted for the number of contrasts."""

    @property
    def pairs(self) -> int:
        return self.both + self.only_row + self.only_base + self.neither

    @property
    def verdict(self) -> str:
        """`better`, `worse`, or `no difference shown`, by the adjusted p value."""
        if self.adjusted > SIGNIFICANT:
            return "no difference shown"
        return "better" if self.quality.value > 0 else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What max mode adds to average mode, on tasks that were graded in both."""

    tier: str
    contrast: Contrast
    dollars: Estimate | None
    """Max minus average, per action."""
    seconds: Estimate | None
    per_dollar: Estimate | None
    """Share solved per extra dollar per action; None where the extra dollars are not separated from zero."""
    per_second: Estimate | None
    """The same per extra second."""
    from_candidate: int
    """Pairs whose average mode is a candidate of max mode. The other passes ran concurrently and slowed it, so the
    extra seconds are underestimated."""

    @property
    def verdict(self) -> str:
        """Whether the extra passes changed the quality: `better`, `worse`, or `no difference shown`."""
        return self.contrast.verdict


def contrast(
    row: tuple[TierVariant, Mapping[Unit, TrialRecord]],
    base: tuple[TierVariant, Mapping[Unit, TrialRecord]],
    design: Design,
    tag: str = "",
) -> Contrast | None:
    """Two rows on the tasks that were graded in both, of one kind if given; None where there are none."""
    pairs = [(one, other) for one, other in _graded(row[1], base[1]) if not tag or tag in one.tags]
    sample = design.sample([one.task for one, _ in pairs])
    ours, theirs = [float(one.is_solved) for one, _ in pairs], [float(other.is_solved) for _, other in pairs]
    quality = sample.difference(ours, theirs)
    if quality is None:
        return None
    table = Counter(zip(ours, theirs, strict=True))
    p_value = sample.p_value(ours, theirs)
    return Contrast(
        row=row[0].name,
        base=base[0].name,
        tag=tag,
        both=table[1, 1],
        only_row=table[1, 0],
        only_base=table[0, 1],
        neither=table[0, 0],
        quality=quality,
        p_value=p_value,
        adjusted=p_value,
    )


def _graded(row: Mapping[Unit, TrialRecord], base: Mapping[Unit, TrialRecord]) -> list[tuple[TrialRecord, TrialRecord]]:
    found = [(record, base[unit]) for unit, record in row.items() if unit in base]
    return [(one, other) for one, other in found if one.is_graded and other.is_graded]


def gain(
    found: Contrast, full: Mapping[Unit, TrialRecord], average: Mapping[Unit, TrialRecord], design: Design
) -> Gain:
    """What the contrast of a tier's two modes costs."""
    pairs = _graded(full, average)
    priced = [
        (one, other, one.dollars - other.dollars)
        for one, other in pairs
        if one.dollars is not None and other.dollars is not None
    ]
    timed = [
        (one, other, one.seconds - other.seconds)
        for one, other in pairs
        if one.has_answer and other.has_answer and one.seconds is not None and other.seconds is not None
    ]
    of_priced, of_timed = (design.sample([one.task for one, _, _ in some]) for some in (priced, timed))
    return Gain(
        tier=next(one.tier for one in full.values()),
        contrast=found,
        dollars=of_priced.mean([extra for _, _, extra in priced]),
        seconds=of_timed.mean([extra for _, _, extra in timed]),
        per_dollar=of_priced.per(_solved_more(priced), [extra for _, _, extra in priced]),
        per_second=of_timed.per(_solved_more(timed), [extra for _, _, extra in timed]),
        from_candidate=sum(other.taken == "candidate" for _, other in pairs),
    )


def _solved_more(pairs: Iterable[tuple[TrialRecord, TrialRecord, float]]) -> list[float]:
    return [float(one.is_solved) - float(other.is_solved) for one, other, _ in pairs]


def by_kind(
    planned: Sequence[tuple[TierVariant, TierVariant]],
    rows: Mapping[TierVariant, Mapping[Unit, TrialRecord]],
    design: Design,
) -> list[Contrast]:
    """The planned contrasts for each kind of tasks, with Benjamini and Hochberg's p values over all of them."""
    kinds = sorted({tag for row in rows.values() for record in row.values() for tag in record.kinds})
    found = [contrast((one, rows[one]), (other, rows[other]), design, kind) for kind in kinds for one, other in planned]
    return adjusted([one for one in found if one is not None], multiplicity.benjamini_hochberg)


def adjusted(found: Sequence[Contrast], how: Callable[[Sequence[float]], list[float]]) -> list[Contrast]:
    """The same contrasts, with p values adjusted for all of them."""
    values = how([one.p_value for one in found])
    return [replace(one, adjusted=value) for one, value in zip(found, values, strict=True)]
