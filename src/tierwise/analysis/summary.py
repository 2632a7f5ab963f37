"""The numbers of a run, computed from its records: everything that tables, plots and the page show."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tierwise.analysis import agents, contrasts, refusals, rows, selection
from tierwise.analysis.claims import ClaimCheck, check_claims
from tierwise.analysis.duty import DutyRow, duty_rows
from tierwise.runs.records import MAX_ERROR_SHARE, clusters_of
from tierwise.spec.files import yaml_document
from tierwise.stats import frontier, multiplicity
from tierwise.stats.design import Design
from tierwise.workloads.task import read_tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from tierwise.analysis.agents import AgentRow
    from tierwise.analysis.contrasts import Contrast, Gain
    from tierwise.analysis.rows import ResultRow, TagRow
    from tierwise.analysis.selection import Oracle, Selection
    from tierwise.runs.directory import Manifest, RunDirectory
    from tierwise.runs.records import Mode, TierVariant, TrialRecord, Unit
    from tierwise.stats.estimand import Population
    from tierwise.workloads.task import Task

_LEAST_ON_FRONTIER = 10
"""The smallest number of tasks for resampling."""


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
class RunSummary:
    """The results of a run."""

    population: Population
    """The population that the intervals describe, unless an estimate has another."""
    is_weighted: bool
    """Whether tasks have different weights. Then all shares, means and quantiles are weighted; counts are not."""
    clusters: int
    """Clusters of the tasks; 0 where tasks are independent."""
    repeats: int
    rows: list[ResultRow]
    gains: list[Gain]
    """Max against average mode; Holm's p values over the tiers."""
    against_first: list[Contrast]
    """Each tier against the first, all in their fullest mode; Holm's p values."""
    kinds: list[Contrast]
    """Both, for each kind of task; Benjamini and Hochberg's p values."""
    selections: list[Selection]
    oracle: Oracle | None
    tags: list[TagRow]
    bill: list[BillLine]
    errors: dict[str, int] = field(default_factory=dict)
    """Infrastructure errors, and how often each occurred."""
    has_prices: bool = True
    """Whether the config file has a price; true where that is not known, as in imported runs."""
    duties: list[DutyRow] = field(default_factory=list)
    """Rows on machines that are paid by the hour."""
    agents: list[AgentRow] = field(default_factory=list)
    """What agents did, for each row in which one worked."""
    refusals: list[str] = field(default_factory=list)
    """For each tier whose actions say nothing about its answers: why."""
    claims: list[ClaimCheck] = field(default_factory=list)
    """Published scores beside those that were reproduced."""
    tasks: int
    is_partial: bool
    """Whether some actions were not run."""

    @property
    def unit(self) -> Literal["action", "task"]:
        """What a record is: an action, or with an agent all of a task."""
        return "task" if self.agents else "action"

    @property
    def error_share(self) -> float:
        """Infrastructure errors among all measured actions."""
        measured = sum(row.counts.measured for row in self.rows)
        return sum(row.counts.errors for row in self.rows) / measured if measured else 0.0

    @property
    def has_too_many_errors(self) -> bool:
        return self.error_share > MAX_ERROR_SHARE


def design_of(names: Sequence[str], tasks: Sequence[Task], records: Sequence[TrialRecord]) -> Design:
    """Clusters and weights of tasks; those of imported runs, which store no tasks, are read from the records' tags."""
    found = clusters_of(records) | {task.id: task.cluster for task in tasks if task.cluster is not None}
    is_whole = set(names) <= found.keys() and len({found[name] for name in names}) > 1
    return Design({task.id: task.weight for task in tasks}, found if is_whole else {})


def summarise(manifest: Manifest, records: Sequence[TrialRecord], tasks: Sequence[Task] = ()) -> RunSummary:
    """Compute the results of a run, complete or partial.

    Args:
        manifest: what was planned.
        records: what was measured.
        tasks: the tasks, for weights and clusters. Without them all weights are equal, and clusters are those that the
            records' tags name.
    """
    design = design_of(manifest.tasks, tasks, records)
    of: defaultdict[TierVariant, dict[Unit, TrialRecord]] = defaultdict(dict)
    for record in records:
        of[record.variant][record.unit] = record
    surely = _on_frontier(of, design)
    variants = [planned.variant for planned in manifest.variants]
    repeats = manifest.settings.repeats
    found = [
        rows.row(
            list(of[one.variant].values()),
            one,
            design,
            tasks=len(manifest.tasks),
            repeats=repeats,
            on_frontier=surely.get(one.variant.name),
        )
        for one in manifest.variants
    ]
    gains, against_first, planned = _contrasts(variants, of, design)
    selections = [
        selection.selection(one.variant, one.most_passes, list(of[one.variant].values()), design)
        for one in manifest.variants
        if one.mode == "max"
    ]
    return RunSummary(
        population=design.population,
        is_weighted=design.is_weighted,
        clusters=len(set(design.clusters.values())),
        repeats=repeats,
        rows=found,
        gains=gains,
        against_first=against_first,
        kinds=contrasts.by_kind(planned, of, design),
        selections=[one for one in selections if one is not None],
        oracle=selection.oracle([list(of[variant].values()) for variant in variants], design),
        tags=[line for variant in variants for line in rows.kinds(variant, of[variant].values(), design)],
        bill=[line for variant in variants for line in _bill(variant, of[variant].values())],
        has_prices=_has_prices(manifest),
        duties=list(duty_rows(manifest, {variant: of[variant].values() for variant in variants}, design)),
        agents=[
            worked
            for variant in variants
            if (worked := agents.agent_row(variant, list(of[variant].values()), design)) is not None
        ],
        refusals=_refusals(variants, of),
        claims=list(check_claims(manifest, found)),
        errors=dict(Counter(record.why for record in records if not record.is_graded).most_common()),
        tasks=len(manifest.tasks),
        is_partial=any(row.counts.not_run for row in found),
    )


def summary_of(directory: RunDirectory) -> RunSummary:
    """The results of a run, read from its directory.

    Raises:
        NotFound: a file of the run is missing.
        SpecError: one cannot be read; names file and line.
    """
    tasks = read_tasks(directory.tasks_path)
    return summarise(directory.read_manifest(), directory.read_records(), tasks)


def _has_prices(manifest: Manifest) -> bool:
    document = yaml_document(manifest.config.text, manifest.config.path)
    return not isinstance(document.value, dict) or bool(document.value.get("prices"))


def _refusals(variants: Sequence[TierVariant], of: Mapping[TierVariant, Mapping[Unit, TrialRecord]]) -> list[str]:
    """The refusals of each tier, over all its rows."""
    records: defaultdict[str, list[TrialRecord]] = defaultdict(list)
    for variant in variants:
        records[variant.tier] += of[variant].values()
    return [found for tier, these in records.items() if (found := refusals.refusals(tier, these))]


def _on_frontier(of: Mapping[TierVariant, Mapping[Unit, TrialRecord]], design: Design) -> dict[str, float]:
    """For each row, on tasks that were graded in all rows with reported costs; empty if there are too few."""
    measured = {variant.name: row for variant, row in of.items() if row}
    if len(measured) < 2:
        return {}
    priced = [
        {unit for unit, one in row.items() if one.is_graded and one.dollars is not None} for row in measured.values()
    ]
    units = sorted(set.intersection(*priced))
    sample = design.sample([task for task, _ in units])
    numbers = {label: number for number, label in enumerate(dict.fromkeys(sample.labels))}
    if len(numbers) < _LEAST_ON_FRONTIER:
        return {}
    return frontier.on_frontier(
        {name: [float(row[one].is_solved) for one in units] for name, row in measured.items()},
        {name: [row[one].seconds or 0.0 for one in units] for name, row in measured.items()},
        {name: [row[one].dollars or 0.0 for one in units] for name, row in measured.items()},
        labels=[numbers[label] for label in sample.labels],
        weights=sample.weights,
    )


def _contrasts(
    variants: Sequence[TierVariant], of: Mapping[TierVariant, Mapping[Unit, TrialRecord]], design: Design
) -> tuple[list[Gain], list[Contrast], list[tuple[TierVariant, TierVariant]]]:
    """Max against average mode of each tier, each tier against the first, and the pairs of rows that were compared."""
    averages = {variant.tier: variant for variant in variants if variant.mode == "average"}
    fullest = {variant.tier: variant for variant in variants}  # max comes after average
    modes = [(one, averages[one.tier]) for one in variants if one.mode == "max" and one.tier in averages]
    first, *others = fullest.values()
    tiers = [(other, first) for other in others]

    def found(pairs: Sequence[tuple[TierVariant, TierVariant]]) -> list[Contrast]:
        some = [contrasts.contrast((one, of[one]), (other, of[other]), design) for one, other in pairs]
        return contrasts.adjusted([one for one in some if one is not None], multiplicity.holm)

    by_name = {one.name: (one, other) for one, other in modes}
    gains = [contrasts.gain(each, of[by_name[each.row][0]], of[by_name[each.row][1]], design) for each in found(modes)]
    return gains, found(tiers), [*modes, *tiers]


def _bill(variant: TierVariant, records: Iterable[TrialRecord]) -> Iterable[BillLine]:
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
