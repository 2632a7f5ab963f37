"""One tier in one mode, in numbers: quality, seconds, dollars and tokens, in total and by kind of task."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from tierwise.runs.records import TrialOutcome
from tierwise.stats.repeats import again, pass_all, pass_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tierwise.runs.directory import Planned
    from tierwise.runs.records import Mode, TierVariant, TrialRecord
    from tierwise.stats.design import Design
    from tierwise.stats.estimates import Estimate

P50, P95, P99 = Fraction(1, 2), Fraction(95, 100), Fraction(99, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeCounts:
    """The outcomes of all tasks of one row."""

    correct: int
    incorrect: int
    no_answer: int
    errors: int
    not_run: int
    lost_to_thinking: int = 0
    unlabelled: int = 0
    """Answers to tasks without a check, in a pool."""

    @property
    def graded(self) -> int:
        """Outcomes that describe the tier: everything but infrastructure errors, and answers without a check."""
        return self.correct + self.incorrect + self.no_answer + self.lost_to_thinking

    @property
    def measured(self) -> int:
        return self.graded + self.errors + self.unlabelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Quantiles of seconds over the answered actions; None where there are too few tasks for an interval."""

    n: int
    """Actions."""
    p50: Estimate | None
    p95: Estimate | None
    p99: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """One tier in one mode."""

    tier: str
    mode: Mode
    most_passes: int
    counts: OutcomeCounts
    quality: Estimate | None
    """The share solved of the graded actions; infrastructure errors are left out."""
    quality_errors_failed: Estimate | None
    """The same if every infrastructure error were a failure."""
    quality_again: Estimate | None
    """The same, with an interval for these same tasks asked again; None below ten repeats of each."""
    any_of: Estimate | None
    """The share of tasks that at least one repeat solves; None where each task was asked once."""
    all_of: Estimate | None
    """The share that all repeats solve."""
    on_frontier: float | None
    """The probability that no other row is at least as good in quality, median seconds and dollars, and better in
    one."""
    cut: int
    """Answers that ended at a token limit."""
    from_candidate: int
    """Records that were taken from the first candidate of the task's action in max mode."""
    action: Times
    first_output: Times
    gap: Times
    """The mean seconds between two pieces of an action's answer."""
    longest_gap: Times
    passes: float | None
    """A mean, like the following fields: over graded actions whose costs the endpoint reported, or whose tokens."""
    prompt_tokens: float | None
    cached_tokens: float | None
    completion_tokens: float | None
    dollars: Estimate | None
    tokens_per_solved: float | None
    """Prompt and completion, total over total; None when nothing was solved."""
    dollars_per_solved: Estimate | None
    unreported: int
    """Graded actions whose cost the endpoint did not report; they are in no cost above."""
    judged: int
    """How often a judge was asked about this row's answers and candidates."""
    judge_dollars: float | None
    """Its cost, which is in no figure above; None where the endpoint did not report it."""

    @property
    def has_no_check(self) -> bool:
        """Whether it has answers, and nothing says of any whether it is right."""
        return self.quality is None and self.counts.unlabelled > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """One kind of tasks in one row."""

    tag: str
    tier: str
    mode: Mode
    correct: int
    graded: int
    quality: Estimate


def row(
    records: Sequence[TrialRecord],
    planned: Planned,
    design: Design,
    *,
    tasks: int,
    repeats: int,
    on_frontier: float | None,
) -> ResultRow:
    """The numbers of one row.

    Args:
        records: the row's records, one for each measured action.
        planned: the planned row.
        design: the dependence between tasks.
        tasks: planned tasks.
        repeats: of each task.
        on_frontier: the probability that the row is on the Pareto frontier of all rows.
    """
    graded = [record for record in records if record.is_graded]
    answered = [record for record in records if record.was_served]
    judged = [record.judge for record in records if record.judge is not None]
    labelled = _labelled(graded)
    any_of, all_of = _repeated(labelled, repeats, design)
    return ResultRow(
        tier=planned.tier,
        mode=planned.mode,
        most_passes=planned.most_passes,
        counts=_counts(records, tasks * repeats),
        quality=_share(labelled, design),
        quality_errors_failed=None if graded and not labelled else _share(_labelled(records), design),
        quality_again=_again(labelled, design),
        any_of=any_of,
        all_of=all_of,
        on_frontier=on_frontier,
        cut=sum(record.finish == "length" for record in answered),
        from_candidate=sum(record.taken == "candidate" for record in records),
        action=times_of([(one.task, one.seconds) for one in answered], design),
        first_output=times_of([(one.task, one.first_output) for one in answered], design),
        gap=times_of([(one.task, one.mean_gap) for one in answered], design),
        longest_gap=times_of([(one.task, None if one.gaps is None else one.gaps.longest) for one in answered], design),
        **_spent(graded, design),
        judged=sum(one.actions for one in judged),
        judge_dollars=None if any(one.dollars is None for one in judged) else sum(one.dollars or 0.0 for one in judged),
    )


def _labelled(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The records of tasks that have a check."""
    without = {record.task for record in records if record.outcome == TrialOutcome.UNLABELLED}
    return [record for record in records if record.task not in without]


def _counts(records: Sequence[TrialRecord], planned: int) -> OutcomeCounts:
    outcomes = Counter(record.outcome for record in records)
    return OutcomeCounts(
        correct=outcomes[TrialOutcome.CORRECT],
        incorrect=outcomes[TrialOutcome.INCORRECT],
        no_answer=outcomes[TrialOutcome.NO_ANSWER],
        errors=outcomes[TrialOutcome.ERROR],
        not_run=planned - len(records),
        lost_to_thinking=outcomes[TrialOutcome.LOST_TO_THINKING],
        unlabelled=outcomes[TrialOutcome.UNLABELLED],
    )


def _spent(graded: Sequence[TrialRecord], design: Design) -> dict[str, Any]:
    """The fields of a row about passes, tokens and dollars: over the actions whose costs the endpoint reported."""
    priced = [record for record in graded if record.dollars is not None]
    counted = [record for record in graded if record.completion_tokens is not None]  # a log may have no prices

    ran = [(record, passes) for record in priced if (passes := _passes(record)) is not None]

    def mean(of: Sequence[TrialRecord], values: Iterable[float], *, least: float = -math.inf) -> Estimate | None:
        return design.sample([record.task for record in of]).mean(list(values), least=least)

    def per_solved(records: Sequence[TrialRecord], read: Callable[[TrialRecord], float]) -> Estimate | None:
        labelled = _labelled(records)
        sample = design.sample([one.task for one in labelled])
        return sample.ratio([read(one) for one in labelled], [float(one.is_solved) for one in labelled])

    def value(found: Estimate | None) -> float | None:
        return None if found is None else found.value

    def tokens(record: TrialRecord) -> float:
        return float((record.prompt_tokens or 0) + (record.completion_tokens or 0))

    return {
        "passes": value(mean([record for record, _ in ran], (float(passes) for _, passes in ran))),
        "prompt_tokens": value(mean(counted, (record.prompt_tokens or 0 for record in counted))),
        "cached_tokens": value(mean(counted, (record.cached_tokens or 0 for record in counted))),
        "completion_tokens": value(mean(counted, (record.completion_tokens or 0 for record in counted))),
        "dollars": mean(priced, (record.dollars or 0.0 for record in priced), least=0.0),
        "tokens_per_solved": value(per_solved(counted, tokens)),
        "dollars_per_solved": per_solved(priced, lambda record: record.dollars or 0.0),
        "unreported": len(graded) - len(priced),
    }


def _passes(record: TrialRecord) -> int | None:
    """The passes of an action, or of everything that an agent asked."""
    if record.agent is not None:
        return sum(action.passes for action in record.agent.actions)
    return None if record.passes is None else len(record.passes)


def _share(records: Sequence[TrialRecord], design: Design) -> Estimate | None:
    return design.sample([record.task for record in records]).share([float(record.is_solved) for record in records])


def _again(graded: Sequence[TrialRecord], design: Design) -> Estimate | None:
    """The share solved, for these same tasks asked again."""
    of = _by_task(graded)
    weights = [design.weights.get(task, 1.0) for task in of]
    found = again([int(sum(won)) for won in of.values()], [len(won) for won in of.values()], weights)
    return found if found is not None and found.interval is not None else None


def _repeated(graded: Sequence[TrialRecord], times: int, design: Design) -> tuple[Estimate | None, Estimate | None]:
    """The shares solved by any repeat, and by all, of tasks that were graded each time."""
    whole = {task: int(sum(won)) for task, won in _by_task(graded).items() if len(won) == times}
    if times < 2 or not whole:
        return None, None
    solved, each, sample = list(whole.values()), [times] * len(whole), design.sample(list(whole))
    return pass_at(solved, each, times, sample), pass_all(solved, each, times, sample)


def _by_task(graded: Sequence[TrialRecord]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for record in graded:
        found.setdefault(record.task, []).append(float(record.is_solved))
    return found


def times_of(seconds: Sequence[tuple[str, float | None]], design: Design) -> Times:
    """Quantiles of the known values."""
    known = [(task, value) for task, value in seconds if value is not None]
    sample, values = design.sample([task for task, _ in known]), [value for _, value in known]
    p50, p95, p99 = (sample.quantile(values, q) for q in (P50, P95, P99))
    return Times(n=len(values), p50=p50, p95=p95, p99=p99)


def kinds(variant: TierVariant, records: Iterable[TrialRecord], design: Design) -> Iterable[TagRow]:
    graded = _labelled([record for record in records if record.is_graded])
    for tag in sorted({tag for record in graded for tag in record.kinds}):
        these = [record for record in graded if tag in record.tags]
        quality = _share(these, design)
        if quality is not None:
            correct = sum(record.is_solved for record in these)
            yield TagRow(
                tag=tag, tier=variant.tier, mode=variant.mode, correct=correct, graded=len(these), quality=quality
            )
