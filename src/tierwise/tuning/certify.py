"""Certifies the cheapest setting that keeps its promises, with tests whose order was fixed on other tasks.

Pareto testing (Laufer-Goldenberg et al. 2022, arXiv 2210.07913): the settings that no other beats in both dollars and
risk on the tuning tasks are ordered by how surely they keep the promise there; for harm, one chain of stricter and
looser versions of a setting (`tuning.chains`). On the calibration tasks they are tested in this order, up to the
first that fails; with probability `confidence` none that passed breaks its promise. Several promises are one
hypothesis: its p-value is the largest of theirs (intersection-union).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from tierwise.certificate import by_agreement
from tierwise.stats.promises import Losses, Method
from tierwise.tuning.chains import BETS, EXACT, LARGEST_BET, best_chain, nested_chains, rehearsed
from tierwise.tuning.losses import is_plain, losses_on, missed_losses, most_weight, repeated, sums_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tierwise.certificate import Labels
    from tierwise.tuning.evaluated import Evaluated, Floats, Numbers

Kind = Literal["harm", "net", "selective"]

MOST_SLOW = 0.05
"""Share of actions that may take longer than the promised 95th percentile."""
_LEAST_KEPT = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """What a route must keep on new tasks like those of the workload."""

    kind: Kind = "harm"
    limit: float
    """Share of all tasks; for `selective`, of those that are not passed on to the last tier."""
    confidence: float = 0.95
    labels: Labels = "check"
    """What tells a loss (`tierwise.certificate`)."""
    missed: float = 0.0
    """With a judge: the part of the limit that is for harm which it misses (`tuning.judging`)."""
    p95: float | None = None
    """Seconds that at most 5 % of actions may exceed."""
    dollars: float | None = None
    """Mean of an action."""
    budget: float | None = None
    """The most dollars that any action can cost; needed for `dollars`."""
    looks: int = 1
    """How often these calibration tasks are tested on, this time included (`tuning.looks`)."""

    def __post_init__(self) -> None:
        if not (0 < self.limit < 1 and 0 < self.confidence < 1):
            raise ValueError("limit and confidence are between 0 and 1")
        if by_agreement(self.labels) and self.kind != "harm":
            raise ValueError("agreement tells harm from above, and nothing about gains")
        if self.dollars is not None and (self.budget is None or not 0 < self.dollars < self.budget):
            raise ValueError("a promise of dollars needs a budget above it")

    @property
    def risk_name(self) -> str:
        """What the promised share is of: `harm`, `net`, `selective`, or `disagreement` where that stands for harm."""
        return "disagreement" if by_agreement(self.labels) else self.kind

    @property
    def delta(self) -> float:
        """The level of the tests: 1 - confidence, halved for each earlier look."""
        return float((1 - self.confidence) / 2 ** (self.looks - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """One hypothesis on the calibration tasks."""

    setting: int
    """Its index in `Evaluated.names`."""
    p_value: float
    """The largest over all promises."""
    losses: Losses
    """Of the first promise: harm, net loss or selective errors."""
    method: Method
    binding: str
    """The promise with this p-value: `harm`, `net`, `selective`, `p95` or `dollars`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is tested, as the tuning tasks fixed it."""

    settings: tuple[int, ...]
    """Tested in this order, up to the first that fails."""
    bet: float = EXACT
    """Size of the bets on harm, as `Losses.bet`; `EXACT` for the exact test where that is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """The cheapest setting that passed."""

    setting: int
    name: str
    rank: int
    """Its place in the order of the tests, from 1."""
    tested: Tested
    order: tuple[int, ...]
    """Settings in the order that the tuning tasks fixed."""
    passed: tuple[Tested, ...]
    """All hypotheses that passed, in this order."""


def certify(
    evaluated: Evaluated,
    tuning: Sequence[int] | Numbers,
    calibration: Sequence[int] | Numbers,
    promises: Promises,
    *,
    seed: int = 0,
    candidates: Iterable[int] | None = None,
) -> Certified | None:
    """The cheapest setting that keeps its promises.

    Args:
        evaluated: what each setting does to each task.
        tuning: indexes of the tasks on which settings may be compared freely.
        calibration: indexes of other tasks, on which the tests run.
        promises: what to test.
        seed: of the order in which a bet sees the calibration tasks.
        candidates: indexes of the settings; all if not given.

    Returns:
        None if the first test fails: nothing is certified.

    Raises:
        ValueError: a unit of the calibration tasks weighs more than every unit of the tuning tasks. The split of
            `tuning.split` never does this.
    """
    order = ordered(evaluated, tuning, promises, len(calibration), candidates=candidates)
    passed = walk(evaluated, tuning, calibration, promises, order, seed=seed)
    if not passed:
        return None
    costs = evaluated.mean(evaluated.dollars, tuning)
    rank = min(range(len(passed)), key=lambda place: costs[passed[place].setting])
    best = passed[rank]
    return Certified(
        setting=best.setting,
        name=evaluated.names[best.setting],
        rank=rank + 1,
        tested=best,
        order=order.settings,
        passed=tuple(passed),
    )


def walk(
    evaluated: Evaluated,
    tuning: Sequence[int] | Numbers,
    calibration: Sequence[int] | Numbers,
    promises: Promises,
    order: Order,
    *,
    seed: int = 0,
) -> list[Tested]:
    """Test settings on the calibration tasks in an order, up to the first that fails."""
    passed = []
    most = most_weight(evaluated, tuning)
    for setting in order.settings:
        one = judged(evaluated, setting, calibration, promises, seed=seed, most=most, bet=order.bet)
        if one.p_value > promises.delta:
            break
        passed.append(one)
    return passed


def judged(
    evaluated: Evaluated,
    setting: int,
    calibration: Sequence[int] | Numbers,
    promises: Promises,
    *,
    seed: int = 0,
    most: float = 0.0,
    bet: float = 0.0,
) -> Tested:
    """Test one setting on the calibration tasks."""
    losses = losses_of(evaluated, setting, calibration, promises, most=most, bet=bet)
    limit, delta = limit_of(promises), promises.delta
    p_value = losses.p_value(limit, seed=seed, delta=delta)
    found = {promises.kind: p_value} | {
        name: other.p_value(bound, seed=seed, delta=delta)
        for name, other, bound in _others(evaluated, setting, calibration, promises, most)
    }
    binding = max(found, key=lambda name: found[name])
    return Tested(setting=setting, p_value=found[binding], losses=losses, method=losses.method, binding=binding)


def ordered(
    evaluated: Evaluated,
    tuning: Sequence[int] | Numbers,
    promises: Promises,
    size: int,
    *,
    candidates: Iterable[int] | None = None,
) -> Order:
    """The settings that are tested, the surest to keep its promises on the tuning tasks first.

    For harm, the settings whose answers are those of the reference on all tuning tasks, such as a vote that ends once
    it is decided, and then one chain of nested settings (`tuning.chains`). With a promise of latency or dollars, the
    chain alone: no harm does not make a setting quick or cheap. For other promises the Pareto set of dollars and risk.

    Args:
        evaluated: what each setting does to each task.
        tuning: indexes of the tuning tasks.
        promises: what will be tested.
        size: how many tasks it will be tested on.
        candidates: indexes of the settings; all if not given.
    """
    found = np.arange(len(evaluated.names)) if candidates is None else np.array(sorted(set(candidates)), dtype=np.int64)
    if not len(found):
        return Order(settings=())
    dollars = evaluated.mean(evaluated.dollars, tuning)[found]
    seen = risks(evaluated, tuning, promises)[found]
    best = pareto(dollars, seen)
    lossless: frozenset[int] = frozenset()
    bet = 0.0
    if promises.kind == "harm":
        good = np.ones(len(best), dtype=np.bool_)
        for _, values, bound in _further(evaluated, found, promises):
            good &= evaluated.mean(values, tuning)[best] <= bound
        starts = best[good] if good.any() else best
        best, bet = _rehearsed(evaluated, tuning, promises, size, found, dollars, seen, starts)
        if promises.p95 is None and promises.dollars is None:
            alike = (evaluated.kept[found][:, tuning] == 0) & (evaluated.disagreement[found][:, tuning] == 0)
            lossless = frozenset(found[alike.all(axis=1)].tolist())
    kept = list({*found[best].tolist(), *lossless})
    costs = dict(zip(found.tolist(), dollars.tolist(), strict=True))
    if promises.kind == "harm" and promises.p95 is None and promises.dollars is None:
        sure = dict(zip(found.tolist(), seen.tolist(), strict=True))  # p-values rise with it
    else:
        sure = {one: expected_p_value(evaluated, one, tuning, promises, size) for one in kept}
    return Order(
        settings=tuple(sorted(kept, key=lambda one: (one not in lossless, sure[one], -costs[one]))),
        bet=bet,
    )


def _rehearsed(
    evaluated: Evaluated,
    tuning: Sequence[int] | Numbers,
    promises: Promises,
    size: int,
    found: Numbers,
    dollars: Floats,
    seen: Floats,
    starts: Numbers,
) -> tuple[Numbers, float]:
    """The chain through one of several settings that is expected to certify the cheapest one, by places in `found`, and
    the size of bets with which it is.
    """
    names, (weights,) = sums_of(evaluated.units[tuning], evaluated.weights[tuning])
    can_lose = evaluated.disagreement[found][:, tuning].any(axis=1)
    harm = np.stack(
        [sums_of(evaluated.units[tuning], one)[1][0] for one in (evaluated.harm * evaluated.weights)[found][:, tuning]]
    )
    units = max(1, round(size * len(names) / max(1, len(tuning))))
    kept = evaluated.kept[found][:, tuning]
    shares = kept.mean(axis=1)
    chains = nested_chains(kept, dollars, starts.tolist())
    passes = rehearsed(
        harm,
        weights,
        limit_of(promises),
        promises.delta,
        exposure=np.where(shares > 0, shares, can_lose),
        units=units,
        most=float(weights.max()),
        is_plain=is_plain(evaluated, tuning),
    )
    several = [sorted(chain, key=lambda one: (seen[one], -dollars[one])) for chain in chains]
    chosen, bet = best_chain(several, passes, dollars, reference=float(dollars.max()))
    return np.array(chosen, dtype=np.int64), bet


def pareto(dollars: Floats, risks: Floats) -> Numbers:
    """Indexes of what nothing else beats in both; of equal ones the first."""
    found, least = [], np.inf
    for index in np.lexsort((risks, dollars)).tolist():
        if risks[index] < least:
            found.append(index)
            least = risks[index]
    return np.array(found, dtype=np.int64)


def expected_p_value(
    evaluated: Evaluated, setting: int, tuning: Sequence[int] | Numbers, promises: Promises, size: int
) -> float:
    """The p-value that a setting would reach on this many tasks, if they were like the tuning tasks."""
    p_value = 1.0
    is_choice = promises.kind == "harm" and is_plain(evaluated, tuning)
    for bet in (EXACT, LARGEST_BET) if is_choice else (EXACT,):
        own = repeated(losses_of(evaluated, setting, tuning, promises, bet=bet), size)
        p_value = min(p_value, 1.0 if own is None else planned_p_value(own, promises))
    for _, other, bound in _others(evaluated, setting, tuning, promises, 0.0):
        again = repeated(other, round(size * other.tasks / max(1, len(tuning))))
        p_value = max(p_value, 1.0 if again is None else again.p_value(bound, delta=promises.delta))
    return p_value


def planned_p_value(losses: Losses, promises: Promises) -> float:
    """The p-value of made-up losses with the best size of bets on harm. For planning: tests declare their size."""
    sizes = (EXACT, *BETS) if promises.kind == "harm" and losses.method == "betting" else (losses.bet,)
    return min(replace(losses, bet=bet).p_value(limit_of(promises), delta=promises.delta) for bet in sizes)


def limit_of(promises: Promises) -> float:
    """The limit on the losses of `losses_of`."""
    return (1 + promises.limit) / 2 if promises.kind == "net" else promises.limit - promises.missed


def losses_of(
    evaluated: Evaluated,
    setting: int,
    tasks: Sequence[int] | Numbers,
    promises: Promises,
    *,
    most: float = 0.0,
    bet: float = 0.0,
) -> Losses:
    """The losses of a setting on some tasks. Of a net loss D from -1 to 1, (1 + D) / 2. `bet` is for harm alone.

    For the exact test, harm is that of the recorded order alone, 0 or 1; it needs independent tasks with equal weights.
    Elsewhere it is the mean over all orders, which varies less.
    """
    match promises.kind:
        case "harm":
            is_single = bet == EXACT and is_plain(evaluated, tasks)
            values = (evaluated.first_harm if is_single else evaluated.harm)[setting]
            return losses_on(evaluated, values, tasks, most, is_single=is_single, bet=bet)
        case "net":
            return losses_on(evaluated, (1 + evaluated.harm[setting] - evaluated.gain[setting]) / 2, tasks, most)
        case "selective":
            kept, wrong = evaluated.kept[setting], evaluated.kept_wrong[setting]
            values = np.divide(wrong, kept, out=np.zeros_like(wrong), where=kept > _LEAST_KEPT)
            most = most or most_weight(evaluated, tasks)  # a task that is always kept has its whole weight
            return losses_on(evaluated, values, tasks, most, share=kept)


def risks(evaluated: Evaluated, tuning: Sequence[int] | Numbers, promises: Promises) -> Floats:
    """The risk of every setting on some tasks: harm, net loss or selective errors."""
    harm = evaluated.mean(evaluated.harm, tuning)
    match promises.kind:
        case "harm":
            return harm
        case "net":
            return harm - evaluated.mean(evaluated.gain, tuning)
        case "selective":
            kept = evaluated.mean(evaluated.kept, tuning)
            wrong = evaluated.mean(evaluated.kept_wrong, tuning)
            return np.divide(wrong, kept, out=np.zeros_like(wrong), where=kept > _LEAST_KEPT)


def _others(
    evaluated: Evaluated, setting: int, tasks: Sequence[int] | Numbers, promises: Promises, most: float
) -> list[tuple[str, Losses, float]]:
    """Of every further promise: its name, its losses on some tasks, and their limit. As with harm, the recorded order
    alone says whether an independent task is slow.
    """
    first = is_plain(evaluated, tasks)
    found = [
        (name, losses_on(evaluated, values, tasks, most, is_single=first and name == "p95"), bound)
        for name, values, bound in _further(evaluated, setting, promises, first=first)
    ]
    if promises.missed:
        found.append(("missed", missed_losses(evaluated, setting, tasks, most=most), promises.missed))
    return found


def _further(
    evaluated: Evaluated, setting: int | Numbers, promises: Promises, *, first: bool = False
) -> list[tuple[str, Floats, float]]:
    """Of every further promise: its name, the losses of all tasks for one setting or several, and their limit."""
    found: list[tuple[str, Floats, float]] = []
    if promises.p95 is not None:
        slow = (evaluated.seconds[setting] > promises.p95).astype(np.float64)
        found.append(("p95", slow[..., 0] if first else slow.mean(axis=-1), MOST_SLOW))
    if promises.dollars is not None and promises.budget is not None:
        share = np.minimum(1.0, evaluated.dollars[setting] / promises.budget)
        found.append(("dollars", share, promises.dollars / promises.budget))
    return found
