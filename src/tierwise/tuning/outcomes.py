"""What one policy does to every task, and the signals of its answers, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from tierwise.certificate import by_agreement
from tierwise.policies import Single
from tierwise.policies.acceptance import reading
from tierwise.pools.choice import TooFewDraws
from tierwise.tuning.space import DIGITS, FALLING, QUANTILES, SignalKind, signal_of
from tierwise.verifiers import pooled
from tierwise.verifiers.votes import are_different, key_of_answer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tierwise.certificate import Labels
    from tierwise.plan import Plan
    from tierwise.pools.grid import Setting
    from tierwise.pools.reading import Pool
    from tierwise.pools.replaying import Replayed, Replayer
    from tierwise.spec.call import Completion
    from tierwise.tuning.evaluated import Floats, Numbers
    from tierwise.workloads.checks import CheckChoice

K = TypeVar("K")

Mask = NDArray[np.bool_]
"""Tasks × orders."""
ANY = {"span_probability": 0.0, "margin": 0.0, "tail_confidence": 0.0, "entropy": 1e9, "length": 1e9}
"""Thresholds that accept every answer that has the signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What one policy does: tasks × orders."""

    correct: Floats
    """1 or 0; not a number where the answer could not be graded. By agreement: 1 where it is the reference's."""
    dollars: Floats
    seconds: Floats
    kept: Floats
    """1 where its last tier was not asked."""
    differs: Floats
    """1 where the answer is another than the reference's."""
    truth: Floats
    """With a judge: whether the task's own check accepts the answer; not a number for tasks without one, and
    otherwise."""

    def where(self, accepted: Mask, refused: Outcomes) -> Outcomes:
        """These outcomes where an answer is accepted, and others where it is not."""
        return Outcomes(
            **{
                one.name: np.where(accepted, getattr(self, one.name), getattr(refused, one.name))
                for one in fields(Outcomes)
            }
        )


class Runner:
    """Runs settings in all orders, and turns their actions into arrays.

    Args:
        replayer: of the pool.
        orders: of each task's draws.
        seed: of the orders.
        labels: what tells a loss. By `agreement`, an answer is right if it is the reference's.
        checks: with a judge, the tasks' own checks, by task id.

    Attributes:
        baseline: the actions of the reference.
        offers_tools: of each task, whether its request does.
        dearest: completion tokens of an action of the setting that takes the most, of those that were run.
    """

    def __init__(
        self,
        replayer: Replayer,
        orders: int,
        seed: int,
        labels: Labels = "check",
        checks: Mapping[str, CheckChoice] | None = None,
    ) -> None:
        self._replayer, self.orders, self._seed, self.labels = replayer, orders, seed, labels
        self.baseline: Sequence[Replayed] = ()
        self.dearest = 0.0
        self.offers_tools = np.array([bool(task.task.tools) for task in replayer.pool.tasks])
        self._checks = checks or {}
        self._right: dict[tuple[int, int], tuple[Completion, bool]] = {}
        self._keys: dict[tuple[int, int], tuple[Completion, str | None]] = {}

    @property
    def pool(self) -> Pool:
        return self._replayer.pool

    @property
    def plan(self) -> Plan:
        return self.pool.plan

    def all(self, settings: Sequence[Setting]) -> list[list[Replayed]]:
        found = self._replayer.run(settings, orders=self.orders, seed=self._seed) if settings else []
        means = [sum(one.completion for one in actions) / len(actions) for actions in found if actions]
        self.dearest = max([self.dearest, *means])
        return found

    def possible(
        self, settings: Mapping[K, Setting], others: Mapping[K, Setting] | None = None
    ) -> tuple[dict[K, list[Replayed]], dict[K, str]]:
        """The actions of the settings that the pool has enough draws for.

        How many a setting takes depends on the draws: one that cannot be used, such as a truncated one, is drawn again
        by the next tier of its deployment, and agreement asks for more of a tier that votes.

        Args:
            settings: by any key.
            others: settings that these ask; some of them may be among these.

        Returns:
            The actions, and why the pool has too few draws for the other settings.
        """
        asked = [one for key, one in (others or {}).items() if key not in settings]
        try:
            done = self.all([*settings.values(), *asked])
        except TooFewDraws as error:
            if len(settings) == 1:
                return {}, dict.fromkeys(settings, str(error))
        else:
            return dict(zip(settings, done, strict=False)), {}
        several = list(settings.items())
        middle = len(several) // 2
        parts = [self.possible(dict(part), others) for part in (several[:middle], several[middle:])]
        return {**parts[0][0], **parts[1][0]}, {**parts[0][1], **parts[1][1]}

    def array(self, values: Iterator[float]) -> Floats:
        """Values of actions, in the order of a replay, as tasks × orders."""
        return np.fromiter(values, dtype=np.float64).reshape(self.orders, -1).T

    def outcomes(self, actions: Sequence[Replayed], last: str) -> Outcomes:
        """The outcomes of a policy.

        Args:
            actions: of the policy.
            last: the policy's last tier; empty if it is served alone.
        """
        differs = self.array(
            float(self.differ(one.task, one.answer, other.answer))
            for one, other in zip(actions, self.baseline, strict=True)
        )
        graded = self.array(np.nan if one.correct is None else float(one.correct) for one in actions)
        return Outcomes(
            correct=1 - differs if by_agreement(self.labels) else graded,
            dollars=self.array(one.dollars for one in actions),
            seconds=self.array(one.seconds for one in actions),
            kept=self.array(float(bool(last) and one.asked != last) for one in actions),
            differs=differs,
            truth=self.array(self._truth(one) for one in actions),
        )

    def _truth(self, action: Replayed) -> float:
        right = self.is_right(action.task, action.answer)
        return np.nan if right is None else float(right)

    def is_right(self, task: int, answer: Completion | None) -> bool | None:
        """Whether a task's own check accepts an answer; None for a task that has none beside the judge."""
        check = self._checks.get(self.pool.tasks[task].task.id)
        if check is None or answer is None:
            return None if check is None else False
        known = self._right.get((task, id(answer)))
        if known is None:
            verdict = self._replayer.memo.run(lambda: pooled.judge(check.member, answer))
            known = self._right[task, id(answer)] = answer, verdict.ok
        return known[1]

    def differ(self, task: int, one: Completion | None, other: Completion | None) -> bool:
        """Whether two answers to a task differ, compared as shadowed ones are (`shadowing.comparing`).

        Args:
            task: its index in the pool.
            one: an answer; None where there is none. The same holds for the next.
            other: of the same task.
        """
        if one is None or other is None:
            return one is not other
        return one is not other and are_different(
            (self._key(task, one), one.text), (self._key(task, other), other.text)
        )

    def _key(self, task: int, completion: Completion) -> str | None:
        known = self._keys.get((task, id(completion)))
        if known is None:
            asked = self.pool.tasks[task]
            verifier = None if asked.task.verifier is None else asked.task.verifier.member
            key = self._replayer.memo.run(lambda: key_of_answer(completion, asked.prompt, "auto", verifier))
            known = self._keys[task, id(completion)] = completion, key
        return known[1]


def levels_of(run: Runner, cheap: str, kind: SignalKind, actions: Sequence[Replayed]) -> Floats:
    """The signal of each answer of a cheap tier, tasks × orders; not a number where there is none.

    Args:
        run: with the plan.
        cheap: the tier.
        kind: the signal.
        actions: of the route that accepts every answer. Where it passed on, both outcomes are alike.
    """
    if kind == "length" and not isinstance(run.plan.tiers[cheap].policy.member, Single):
        return np.full((len(run.offers_tools), run.orders), np.nan)
    anything = signal_of(kind, ANY[kind])

    def level(one: Replayed) -> float:
        if one.answer is None or one.asked != cheap:
            return np.nan
        found = reading(anything, one.answer, one.completion)
        return np.nan if found is None else float(found.level)

    return run.array(level(one) for one in actions)


def thresholds_of(
    kind: SignalKind, level: Floats, kept: Mask, tuning: Numbers, count: int = QUANTILES
) -> tuple[float, ...]:
    """Quantiles of a signal on the tuning tasks, as they are written into a config file; the strictest first.

    Args:
        kind: the signal.
        level: of each answer, tasks × orders.
        kept: whether an answer counts.
        tuning: the tuning tasks.
        count: of thresholds, at most.
    """
    return quantiles(level[tuning][kept[tuning]], falls=kind in FALLING, count=count)


def quantiles(seen: Floats, *, falls: bool, count: int = QUANTILES) -> tuple[float, ...]:
    """Quantiles of values, as they are written into a config file; the strictest first."""
    seen = seen[~np.isnan(seen)]
    if not len(seen):
        return ()
    cuts = np.quantile(seen, np.linspace(0, 1, count), method="higher")
    rounded = {float(f"{max(0.0, cut):.{DIGITS}g}") for cut in cuts.tolist()}
    return tuple(sorted(rounded, reverse=not falls))
