"""Two runs on the same tasks: what changed in quality, seconds and dollars, how sure that is, and for which tasks.

A difference is always the second run's value minus the first's.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np
from scipy import special

from tierwise.bench import clusters, statistics
from tierwise.bench.folder import Folder
from tierwise.bench.records import Record
from tierwise.bench.sequential import TAIL
from tierwise.bench.statistics import Estimate, Interval
from tierwise.bench.summary import MOST_ERRORS, SIGNIFICANT
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tierwise.bench.populations import Population
    from tierwise.bench.schedule import Mode, Variant

    Floats = NDArray[np.float64]

CLUSTER = "cluster:"
"""A tag that begins so names a task's cluster in runs that were imported, which have no workload beside them."""

IMPORTED = "imported"
"""The arrival of runs that another tool made, whose records hold no times."""

Direction = Literal["better", "worse", "no difference shown"]

_VERDICTS: dict[Literal["up", "down", ""], Direction] = {"up": "better", "down": "worse", "": "no difference shown"}

_RESAMPLES = 1000


class Unit(NamedTuple):
    """What is paired: a task, or one of the times that it was asked."""

    task: str
    repeat: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One row of a run, to be compared."""

    run: Path
    variant: Variant
    most_passes: int
    tasks: frozenset[str]
    """All that were planned."""
    repeats: int
    """How often each task was to be asked."""
    records: Mapping[Unit, Record]
    clusters: Mapping[str, str]
    """Of tasks that have one."""
    is_timed: bool

    @property
    def name(self) -> str:
        """The run, the tier and the mode: a figure is never shown without them."""
        run, tier = self.run.name or str(self.run), self.variant.tier
        return f"{tier if run == tier else f'{run} · {tier}'} ({self.mode})"

    @property
    def mode(self) -> str:
        if not self.is_timed:
            return "imported"
        match self.variant.mode:
            case "average":
                return "average: 1 pass"
            case "max":
                return f"max: ≤ {self.most_passes} passes"
            case "both":
                return "always 1 pass"


def sides(path: Path) -> list[Side]:
    """The rows of a run.

    Raises:
        NotFound: the folder holds no run.
        SpecError: it cannot be read; the message names file and line.
    """
    folder = Folder(path)
    for file in (path / "manifest.json", folder.records_path):
        if not file.is_file():
            raise NotFound(
                f"{path} holds no run: there is no {file.name}; "
                "give a folder that `tierwise bench --out` or `tierwise import --out` wrote"
            )
    try:
        manifest = folder.read_manifest()
    except (msgspec.DecodeError, OSError) as error:
        raise SpecError(f"{path / 'manifest.json'} cannot be read: {error}") from error
    records = _records(folder)
    if not records:
        raise SpecError(f"{folder.records_path} holds no record: nothing was measured")
    of: dict[Variant, dict[Unit, Record]] = {planned.variant: {} for planned in manifest.variants}
    for record in records:
        of.setdefault(record.variant, {})[Unit(record.task, record.repeat)] = record
    named = _clusters(folder) | {
        record.task: tag.removeprefix(CLUSTER) for record in records for tag in record.tags if tag.startswith(CLUSTER)
    }
    most = {planned.variant: planned.most_passes for planned in manifest.variants}
    return [
        Side(
            run=path,
            variant=variant,
            most_passes=most.get(variant, 1),
            tasks=frozenset(manifest.tasks) | {unit.task for unit in found},
            repeats=manifest.settings.repeats,
            records=found,
            clusters=named,
            is_timed=manifest.settings.arrival != IMPORTED,
        )
        for variant, found in of.items()
    ]


def _records(folder: Folder) -> list[Record]:
    path = folder.records_path
    try:
        return folder.read_records()
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    except msgspec.DecodeError:
        decoder = msgspec.json.Decoder(Record)
        wrong = []
        for number, line in enumerate(path.read_bytes().rpartition(b"\n")[0].split(b"\n"), 1):
            try:
                decoder.decode(line)
            except msgspec.DecodeError as error:
                wrong.append(SpecError(str(error), field=f"{path}:{number}"))
        raise ConfigErrors(wrong[:5]) from None


class _Labelled(msgspec.Struct):
    """Of a task, what is needed here."""

    id: str
    cluster: str | None = None


def _clusters(folder: Folder) -> dict[str, str]:
    path = folder.tasks_path
    if not path.is_file():
        return {}
    try:
        tasks = msgspec.json.Decoder(_Labelled).decode_lines(path.read_bytes())
    except (msgspec.DecodeError, OSError) as error:
        raise SpecError(f"{path} cannot be read: {error}") from error
    return {task.id: task.cluster for task in tasks if task.cluster is not None}


def choose(found: Sequence[Side], tier: str = "", mode: Mode | None = None) -> list[Side]:
    """The rows of one tier and mode, where they are named; a tier that only knows one pass is in every mode.

    Raises:
        SpecError: there is none.
    """
    tiers = [side.variant.tier for side in found]
    if tier and tier not in tiers:
        raise SpecError(f"{found[0].run} has no tier {tier!r}; {allowed(tier, set(tiers))}")
    chosen = [side for side in found if not tier or side.variant.tier == tier]
    if mode is not None:
        chosen = [side for side in chosen if side.variant.mode in (mode, "both")]
    if not chosen:
        names = ", ".join(side.variant.name for side in found)
        raise SpecError(f"{found[0].run} was not measured in mode {mode!r}; its rows: {names}")
    return chosen


def matched(base: Sequence[Side], other: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Which row of one run belongs to which of the other: the same tier in the same mode, or the only ones there are.

    Raises:
        SpecError: no row stands in both.
    """
    if len(base) == len(other) == 1:
        return [(base[0], other[0])]
    of = {side.variant: side for side in base}
    found = [(of[side.variant], side) for side in other if side.variant in of]
    if not found:
        raise SpecError(
            f"no tier was measured in the same mode in both runs; {base[0].run}: {_names(base)}; "
            f"{other[0].run}: {_names(other)}. Name one of each"
        )
    return found


def _names(some: Iterable[Side]) -> str:
    return ", ".join(side.variant.name for side in some)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The tasks that two rows have in common, and what is missing."""

    base: Side
    other: Side
    planned: int
    """Tasks that either run was to measure, as often as both asked."""
    units: tuple[Unit, ...]
    """Those that have a record in both, in the order in which the other row began them."""
    not_run_base: int
    not_run_other: int

    @property
    def graded(self) -> tuple[Unit, ...]:
        """Those whose two outcomes both say something."""
        return tuple(unit for unit in self.units if all(record.is_graded for record in self.both(unit)))

    @property
    def not_run(self) -> int:
        """In one of the two, or in both."""
        return self.planned - len(self.units)

    def both(self, unit: Unit) -> tuple[Record, Record]:
        return self.base.records[unit], self.other.records[unit]


def pair(base: Side, other: Side, *, common: bool = False) -> Pairs:
    """Put two rows side by side.

    Args:
        base: what the other is compared with.
        other: the candidate.
        common: bear that many tasks were not run in one of them.

    Raises:
        SpecError: they have no task in common, or more than 2 % of the tasks were not run in one of them.
    """
    repeats = min(base.repeats, other.repeats)
    planned = {Unit(task, repeat) for task in base.tasks | other.tasks for repeat in range(repeats)}
    units = sorted(
        planned & base.records.keys() & other.records.keys(),
        key=lambda unit: (other.records[unit].began, _lot(unit.task)),
    )
    pairs = Pairs(
        base=base,
        other=other,
        planned=len(planned),
        units=tuple(units),
        not_run_base=len(planned - base.records.keys()),
        not_run_other=len(planned - other.records.keys()),
    )
    if not units:
        some, more = (", ".join(sorted(unit.task for unit in side.records)[:2]) for side in (base, other))
        raise SpecError(f"{base.run} and {other.run} have no task in common: {some}, … against {more}, …")
    if pairs.not_run > MOST_ERRORS * pairs.planned and not common:
        raise SpecError(
            f"{pairs.not_run} of {pairs.planned} tasks were not run in both ({pairs.not_run_base} not in {base.name}, "
            f"{pairs.not_run_other} not in {other.name}); more than {MOST_ERRORS:.0%} may hide any difference. "
            "Run the rest, or take the tasks in common with --common"
        )
    return pairs


def _lot(task: str) -> bytes:
    """An order that says nothing about the tasks, for records that do not know when they began."""
    return hashlib.blake2b(task.encode(), digest_size=8).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """Which observations of a sample belong together, as numbers from 0; None where each stands alone."""

    tasks: NDArray[np.int64] | None
    """Repeats of one task."""
    clusters: NDArray[np.int64] | None
    """Tasks of one cluster; None where nobody asks for clusters, or not every task has one."""

    @property
    def count(self) -> int | None:
        return None if self.clusters is None else int(self.clusters.max()) + 1

    @property
    def shown(self) -> NDArray[np.int64] | None:
        return self.tasks if self.clusters is None else self.clusters

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"


def grouping(pairs: Pairs, units: Sequence[Unit], population: Population | None) -> Groups:
    """What belongs together among some pairs.

    Raises:
        SpecError: clusters are asked for, and there are none.
    """
    named = {**pairs.base.clusters, **pairs.other.clusters}
    names = [named.get(unit.task) for unit in units]
    has_clusters = None not in names and len(set(names)) > 1
    if population == "clusters" and units and not has_clusters:
        raise SpecError(
            f"{pairs.other.name} cannot speak for new clusters: not every task names its cluster, or all name the same"
        )
    tasks = [unit.task for unit in units]
    return Groups(
        tasks=_numbered(tasks) if len(set(tasks)) < len(tasks) else None,
        clusters=_numbered([str(name) for name in names]) if has_clusters and population != "tasks" else None,
    )


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A difference, for each population that it can be told for."""

    tasks: Estimate
    clusters: Estimate | None = None

    @property
    def shown(self) -> Estimate:
        """For clusters where tasks come in them, for tasks elsewhere."""
        return self.clusters or self.tasks

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"

    @property
    def direction(self) -> Literal["up", "down", ""]:
        """Where the interval says that it went."""
        interval = self.shown.interval
        if interval is None:
            return ""
        return "up" if interval.low > 0 else "down" if interval.high is not None and interval.high < 0 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What became of seconds or dollars, on the same tasks."""

    base: float
    """A mean, as the next."""
    other: float
    difference: Change
    ratio: Estimate | None
    """Total over total."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that two rows say about each other."""

    base: str
    other: str
    planned: int
    not_run_base: int
    not_run_other: int
    errors_base: int
    errors_other: int
    both: int
    only_base: int
    only_other: int
    neither: int
    base_quality: Estimate
    other_quality: Estimate
    quality: Change
    """Infrastructure errors are left out."""
    quality_errors_failed: Estimate
    """If every infrastructure error were a failure."""
    p_value: float
    """Of no difference: exact McNemar, or the cluster t test where tasks come in clusters."""
    seconds: Spend | None
    """Of actions that were answered in both; None when nobody measured times."""
    p50: Estimate | None
    """The difference of the medians of the same actions."""
    p95: Estimate | None
    dollars: Spend | None
    """Of actions whose cost is known in both."""
    untold: int
    """Pairs whose costs are not known."""
    is_grouped: bool
    """Whether repeats or clusters make observations that depend on each other."""
    clusters: int | None
    gained: list[str]
    """Tasks that only the other solved."""
    lost: list[str]

    @property
    def population(self) -> Population:
        return "tasks" if self.clusters is None else "clusters"

    @property
    def verdict(self) -> Direction:
        """On quality."""
        if self.is_grouped:
            return _VERDICTS[self.quality.direction]
        if self.p_value > SIGNIFICANT:
            return "no difference shown"
        return "better" if self.quality.shown.value > 0 else "worse"


def compare(pairs: Pairs, population: Population | None = None) -> Comparison:
    """Compare two rows.

    Args:
        pairs: the rows side by side.
        population: whom to speak for; clusters where every task has one, when not given.

    Raises:
        SpecError: nothing was graded in both, or there are no clusters to speak for.
    """
    graded = pairs.graded
    if not graded:
        raise SpecError(f"no task was graded in both {pairs.base.name} and {pairs.other.name}: all ended in errors")
    groups = grouping(pairs, graded, population)
    base, other = solved(pairs, graded)
    both, only_other, only_base, neither = crossed(base, other)
    errors_failed = solved(pairs, pairs.units)
    is_plain = groups.shown is None
    answered, told = timed(pairs), priced(pairs)
    seconds, dollars = values(pairs, answered, "seconds"), values(pairs, told, "dollars")
    once = values(pairs, [unit for unit in answered if unit.repeat == 0], "seconds")
    p50, p95 = quantile_changes(once, (0.5, 0.95))
    gained, lost = flips(graded, other - base)
    return Comparison(
        base=pairs.base.name,
        other=pairs.other.name,
        planned=pairs.planned,
        not_run_base=pairs.not_run_base,
        not_run_other=pairs.not_run_other,
        errors_base=sum(not pairs.base.records[unit].is_graded for unit in pairs.units),
        errors_other=sum(not pairs.other.records[unit].is_graded for unit in pairs.units),
        both=both,
        only_base=only_base,
        only_other=only_other,
        neither=neither,
        base_quality=_share(base, groups),
        other_quality=_share(other, groups),
        quality=quality_change(base, other, groups),
        quality_errors_failed=quality_change(*errors_failed, grouping(pairs, pairs.units, population)).shown,
        p_value=statistics.mcnemar(only_other, only_base) if is_plain else p_clustered(other - base, groups.shown),
        seconds=_spend(seconds, grouping(pairs, answered, population)),
        p50=p50,
        p95=p95,
        dollars=_spend(dollars, grouping(pairs, told, population)),
        untold=len(graded) - len(told),
        is_grouped=not is_plain,
        clusters=groups.count,
        gained=gained,
        lost=lost,
    )


def flips(units: Sequence[Unit], changes: NDArray[np.int64]) -> tuple[list[str], list[str]]:
    """Tasks that were solved more often, and less often, by name."""
    sums: Counter[str] = Counter()
    for unit, change in zip(units, changes.tolist(), strict=True):
        sums[unit.task] += change
    return sorted(task for task in sums if sums[task] > 0), sorted(task for task in sums if sums[task] < 0)


def solved(pairs: Pairs, units: Sequence[Unit]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """1 where the base, and where the other, solved the task."""
    base, other = (
        np.array([side.records[unit].is_solved for unit in units], dtype=np.int64) for side in (pairs.base, pairs.other)
    )
    return base, other


def timed(pairs: Pairs) -> list[Unit]:
    """The pairs that were both answered, where somebody looked at a clock, on an engine that served nothing else."""
    if not (pairs.base.is_timed and pairs.other.is_timed):
        return []
    return [
        unit
        for unit in pairs.units
        if all(record.has_answer and record.taken == "request" for record in pairs.both(unit))
    ]


def priced(pairs: Pairs) -> list[Unit]:
    """The pairs that were both graded, and whose costs are known."""
    return [unit for unit in pairs.graded if all(record.dollars is not None for record in pairs.both(unit))]


def values(pairs: Pairs, units: Sequence[Unit], name: Literal["seconds", "dollars"]) -> Floats:
    """Two rows: the base's and the other's."""
    found = [[getattr(record, name) for record in pairs.both(unit)] for unit in units]
    return np.array(found, dtype=float).reshape(-1, 2).T


def crossed(base: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[int, int, int, int]:
    """How many both, only the other, only the base, and neither solved."""
    table = Counter(zip(other.tolist(), base.tolist(), strict=True))
    return table[1, 1], table[1, 0], table[0, 1], table[0, 0]


def quality_change(base: NDArray[np.int64], other: NDArray[np.int64], groups: Groups) -> Change:
    """The difference of two shares on the same tasks (Newcombe 1998), or on the same groups of them."""
    return Change(
        tasks=_difference(base, other, groups.tasks),
        clusters=None if groups.clusters is None else _difference(base, other, groups.clusters),
    )


def _difference(base: NDArray[np.int64], other: NDArray[np.int64], groups: NDArray[np.int64] | None) -> Estimate:
    if groups is None:
        both, only_other, only_base, neither = crossed(base, other)
        found: Estimate | None = statistics.paired_difference(both, only_other, only_base, neither)
    else:
        first, second = (np.bincount(groups, weights=won).tolist() for won in (other, base))
        found = clusters.difference(first, second, np.bincount(groups).tolist())
    assert found is not None, "there are pairs"  # noqa: S101
    return found


def _share(won: NDArray[np.int64], groups: Groups) -> Estimate:
    """A share solved: Wilson, over groups where tasks are not independent."""
    if groups.shown is None:
        found: Estimate | None = statistics.rate(int(won.sum()), len(won))
    else:
        found = clusters.rate(np.bincount(groups.shown, weights=won).tolist(), np.bincount(groups.shown).tolist())
    assert found is not None, "there are pairs"  # noqa: S101
    return found


def mean(values: Floats, groups: NDArray[np.int64] | None) -> Estimate | None:
    """A mean with its t interval; each group is one observation of G (Miller 2024, arXiv 2411.00640)."""
    if groups is None:
        return statistics.mean(values.tolist())
    if not len(values):
        return None
    count = int(groups.max()) + 1
    centre, variance = float(values.mean()), covariance(values, values, groups)
    if count < 2 or variance <= 0:
        return Estimate(value=centre, interval=None, n=count)
    half = statistics.t_quantile(count - 1) * math.sqrt(variance)
    return Estimate(value=centre, interval=Interval(centre - half, centre + half), n=count)


def covariance(x: Floats, y: Floats, groups: NDArray[np.int64] | None) -> float:
    """Of the means of two values, cluster by cluster, with the correction G / (G - 1); a task is a cluster if None."""
    n = len(x)
    if groups is None:
        groups = np.arange(n)
    count = int(groups.max()) + 1
    if count < 2:
        return math.nan
    in_x = np.bincount(groups, weights=x - x.mean(), minlength=count)
    in_y = np.bincount(groups, weights=y - y.mean(), minlength=count)
    return float(in_x @ in_y) * count / (count - 1) / n / n


def p_clustered(differences: NDArray[np.int64], groups: NDArray[np.int64] | None) -> float:
    """The two-sided p value of no difference between groups of tasks (t with G - 1 df)."""
    values = differences.astype(float)
    variance = covariance(values, values, groups)
    if variance <= 0:  # all clusters agree to the last digit, so they say nothing about their spread
        return statistics.mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    freedom = len(differences) - 1 if groups is None else int(groups.max())
    return 2 * float(special.stdtr(freedom, -abs(float(values.mean())) / math.sqrt(variance)))


def ratio(over: Floats, under: Floats, groups: NDArray[np.int64] | None, width: float | None = None) -> Estimate | None:
    """Total over total on the same tasks, with Fieller's interval (1954); None where the whole below is zero.

    Args:
        over: the values above.
        under: those below, of the same tasks.
        groups: the cluster of each task.
        width: of the interval to each side, in standard errors; Student's t when not given.
    """
    n = len(over)
    if not n or under.sum() <= 0:
        return None
    value = float(over.sum() / under.sum())
    count = n if groups is None else int(groups.max()) + 1
    if count < 2:
        return Estimate(value=value, interval=None, n=n)
    scale = (statistics.t_quantile(count - 1) if width is None else width) ** 2
    x, y = float(over.mean()), float(under.mean())
    # The ratios r for which the mean of over - r·under may be zero: a·r² - 2·b·r + c ≤ 0.
    a = y * y - scale * covariance(under, under, groups)
    b = x * y - scale * covariance(over, under, groups)
    c = x * x - scale * covariance(over, over, groups)
    root = math.sqrt(max(0.0, b * b - a * c))
    if a <= 0:
        low = c / (b + root) if b + root > 0 else 0.0
        return Estimate(value=value, interval=Interval(max(0.0, low), None), n=n)
    return Estimate(value=value, interval=Interval(max(0.0, (b - root) / a), (b + root) / a), n=n)


def _spend(spent: Floats, groups: Groups) -> Spend | None:
    base, other = spent
    if not len(base):
        return None
    alone = mean(other - base, groups.tasks)
    assert alone is not None, "there are pairs"  # noqa: S101
    return Spend(
        base=float(base.mean()),
        other=float(other.mean()),
        difference=Change(
            tasks=alone, clusters=None if groups.clusters is None else mean(other - base, groups.clusters)
        ),
        ratio=ratio(other, base, groups.shown),
    )


def quantile_changes(seen: Floats, levels: Sequence[float]) -> list[Estimate | None]:
    """The differences of quantiles of the same actions, by resampling the tasks (Efron 1979, percentile interval).

    The interval is left out below 72 actions for the 95th percentile: the largest of fewer decides it alone.
    """
    n = seen.shape[1]
    if not n:
        return [None for _ in levels]
    ranks = [math.ceil(level * n) - 1 for level in levels]
    drawn = np.random.default_rng(0).integers(n, size=(_RESAMPLES, n))
    spread = np.quantile(_ordered(seen[1][drawn], ranks) - _ordered(seen[0][drawn], ranks), [TAIL, 1 - TAIL], axis=0)
    values = _ordered(seen[1:], ranks)[0] - _ordered(seen[:1], ranks)[0]
    least = [math.ceil(math.log(TAIL) / math.log(max(level, 1 - level))) for level in levels]
    return [
        Estimate(value=float(value), interval=Interval(float(low), float(high)) if n >= enough else None, n=n)
        for value, low, high, enough in zip(values, *spread, least, strict=True)
    ]


def _ordered(rows: Floats, ranks: Sequence[int]) -> Floats:
    """The values of some ranks in each row."""
    return np.partition(rows, ranks, axis=1)[:, ranks]
