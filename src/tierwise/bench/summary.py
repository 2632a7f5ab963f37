"""What the records of a run say, in numbers: everything that tables, plots and the page show is computed here."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from tierwise.bench import statistics
from tierwise.bench.statistics import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tierwise.bench.folder import Manifest
    from tierwise.bench.records import Record
    from tierwise.bench.schedule import Mode, Variant

_Asked = tuple[str, int]
"""A task, and which of its repeats."""

P50, P95 = Fraction(1, 2), Fraction(95, 100)

MOST_ERRORS = 0.02
"""The share of infrastructure errors, or of tasks that were not run, beyond which a result is not to be trusted."""

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of every task of one row."""

    passed: int
    failed: int
    no_answer: int
    errors: int
    not_run: int

    @property
    def graded(self) -> int:
        """Those that say something about the tier."""
        return self.passed + self.failed + self.no_answer

    @property
    def measured(self) -> int:
        return self.graded + self.errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of the actions that were answered."""

    p50: Estimate | None
    p95: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tier in one mode."""

    tier: str
    mode: Mode
    most_passes: int
    counts: Counts
    quality: Estimate | None
    """The share solved of what was graded: infrastructure errors are left out."""
    quality_errors_failed: Estimate | None
    """The same if every infrastructure error were a failure."""
    cut: int
    """Answers that ended at a bound on tokens."""
    action: Times
    first_output: Times
    passes: float | None
    """A mean, as all that follow: of graded actions whose costs the endpoint told."""
    prompt_tokens: float | None
    cached_tokens: float | None
    completion_tokens: float | None
    dollars: Estimate | None
    tokens_per_solved: float | None
    """Prompt and completion, total over total; None when nothing was solved."""
    dollars_per_solved: Estimate | None
    untold: int
    """Graded actions whose cost the endpoint did not tell; they are in no cost above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What max mode adds to average mode, on the tasks that were graded in both."""

    tier: str
    both: int
    only_max: int
    only_average: int
    neither: int
    quality: Estimate
    """Share solved in max mode minus share solved in average mode."""
    p_value: float
    """Exact, two-sided (McNemar)."""
    dollars: Estimate | None
    """Max minus average, per action."""
    seconds: Estimate | None

    @property
    def verdict(self) -> str:
        """Whether the extra passes changed the quality: `better`, `worse`, or `no difference shown`."""
        if self.p_value > SIGNIFICANT:
            return "no difference shown"
        return "better" if self.only_max > self.only_average else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class TagRow:
    """One kind of tasks in one row."""

    tag: str
    tier: str
    mode: Mode
    passed: int
    quality: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """What one kind of passes cost in one row, over all its actions, errors included."""

    tier: str
    mode: Mode
    role: str
    outcome: str
    passes: int
    tokens: int
    dollars: float
    share: float | None
    """Of the row's dollars; None when there were none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The results of a run."""

    rows: list[Row]
    gains: list[Gain]
    tags: list[TagRow]
    bill: list[BillLine]
    errors: dict[str, int]
    """What went wrong in the infrastructure, and how often."""
    tasks: int
    is_partial: bool
    """Whether something was not run."""

    @property
    def error_share(self) -> float:
        """Infrastructure errors among all actions that were measured."""
        measured = sum(row.counts.measured for row in self.rows)
        return sum(row.counts.errors for row in self.rows) / measured if measured else 0.0

    @property
    def has_too_many_errors(self) -> bool:
        return self.error_share > MOST_ERRORS


def summarise(manifest: Manifest, records: Sequence[Record]) -> Summary:
    """Compute the results of a run, whole or partial."""
    of: defaultdict[Variant, dict[_Asked, Record]] = defaultdict(dict)
    for record in records:
        of[record.variant][record.task, record.repeat] = record
    asked = len(manifest.tasks) * manifest.settings.repeats
    rows = [
        _row(list(of[planned.variant].values()), planned.variant, planned.most_passes, asked)
        for planned in manifest.variants
    ]
    variants = [planned.variant for planned in manifest.variants]
    averages = {variant.tier: of[variant] for variant in variants if variant.mode == "average"}
    gains = [
        _gain(variant.tier, of[variant], averages[variant.tier])
        for variant in variants
        if variant.mode == "max" and variant.tier in averages
    ]
    return Summary(
        rows=rows,
        gains=[gain for gain in gains if gain is not None],
        tags=[line for variant in variants for line in _tags(variant, of[variant].values())],
        bill=[line for variant in variants for line in _bill(variant, of[variant].values())],
        errors=dict(Counter(record.why for record in records if record.outcome == "error").most_common()),
        tasks=len(manifest.tasks),
        is_partial=any(row.counts.not_run for row in rows),
    )


def _row(records: Sequence[Record], variant: Variant, most_passes: int, tasks: int) -> Row:
    outcomes = Counter(record.outcome for record in records)
    counts = Counts(
        passed=outcomes["pass"],
        failed=outcomes["fail"],
        no_answer=outcomes["no_answer"],
        errors=outcomes["error"],
        not_run=tasks - len(records),
    )
    answered = [record for record in records if record.has_answer]
    told = [record for record in records if record.is_graded and record.dollars is not None]
    solved = [record.is_solved for record in told]
    tokens = sum((record.prompt_tokens or 0) + (record.completion_tokens or 0) for record in told)
    return Row(
        tier=variant.tier,
        mode=variant.mode,
        most_passes=most_passes,
        counts=counts,
        quality=statistics.rate(counts.passed, counts.graded),
        quality_errors_failed=statistics.rate(counts.passed, counts.measured),
        cut=sum(record.finish == "length" for record in answered),
        action=_times([record.seconds for record in answered]),
        first_output=_times([record.first_output for record in answered if record.first_output is not None]),
        passes=_mean(len(record.passes or ()) for record in told),
        prompt_tokens=_mean(record.prompt_tokens or 0 for record in told),
        cached_tokens=_mean(record.cached_tokens or 0 for record in told),
        completion_tokens=_mean(record.completion_tokens or 0 for record in told),
        dollars=statistics.mean([record.dollars or 0.0 for record in told], least=0.0),
        tokens_per_solved=tokens / sum(solved) if any(solved) else None,
        dollars_per_solved=statistics.ratio([record.dollars or 0.0 for record in told], solved),
        untold=counts.graded - len(told),
    )


def _times(seconds: Sequence[float]) -> Times:
    return Times(p50=statistics.quantile(seconds, P50), p95=statistics.quantile(seconds, P95))


def _mean(values: Iterable[float]) -> float | None:
    known = list(values)
    return math.fsum(known) / len(known) if known else None


def _gain(tier: str, most: dict[_Asked, Record], average: dict[_Asked, Record]) -> Gain | None:
    pairs = [
        (record, average[asked])
        for asked, record in most.items()
        if record.is_graded and asked in average and average[asked].is_graded
    ]
    solved = Counter((one.is_solved, other.is_solved) for one, other in pairs)
    table = (solved[True, True], solved[True, False], solved[False, True], solved[False, False])
    difference = statistics.paired_difference(*table)
    if difference is None:
        return None
    both, only_max, only_average, neither = table
    return Gain(
        tier=tier,
        both=both,
        only_max=only_max,
        only_average=only_average,
        neither=neither,
        quality=difference,
        p_value=statistics.mcnemar(only_max, only_average),
        dollars=statistics.mean(
            [
                one.dollars - other.dollars
                for one, other in pairs
                if one.dollars is not None and other.dollars is not None
            ]
        ),
        seconds=statistics.mean(
            [one.seconds - other.seconds for one, other in pairs if one.has_answer and other.has_answer]
        ),
    )


def _tags(variant: Variant, records: Iterable[Record]) -> Iterable[TagRow]:
    graded = [record for record in records if record.is_graded]
    for tag in sorted({tag for record in graded for tag in record.tags}):
        these = [record.is_solved for record in graded if tag in record.tags]
        quality = statistics.rate(sum(these), len(these))
        if quality is not None:
            yield TagRow(tag=tag, tier=variant.tier, mode=variant.mode, passed=sum(these), quality=quality)


def _bill(variant: Variant, records: Iterable[Record]) -> Iterable[BillLine]:
    passes = [done for record in records for done in record.passes or ()]
    total = math.fsum(done.dollars for done in passes)
    for role, outcome in sorted({(done.role, done.outcome) for done in passes}):
        these = [done for done in passes if (done.role, done.outcome) == (role, outcome)]
        dollars = math.fsum(done.dollars for done in these)
        yield BillLine(
            tier=variant.tier,
            mode=variant.mode,
            role=role,
            outcome=outcome,
            passes=len(these),
            tokens=sum(done.prompt_tokens + done.completion_tokens for done in these),
            dollars=dollars,
            share=dollars / total if total else None,
        )
