"""Limits what a run may spend: no trial starts that would exceed the limit, and running trials finish.

Cancelling running actions would drop the long ones and bias the results.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from tierwise.spec.clock import now
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tierwise.bench.schedule import Trial
    from tierwise.runs.records import TierVariant, TrialRecord


class SpendLimit:
    """Hands out trials while dollars and minutes remain.

    Args:
        dollars: limit of the whole run, earlier sessions included; None for no limit.
        minutes: limit of this session, from its first trial; None for no limit.
        spent: dollars that earlier sessions spent.
    """

    def __init__(self, dollars: float | None = None, minutes: float | None = None, spent: float = 0.0) -> None:
        self.spent = spent
        self.stopped = ""
        """Why no more trials are handed out; empty if there is no reason."""
        self.has_failed = False
        """Whether a fault is the reason."""
        self._dollars = dollars
        self._minutes = minutes
        self._running: Counter[TierVariant] = Counter()
        self._ended: Counter[TierVariant] = Counter()
        self._paid: defaultdict[TierVariant, float] = defaultdict(float)

    def hand_out(self, trials: Iterable[Trial]) -> Iterator[Trial]:
        """Yield trials until none are left or the limit is reached."""
        until = math.inf if self._minutes is None else now() + 60 * self._minutes
        for trial in trials:
            if self.stopped:
                return
            if now() >= until:
                self.stopped = f"the time limit of {self._minutes:g} minutes is reached"
            elif self._dollars is not None and self._expected(trial.variant) > self._dollars:
                self.stopped = f"the next action would exceed ${self._dollars:g}; spent so far: ${self.spent:.4g}"
            if self.stopped:
                return
            self.begin(trial)
            yield trial

    def stop(self, fault: str) -> None:
        """Hand out no more trials because of a fault. The first reason is kept."""
        if not self.stopped:
            self.stopped, self.has_failed = fault, True

    def begin(self, trial: Trial) -> None:
        """Count a trial as running."""
        self._running[trial.variant] += 1

    def _expected(self, next_: TierVariant) -> float:
        """Expected dollars spent once all running trials and one more have ended, each at its variant's mean cost."""
        running = self._running + Counter([next_])
        return self.spent + math.fsum(count * self._mean(variant) for variant, count in running.items())

    def _mean(self, variant: TierVariant) -> float:
        of = [variant] if self._ended[variant] else list(self._ended)
        ended = sum(self._ended[one] for one in of)
        return math.fsum(self._paid[one] for one in of) / ended if ended else 0.0

    def pay(self, trial: Trial, *records: TrialRecord) -> None:
        """Count a trial as ended, and add the cost of its records.

        Raises:
            TierwiseError: there is a dollar limit, and the endpoint does not report costs.
        """
        self._running[trial.variant] -= 1
        self._ended[trial.variant] += 1
        paid = math.fsum(record.spent for record in records)
        self._paid[trial.variant] += paid
        self.spent += paid
        if self._dollars is not None and any(record.dollars is None and record.has_answer for record in records):
            raise TierwiseError(
                "the endpoint does not report what an action costs, so --budget-dollars cannot be enforced"
            )
