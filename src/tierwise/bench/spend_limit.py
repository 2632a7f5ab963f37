"""What a run may still spend: nothing is begun that would go beyond it, and what is under way comes to its end.

Cutting actions off would leave out the long ones, and so change what is measured.
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
    """Hands out trials for as long as there are dollars and minutes for them.

    Args:
        dollars: for the whole run, what earlier sessions paid included; None for any number.
        minutes: for this session, from the first trial on; None for any number.
        spent: dollars that are gone already.
    """

    def __init__(self, dollars: float | None = None, minutes: float | None = None, spent: float = 0.0) -> None:
        self.spent = spent
        self.stopped = ""
        """Why no more trials are handed out; empty while they are."""
        self._dollars = dollars
        self._minutes = minutes
        self._running: Counter[TierVariant] = Counter()
        self._ended: Counter[TierVariant] = Counter()
        self._paid: defaultdict[TierVariant, float] = defaultdict(float)

    def hand_out(self, trials: Iterable[Trial]) -> Iterator[Trial]:
        """The trials, one after the other, until they or the budget are at an end."""
        until = math.inf if self._minutes is None else now() + 60 * self._minutes
        for trial in trials:
            if now() >= until:
                self.stopped = f"{self._minutes:g} minutes are over"
            elif self._dollars is not None and self._expected(trial.variant) > self._dollars:
                self.stopped = f"the next action would spend more than ${self._dollars:g}; spent: ${self.spent:.4g}"
            if self.stopped:
                return
            self.begin(trial)
            yield trial

    def begin(self, trial: Trial) -> None:
        """Note that a trial is under way."""
        self._running[trial.variant] += 1

    def _expected(self, next_: TierVariant) -> float:
        """Dollars when all that runs, and another one, have ended at their mean cost."""
        running = self._running + Counter([next_])
        return self.spent + math.fsum(count * self._mean(variant) for variant, count in running.items())

    def _mean(self, variant: TierVariant) -> float:
        of = [variant] if self._ended[variant] else list(self._ended)
        ended = sum(self._ended[one] for one in of)
        return math.fsum(self._paid[one] for one in of) / ended if ended else 0.0

    def pay(self, trial: Trial, *records: TrialRecord) -> None:
        """A trial is over, and these came of it.

        Raises:
            TierwiseError: nobody tells what it cost, so that no budget can be kept.
        """
        self._running[trial.variant] -= 1
        self._ended[trial.variant] += 1
        paid = math.fsum(record.spent for record in records)
        self._paid[trial.variant] += paid
        self.spent += paid
        if self._dollars is not None and any(record.dollars is None and record.has_answer for record in records):
            raise TierwiseError(
                "the endpoint does not tell what an action costs, so that --budget-dollars cannot be kept"
            )
