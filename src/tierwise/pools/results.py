"""What each setting reaches on a pool: points, tokens, passes, seconds, dollars, with intervals, beside a baseline.

Tasks are the observations, or their clusters. With several orders, a task's value is its mean over them: the orders
remove the luck of one order, and leave that of the tasks.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from operator import attrgetter
from typing import TYPE_CHECKING

from tierwise.analysis.summary import design_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tierwise.pools.reading import Pool
    from tierwise.pools.replaying import Replayed
    from tierwise.stats.design import Sample
    from tierwise.stats.estimates import Estimate

_MEDIAN, _P95 = Fraction(1, 2), Fraction(95, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A setting minus the baseline, on the same tasks."""

    correct: Estimate | None
    tokens: Estimate | None
    passes: Estimate | None
    seconds: Estimate | None
    dollars: Estimate | None
    p_value: float | None
    """Of no difference in the share correct; None with several orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingResult:
    """What one setting reaches."""

    name: str
    tasks: int
    """Tasks with a grade."""
    correct: Estimate | None
    """The share of answers that the tasks' checks accept."""
    tokens: Estimate | None
    """Completion tokens of an action, all passes together."""
    prompt_tokens: float
    cached_tokens: float
    passes: Estimate | None
    seconds: Estimate | None
    p50: Estimate | None
    """Of the seconds, in the recorded order of the draws; like `p95`."""
    p95: Estimate | None
    dollars: Estimate | None
    no_answer: int
    """Actions without an answer: out of budget, or failed."""
    ungraded: int
    """Actions whose answer could not be graded here; they are left out."""
    why: dict[str, int]
    """The most frequent reasons for actions without an answer."""
    difference: Difference | None
    """None for the baseline."""


@dataclass(frozen=True, slots=True)
class _ByTask:
    """The means of each task over the orders."""

    names: tuple[str, ...]
    correct: tuple[float, ...]
    tokens: tuple[float, ...]
    passes: tuple[float, ...]
    seconds: tuple[float, ...]
    dollars: tuple[float, ...]

    def only(self, names: frozenset[str]) -> _ByTask:
        kept = [index for index, name in enumerate(self.names) if name in names]
        columns = (self.names, self.correct, self.tokens, self.passes, self.seconds, self.dollars)
        return _ByTask(*(tuple(column[index] for index in kept) for column in columns))  # type: ignore[arg-type]


def results(
    pool: Pool, names: Sequence[str], found: Sequence[Sequence[Replayed]], baseline: str
) -> list[SettingResult]:
    """The results of settings.

    Args:
        pool: on which they ran.
        names: of the settings.
        found: the actions of each.
        baseline: the setting that the others are compared with.
    """
    tasks = [task.task for task in pool.tasks]
    design = design_of([task.id for task in tasks], tasks, ())
    orders = max((one.order for actions in found for one in actions), default=0) + 1
    by_task = [_by_task(pool, actions) for actions in found]
    base = by_task[names.index(baseline)]
    samples: dict[tuple[str, ...], Sample] = {}

    def sample(names: tuple[str, ...]) -> Sample:
        if names not in samples:
            samples[names] = design.sample(names)
        return samples[names]

    return [
        _result(name, actions, one, None if name == baseline else base, sample, orders, pool)
        for name, actions, one in zip(names, found, by_task, strict=True)
    ]


def _by_task(pool: Pool, actions: Sequence[Replayed]) -> _ByTask:
    of: dict[int, list[Replayed]] = {}
    for one in actions:
        if one.correct is not None:
            of.setdefault(one.task, []).append(one)
    numbers = sorted(of)

    def mean(name: str) -> tuple[float, ...]:
        value = attrgetter(name)
        return tuple([math.fsum(map(value, of[task])) / len(of[task]) for task in numbers])

    return _ByTask(
        names=tuple([pool.tasks[task].task.id for task in numbers]),
        correct=mean("correct"),
        tokens=mean("completion"),
        passes=mean("passes"),
        seconds=mean("seconds"),
        dollars=mean("dollars"),
    )


def _result(
    name: str,
    actions: Sequence[Replayed],
    of: _ByTask,
    base: _ByTask | None,
    sample: Callable[[tuple[str, ...]], Sample],
    orders: int,
    pool: Pool,
) -> SettingResult:
    one = sample(of.names)
    first = [action for action in actions if action.order == 0]
    timed = sample(tuple([pool.tasks[action.task].task.id for action in first]))
    seconds = [action.seconds for action in first]
    without = Counter(action.why for action in actions if action.answer is None)
    return SettingResult(
        name=name,
        tasks=len(of.names),
        correct=one.share(of.correct, is_graded=orders > 1),
        tokens=one.mean(of.tokens, least=0.0),
        prompt_tokens=math.fsum(action.prompt for action in actions) / max(1, len(actions)),
        cached_tokens=math.fsum(action.cached for action in actions) / max(1, len(actions)),
        passes=one.mean(of.passes, least=0.0),
        seconds=one.mean(of.seconds, least=0.0),
        p50=timed.quantile(seconds, _MEDIAN),
        p95=timed.quantile(seconds, _P95),
        dollars=one.mean(of.dollars, least=0.0),
        no_answer=without.total(),
        ungraded=sum(action.correct is None for action in actions),
        why=dict(without.most_common(3)),
        difference=None if base is None else _difference(of, base, sample, orders),
    )


def _difference(of: _ByTask, base: _ByTask, sample: Callable[[tuple[str, ...]], Sample], orders: int) -> Difference:
    if of.names != base.names:
        both = frozenset(of.names) & frozenset(base.names)
        of, base = of.only(both), base.only(both)
    one = sample(of.names)

    def change(ours: Sequence[float], theirs: Sequence[float]) -> Estimate | None:
        return one.mean([mine - other for mine, other in zip(ours, theirs, strict=True)])

    is_plain = orders == 1
    return Difference(
        correct=one.difference(of.correct, base.correct),
        tokens=change(of.tokens, base.tokens),
        passes=change(of.passes, base.passes),
        seconds=change(of.seconds, base.seconds),
        dollars=change(of.dollars, base.dollars),
        p_value=one.p_value(of.correct, base.correct) if is_plain and of.names else None,
    )


def as_json(pool: Pool, found: Sequence[SettingResult], about: Mapping[str, object]) -> dict[str, object]:
    """The results for `--json`."""
    return {
        "pool": str(pool.path),
        "run": pool.manifest.run,
        "workload": pool.manifest.workload.sha256,
        "tasks": len(pool.tasks),
        "draws": pool.manifest.settings.repeats,
        "notes": list(pool.notes),
        **about,
        "settings": list(found),
    }
