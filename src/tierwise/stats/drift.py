"""Whether a share that was certified still holds: two tests that may be looked at after every observation.

An observation is a loss from 0 to 1, such as whether an action was harmed or whether two tiers disagreed. The null
hypothesis is that its expected value is at most a limit, given all earlier ones. Both tests keep a few plain numbers,
take one observation at a time, and never forget that they raised an alarm.

- `BrokenPromise` asks whether the limit is exceeded. Its wealth is an e-process: a gambler bets on losses above the
  limit, and sizes the bets by online Newton steps (Waudby-Smith and Ramdas 2024, JRSS B 86:1, appendix B). If the limit
  holds, the probability that an alarm is *ever* raised is at most `delta` (Ville's inequality).
- `Change` asks whether something changed. It sums the wealth of gamblers of whom one begins at every observation: the
  e-detector of Shiryaev and Roberts (Shin, Ramdas and Rinaldo 2024, NEJSDS 2:229). Its alarm comes sooner after a late
  change. If the limit holds, an alarm is raised within `horizon` observations with probability at most `delta`, because
  its sum minus the number of observations is a supermartingale, and the threshold is horizon / delta.

Pure functions without numpy, because serving uses them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

HORIZON = 10_000
"""Observations within which a false alarm of `Change` is bounded."""

_NEWTON_STEP = 2 / (2 - math.log(3))
_LARGEST_BET = 0.5
"""Part of the bet at which an observation without any loss would end the wealth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPromise:
    """An e-process against "the expected loss is at most the limit".

    Raises:
        ValueError: limit or delta is not between 0 and 1.
    """

    limit: float
    delta: float = 0.05
    seen: int = 0
    losses: float = 0.0
    """The sum of the observations."""
    log_wealth: float = 0.0
    """Natural logarithm."""
    bet: float = 0.0
    """On the next observation."""
    curvature: float = 1.0
    """Of the log wealth: 1 + the sum of its squared slopes."""
    alarm_at: int | None = None
    """The number of the observation that raised the alarm, from 1."""

    def __post_init__(self) -> None:
        _check(self.limit, self.delta)

    @property
    def is_alarm(self) -> bool:
        return self.alarm_at is not None

    @property
    def evidence(self) -> float:
        """The wealth as a share of what raises an alarm, in logarithms: 1 at the alarm, 0 or less without evidence."""
        return self.log_wealth / -math.log(self.delta)

    def after(self, loss: float) -> Self:
        """The state after one more observation.

        Raises:
            ValueError: the loss is outside 0 to 1.
        """
        excess = _excess(loss, self.limit)
        grown = 1 + self.bet * excess
        slope = -excess / grown
        curvature = self.curvature + slope * slope
        bet = min(max(self.bet - _NEWTON_STEP * slope / curvature, 0.0), _LARGEST_BET / self.limit)
        log_wealth = self.log_wealth + math.log(grown)
        alarmed = log_wealth >= -math.log(self.delta)
        return replace(
            self,
            seen=self.seen + 1,
            losses=self.losses + loss,
            log_wealth=log_wealth,
            bet=bet,
            curvature=curvature,
            alarm_at=self.alarm_at or (self.seen + 1 if alarmed else None),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A Shiryaev-Roberts e-detector of an expected loss that rose above the limit.

    Its bet is fixed: the best one if the rate doubles. Above a limit of a third, it is the best one for a rate half way
    to 1.

    Raises:
        ValueError: limit or delta is not between 0 and 1, or the horizon is not positive.
    """

    limit: float
    delta: float = 0.05
    horizon: int = HORIZON
    seen: int = 0
    losses: float = 0.0
    """The sum of the observations."""
    total: float = 0.0
    """The wealth of all gamblers."""
    alarm_at: int | None = None
    """The number of the observation that raised the alarm, from 1."""

    def __post_init__(self) -> None:
        _check(self.limit, self.delta)
        if self.horizon < 1:
            raise ValueError(f"a horizon is at least one observation, not {self.horizon}")

    @property
    def is_alarm(self) -> bool:
        return self.alarm_at is not None

    @property
    def threshold(self) -> float:
        """The total at which an alarm is raised."""
        return self.horizon / self.delta

    @property
    def evidence(self) -> float:
        """The total as a share of what raises an alarm, in logarithms: 1 at the alarm, 0 or less without evidence."""
        return math.log(max(self.total, 1.0)) / math.log(self.threshold)

    def after(self, loss: float) -> Self:
        """The state after one more observation.

        Raises:
            ValueError: the loss is outside 0 to 1.
        """
        excess = _excess(loss, self.limit)
        total = self.total
        if self.alarm_at is None:  # beyond an alarm the sum could grow without bound
            total = (total + 1) * (1 + fixed_bet(self.limit) * excess)
        return replace(
            self,
            seen=self.seen + 1,
            losses=self.losses + loss,
            total=total,
            alarm_at=self.alarm_at or (self.seen + 1 if total >= self.threshold else None),
        )


def fixed_bet(limit: float) -> float:
    """The bet that grows fastest where the rate is twice the limit, or half way to 1 if that is less."""
    raised = min(2 * limit, (1 + limit) / 2)
    return (raised - limit) / (limit * (1 - limit))


def _check(limit: float, delta: float) -> None:
    if not (0 < limit < 1 and 0 < delta < 1):
        raise ValueError(f"limit and delta are between 0 and 1, not {limit:g} and {delta:g}")


def _excess(loss: float, limit: float) -> float:
    if not 0 <= loss <= 1:
        raise ValueError(f"a loss is a number from 0 to 1, not {loss:g}")
    return loss - limit
