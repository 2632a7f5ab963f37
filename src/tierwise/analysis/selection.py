"""A tier's candidates and its choice among them: coverage, selection, and the worth of each pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tierwise.stats import marginal, repeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.runs.records import Mode, PassSpend, TierVariant, TrialRecord
    from tierwise.stats.design import Design
    from tierwise.stats.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PassLine:
    """What the k-th candidate to arrive was worth, and what it cost, over all actions."""

    k: int
    actions: int
    """Actions that had one."""
    found: Estimate
    """The share of actions in which it was the first correct one: what it adds under perfect selection."""
    dollars: float
    share: float | None
    """Of the total cost of these actions; None where nothing has a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What one tier drew in max mode, and what it answered."""

    tier: str
    mode: Mode
    actions: int
    """Graded, with a verdict on every completed candidate."""
    unknown: int
    """Graded, without these verdicts; they are in no figure here."""
    coverage: Estimate
    """Any candidate is correct: what a perfect choice among them would solve."""
    selected: Estimate
    """The chosen answer is correct."""
    missed: Estimate
    """Coverage minus selected."""
    over_first: Estimate | None
    """Selected minus what the first candidate to arrive would have solved; None where an action has no candidate."""
    lines: list[PassLine]
    other_dollars: float
    """Of passes that are not candidates: aborted, cut, failed, critiques."""
    other_share: float | None
    pass_at: list[Estimate]
    """Any of k is correct, for k from 1, of exchangeable candidates (Chen 2021). Empty where the policy stops early,
    because its candidates are then not exchangeable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """A perfect choice among everything that any row drew or answered."""

    actions: int
    """Tasks that were graded in every row, as often as each was asked."""
    solved: Estimate


def is_known(record: TrialRecord) -> bool:
    """Whether it is graded, and every completed candidate too."""
    return record.is_graded and record.passes is not None and all(one.solved is not None for one in _came(record))


def is_covered(record: TrialRecord) -> bool:
    """Whether the answer or any candidate is correct."""
    return record.is_solved or any(one.solved for one in record.passes or ())


def _came(record: TrialRecord) -> list[PassSpend]:
    """The completed candidates, in order of completion."""
    done = [one for one in record.passes or () if one.answers_prompt and one.outcome == "finished"]
    return sorted(done, key=lambda one: (one.ended_after, one.number))


def selection(
    variant: TierVariant, most_passes: int, records: Sequence[TrialRecord], design: Design
) -> Selection | None:
    """The result for a row's candidates; None where none was graded."""
    graded = [record for record in records if record.is_graded]
    known = [record for record in graded if is_known(record)]
    came = [_came(record) for record in known]
    if not any(came):
        return None
    sample = design.sample([record.task for record in known])
    covered, selected = [is_covered(one) for one in known], [one.is_solved for one in known]
    coverage, chosen = sample.share(covered), sample.share(selected)
    missed = sample.share([one and not other for one, other in zip(covered, selected, strict=True)])
    if coverage is None or chosen is None or missed is None:
        return None
    over_first = None
    if all(came):
        firsts = [bool(these[0].solved) for these in came]
        (over_first,) = marginal.of_policy(list(zip(firsts, selected, strict=True)), sample)
    bill = math.fsum(one.dollars for record in known for one in record.passes or ())
    found = marginal.as_they_came([[bool(one.solved) for one in these] for these in came], sample)
    lines = [
        PassLine(
            k=k,
            actions=sum(len(these) >= k for these in came),
            found=share,
            dollars=(dollars := math.fsum(these[k - 1].dollars for these in came if len(these) >= k)),
            share=dollars / bill if bill else None,
        )
        for k, share in enumerate(found, 1)
    ]
    others = max(0.0, bill - math.fsum(line.dollars for line in lines))
    return Selection(
        tier=variant.tier,
        mode=variant.mode,
        actions=len(known),
        unknown=len(graded) - len(known),
        coverage=coverage,
        selected=chosen,
        missed=missed,
        over_first=over_first,
        lines=lines,
        other_dollars=others,
        other_share=others / bill if bill else None,
        pass_at=_pass_at(known, came, most_passes, design),
    )


def _pass_at(
    known: Sequence[TrialRecord], came: Sequence[Sequence[PassSpend]], most_passes: int, design: Design
) -> list[Estimate]:
    if any(len(these) != most_passes or not all(one.is_draw for one in these) for these in came):
        return []
    verdicts: dict[str, list[bool]] = {}
    for record, these in zip(known, came, strict=True):
        verdicts.setdefault(record.task, []).extend(bool(one.solved) for one in these)
    solved, drawn = [sum(won) for won in verdicts.values()], [len(won) for won in verdicts.values()]
    sample = design.sample(list(verdicts))
    found = [repeats.pass_at(solved, drawn, k, sample) for k in range(1, most_passes + 1)]
    return [estimate for estimate in found if estimate is not None]


def oracle(rows: Sequence[Sequence[TrialRecord]], design: Design) -> Oracle | None:
    """What a perfect choice of tier and candidate would solve; None where no task was graded in every row.

    Ungraded candidates are not counted, so it is a lower bound.
    """
    of = [{(record.task, record.repeat): record for record in row if record.is_graded} for row in rows if row]
    if len(of) < 2 or not (asked := [one for one in of[0] if all(one in row for row in of)]):
        return None
    solved = design.sample([task for task, _ in asked]).share(
        [any(is_covered(row[one]) for row in of) for one in asked]
    )
    return None if solved is None else Oracle(actions=len(asked), solved=solved)
