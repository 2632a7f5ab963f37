"""Whether a run may replace another: non-inferior quality, and bounds on seconds and dollars, together.

Each check has its own verdict, read from a 95 % interval, so each is wrong in at most 2.5 % of runs in each direction:

    PASS          the interval is entirely on the good side of the bound: any loss is shown to be tolerable
    FAIL          harm is shown: fewer tasks were solved than by the baseline, or a bound is exceeded
    INCONCLUSIVE  neither; `needed` says how many more tasks would probably decide it

The gate passes if every check passes, and fails if any check fails. Wrong passes do not add up over checks: a gate that
should fail passes only if the failing check is wrong itself (Berger 1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import numpy as np

from tierwise.analysis.compare import flips
from tierwise.analysis.pairs import grouping, priced, solved, timed, values
from tierwise.runs.records import MAX_ERROR_SHARE
from tierwise.spec.errors import SpecError
from tierwise.spec.files import read_yaml
from tierwise.stats import estimates, paired_effects, sequential
from tierwise.stats.alpha_spending import TAIL
from tierwise.stats.estimates import Estimate, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tierwise.analysis.pairs import Pairs
    from tierwise.runs.records import Unit
    from tierwise.stats.estimand import Population

    Floats = NDArray[np.float64]

GateVerdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

Axis = Literal["quality", "latency", "dollars"]

QUANTILES = {"p50": Fraction(1, 2), "p95": Fraction(95, 100)}

POWER = 0.8
"""How probably the stated number of tasks decides a check."""

_Z, _Z_POWER = 1.959963984540054, 0.8416212335729143
_ENOUGH_ALIKE = 30
"""From this many equal values on, no interval is needed."""

Margin = Annotated[float, msgspec.Meta(gt=0, lt=1)]
Bound = Annotated[float, msgspec.Meta(gt=0)]


class QualityPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tolerated loss of quality."""

    margin: Margin
    """Of the share solved: 0.03 tolerates a loss of less than 3 points."""


class LatencyPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds of a whole action; each bound is a check."""

    ratio: Bound | None = None
    """Bound on the mean relative to the baseline's, on the same tasks."""
    p50: Bound | None = None
    """Bound on the median, in seconds."""
    p95: Bound | None = None


class DollarsPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Dollars of an action with all its passes; each bound is a check."""

    ratio: Bound | None = None
    """Bound on the mean relative to the baseline's, on the same tasks."""
    mean: Bound | None = None
    """Bound on the mean, in dollars."""


class GatePolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """gate.yaml."""

    quality: QualityPolicy
    latency: LatencyPolicy = LatencyPolicy()
    dollars: DollarsPolicy = DollarsPolicy()
    population: Literal["tasks", "clusters"] | None = None
    """The population that the verdict is for; if not given, clusters where every task has one."""


def load(path: Path) -> GatePolicy:
    """Read gate.yaml.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all its errors, each with its line.
    """
    document = read_yaml(path, "policy", advice="docs/gating.md has an example")
    return document.finish(document.convert(GatePolicy))


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCheck:
    """One bound, and its result."""

    axis: Axis
    name: str
    """`quality.margin`, as in gate.yaml."""
    bound: float
    verdict: GateVerdict
    estimate: Estimate | None
    """A difference of shares, a ratio, seconds or dollars; None when nothing was measured."""
    population: Population
    tasks: int
    """The number of tasks behind the verdict."""
    needed: int | None = None
    """How many more tasks would decide it with a power of 80 %; None when it is decided, or cannot be estimated."""
    why: str = ""
    """The reason for an undecided check, other than the width of the interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The result of all checks."""

    base: str
    other: str
    checks: list[GateCheck]
    is_sequential: bool
    planned: int
    not_run: int
    errors: int
    """Pairs with an infrastructure error in one run or both."""
    changed: dict[str, list[str]]
    """Tasks that differ between the runs, as intended, with the keys that differ."""
    gained: list[str]
    lost: list[str]
    agents: tuple[str, str] | None = None
    """As in `Comparison`."""

    @property
    def verdict(self) -> GateVerdict:
        verdicts = {check.verdict for check in self.checks}
        return "FAIL" if "FAIL" in verdicts else "PASS" if verdicts == {"PASS"} else "INCONCLUSIVE"

    @property
    def tasks(self) -> int:
        """The number of tasks behind the verdict."""
        if self.verdict == "FAIL":
            return min(check.tasks for check in self.checks if check.verdict == "FAIL")
        return max(check.tasks for check in self.checks)

    @property
    def needed(self) -> int | None:
        """Tasks still needed for a verdict, where that can be estimated."""
        return max((check.needed for check in self.checks if check.needed is not None), default=None)

    @property
    def exit_code(self) -> int:
        return {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 2}[self.verdict]


def gate(pairs: Pairs, policy: GatePolicy, *, is_sequential: bool = False) -> Gate:
    """Check two rows against a policy.

    Args:
        pairs: baseline and candidate.
        policy: the bounds.
        is_sequential: stop at the first look at which the verdict is certain enough; may be called repeatedly while the
            candidate is still being measured.

    Raises:
        SpecError: the policy bounds values that the runs do not have, or a server refused the requests of one of them.
    """
    pairs.require_answers()
    if not pairs.graded:
        raise SpecError(f"no task was graded in both {pairs.base.name} and {pairs.other.name}: all ended in errors")
    if unchecked := len(pairs.graded) - len(pairs.checked):
        raise SpecError(
            f"{unchecked} of {len(pairs.graded)} answers have no check, so nothing says whether they are right, and a "
            "gate bounds quality first. `tierwise compare` shows their seconds and dollars; measure with `tierwise "
            "bench`, whose tasks have checks, to gate"
        )
    if policy.population == "clusters" and is_sequential:
        raise SpecError("a sequential gate is for tasks, not for clusters", field="population")
    checks = _sequential(pairs, policy) if is_sequential else _fixed(pairs, policy)
    base, other = solved(pairs, pairs.graded)
    gained, lost = flips(pairs.graded, other - base)
    return Gate(
        base=pairs.base.name,
        other=pairs.other.name,
        checks=list(checks),
        is_sequential=is_sequential,
        planned=pairs.planned,
        not_run=pairs.not_run,
        errors=len(pairs.units) - len(pairs.graded),
        changed=dict(pairs.changed),
        gained=gained,
        lost=lost,
        agents=pairs.agents,
    )


def _fixed(pairs: Pairs, policy: GatePolicy) -> Iterable[GateCheck]:
    yield _quality(pairs, policy)
    answered, known = _answered(pairs, policy), _priced(pairs, policy)
    seconds, dollars = values(pairs, answered, "seconds"), values(pairs, known, "dollars")
    if policy.latency.ratio is not None:
        groups = grouping(pairs, answered, policy.population)
        found = paired_effects.ratio(seconds[1], seconds[0], groups.shown)
        yield _at_most("latency", "ratio", policy.latency.ratio, found, groups.population, len(answered))
    first_repeats = values(pairs, [unit for unit in answered if unit.repeat == 0], "seconds")[1]
    for name, q in QUANTILES.items():
        bound = getattr(policy.latency, name)
        if bound is not None:
            yield _quantile(name, bound, first_repeats, q)
    groups = grouping(pairs, known, policy.population)
    if policy.dollars.ratio is not None:
        found = paired_effects.ratio(dollars[1], dollars[0], groups.shown)
        check = _at_most("dollars", "ratio", policy.dollars.ratio, found, groups.population, len(known))
        yield _with_known_costs(pairs, known, check)
    if policy.dollars.mean is not None:
        found = paired_effects.mean(dollars[1], groups.shown)
        check = _at_most("dollars", "mean", policy.dollars.mean, found, groups.population, len(known))
        yield _with_known_costs(pairs, known, check)


def _quality(pairs: Pairs, policy: GatePolicy) -> GateCheck:
    """Infrastructure errors may not decide: left out or counted as failures, the verdict must be the same."""
    margin = policy.quality.margin
    found = [
        paired_effects.quality_change(*solved(pairs, units), grouping(pairs, units, policy.population))
        for units in (pairs.graded, pairs.units)
    ]
    verdict, counted = (_non_inferior(change.shown.interval, margin) for change in found)
    shown = found[0].shown
    check = GateCheck(
        axis="quality",
        name="quality.margin",
        bound=margin,
        verdict=verdict,
        estimate=shown,
        population=found[0].population,
        tasks=len(pairs.graded),
    )
    if verdict != counted:
        return _undecided(check, pairs)
    if verdict == "INCONCLUSIVE":
        return replace(check, needed=_needed(shown, max(shown.value + margin, -shown.value), len(pairs.graded)))
    return check


def _undecided(check: GateCheck, pairs: Pairs) -> GateCheck:
    errors = len(pairs.units) - len(pairs.graded)
    why = f"{errors} infrastructure errors decide: left out or counted as failures, they change the verdict"
    return replace(check, verdict="INCONCLUSIVE", needed=None, why=why)


def _non_inferior(interval: Interval | None, margin: float) -> GateVerdict:
    if interval is None or interval.high is None:
        return "INCONCLUSIVE"
    return "PASS" if interval.low > -margin else "FAIL" if interval.high < 0 else "INCONCLUSIVE"


def _at_most(
    axis: Axis, name: str, bound: float, estimate: Estimate | None, population: Population, n: int
) -> GateCheck:
    verdict = _below(estimate, bound)
    distance = 0.0 if estimate is None else abs(estimate.value - bound)
    return GateCheck(
        axis=axis,
        name=f"{axis}.{name}",
        bound=bound,
        verdict=verdict,
        estimate=estimate,
        population=population,
        tasks=n,
        needed=_needed(estimate, distance, n) if verdict == "INCONCLUSIVE" and estimate is not None else None,
    )


def _below(estimate: Estimate | None, bound: float) -> GateVerdict:
    if estimate is None:
        return "INCONCLUSIVE"
    if estimate.interval is None:
        if estimate.n < _ENOUGH_ALIKE:
            return "INCONCLUSIVE"
        return "PASS" if estimate.value <= bound else "FAIL"
    high = estimate.interval.high
    if high is not None and high <= bound:
        return "PASS"
    return "FAIL" if estimate.interval.low > bound else "INCONCLUSIVE"


def _quantile(name: str, bound: float, values: Floats, q: Fraction) -> GateCheck:
    """From order statistics; a sample too small to bound the quantile decides nothing."""
    found = estimates.quantile(values.tolist(), q)
    verdict: GateVerdict = "INCONCLUSIVE" if found is None or found.interval is None else _below(found, bound)
    needed = None
    if verdict == "INCONCLUSIVE" and len(values):
        within, level = float(np.mean(values <= bound)), float(q)
        distance = abs(within - level)
        root = _Z * math.sqrt(level * (1 - level)) + _Z_POWER * math.sqrt(within * (1 - within))
        whole = max((root / distance) ** 2, _least_for(level)) if distance else math.inf
        needed = max(1, math.ceil(whole - len(values))) if distance else None
    return GateCheck(
        axis="latency",
        name=f"latency.{name}",
        bound=bound,
        verdict=verdict,
        estimate=found,
        population="tasks",
        tasks=len(values),
        needed=needed,
    )


def _least_for(level: float) -> int:
    """The smallest number of observations for which a quantile has an interval."""
    return math.ceil(math.log(TAIL) / math.log(max(level, 1 - level)))


def _needed(estimate: Estimate, distance: float, n: int) -> int | None:
    """How many more tasks are needed if the estimate is the truth: intervals shrink with √n. `POWER` adds some."""
    interval = estimate.interval
    if interval is None:
        return max(1, _ENOUGH_ALIKE - n)
    if interval.high is None or distance <= 0:
        return None
    half = (interval.high - interval.low) / 2
    whole = n * (half * (1 + _Z_POWER / _Z) / distance) ** 2
    return max(1, math.ceil(whole - n))


def _answered(pairs: Pairs, policy: GatePolicy) -> list[Unit]:
    bounds = policy.latency
    wanted = any(bound is not None for bound in (bounds.ratio, bounds.p50, bounds.p95))
    for arm in (pairs.base, pairs.other):
        if wanted and not arm.is_timed:
            raise SpecError(
                f"latency is bounded, but {arm.run} was imported and has no times, or lacks those of some answers"
            )
    return timed(pairs)


def _priced(pairs: Pairs, policy: GatePolicy) -> list[Unit]:
    known = priced(pairs)
    if not known and (policy.dollars.ratio is not None or policy.dollars.mean is not None):
        raise SpecError(f"dollars are bounded, but {pairs.base.run} and {pairs.other.run} have no costs in common")
    return known


def _with_known_costs(pairs: Pairs, known: Sequence[Unit], check: GateCheck) -> GateCheck:
    unreported = len(pairs.graded) - len(known)
    if unreported <= MAX_ERROR_SHARE * len(pairs.graded):
        return check
    why = f"the costs of {unreported} of {len(pairs.graded)} actions are not known"
    return replace(check, verdict="INCONCLUSIVE", needed=None, why=why)


def _sequential(pairs: Pairs, policy: GatePolicy) -> Iterable[GateCheck]:
    """Each task counts once: its repeats are not independent draws."""
    is_last = pairs.has_ended and pairs.not_run <= MAX_ERROR_SHARE * pairs.planned
    planned = len(pairs.base.tasks | pairs.other.tasks)
    pairs = replace(pairs, units=tuple(unit for unit in pairs.units if unit.repeat == 0))
    yield _quality_so_far(pairs, policy.quality.margin, planned, is_last=is_last)
    seconds = values(pairs, _answered(pairs, policy), "seconds")
    if policy.latency.ratio is not None:
        yield _ratio_so_far("latency", policy.latency.ratio, seconds, planned, is_last=is_last)
    for name, q in QUANTILES.items():
        bound = getattr(policy.latency, name)
        if bound is not None:
            stop = sequential.share((seconds[1] <= bound).tolist(), float(q), planned, is_last=is_last)
            seen = estimates.quantile(seconds[1][: stop.tasks].tolist(), q)
            yield _stopped("latency", name, bound, stop, None if seen is None else replace(seen, interval=None))
    known = _priced(pairs, policy)
    dollars = values(pairs, known, "dollars")
    if policy.dollars.ratio is not None:
        check = _ratio_so_far("dollars", policy.dollars.ratio, dollars, planned, is_last=is_last)
        yield _with_known_costs(pairs, known, check)
    if policy.dollars.mean is not None:
        bound = policy.dollars.mean
        stop = sequential.mean_below_zero((dollars[1] - bound).tolist(), planned, is_last=is_last)
        check = _stopped("dollars", "mean", bound, stop, _mean_so_far(dollars[1][: stop.tasks], stop.width))
        yield _with_known_costs(pairs, known, check)


def _quality_so_far(pairs: Pairs, margin: float, planned: int, *, is_last: bool) -> GateCheck:
    graded, counted = (np.subtract(*reversed(solved(pairs, units))) for units in (pairs.graded, pairs.units))
    stop = sequential.paired(graded.tolist(), margin, planned, is_last=is_last)
    seen = graded[: stop.tasks]
    wins, losses = int((seen > 0).sum()), int((seen < 0).sum())
    interval = sequential.paired_interval(wins, losses, len(seen), stop)
    check = GateCheck(
        axis="quality",
        name="quality.margin",
        bound=margin,
        verdict=stop.verdict or "INCONCLUSIVE",
        estimate=Estimate(value=(wins - losses) / len(seen), interval=interval, n=len(seen)) if len(seen) else None,
        population="tasks",
        tasks=stop.tasks,
        needed=stop.needed,
    )
    if stop.verdict != sequential.paired(counted.tolist(), margin, planned, is_last=is_last).verdict:
        return _undecided(check, pairs)
    return check


def _ratio_so_far(axis: Axis, bound: float, values: Floats, planned: int, *, is_last: bool) -> GateCheck:
    """The ratio is at most `bound` where candidate - bound·baseline is at most zero on average."""
    stop = sequential.mean_below_zero((values[1] - bound * values[0]).tolist(), planned, is_last=is_last)
    base, other = values[:, : stop.tasks]
    return _stopped(axis, "ratio", bound, stop, paired_effects.ratio(other, base, None, stop.width))


def _mean_so_far(values: Floats, width: float) -> Estimate | None:
    if len(values) < 2:
        return None
    half = width * float(values.std()) / math.sqrt(len(values))
    centre = float(values.mean())
    return Estimate(value=centre, interval=Interval(centre - half, centre + half), n=len(values))


def _stopped(
    axis: Axis, name: str, bound: float, stop: sequential.StoppingPoint, estimate: Estimate | None
) -> GateCheck:
    return GateCheck(
        axis=axis,
        name=f"{axis}.{name}",
        bound=bound,
        verdict=stop.verdict or "INCONCLUSIVE",
        estimate=estimate,
        population="tasks",
        tasks=stop.tasks,
        needed=stop.needed,
    )
