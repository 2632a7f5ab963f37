"""Rules that end a vote early: pure functions over counts and confidences. These are their tables: a file per family.

Candidates with scores are not votes, and have a rule of their own.
"""

from __future__ import annotations

from tierwise.spec.choice import OneOf
from tierwise.stopping.beta import Beta
from tierwise.stopping.confidence import Calibration, Cges
from tierwise.stopping.curtailment import Curtailment
from tierwise.stopping.e_value import EValue
from tierwise.stopping.esc import Esc
from tierwise.stopping.predictive import Predictive
from tierwise.stopping.reservation import Reservation
from tierwise.stopping.votes import StoppingRule, VotesSoFar, fewest_more

__all__ = [
    "Beta",
    "Calibration",
    "Cges",
    "Curtailment",
    "EValue",
    "Esc",
    "Predictive",
    "Reservation",
    "ScoreStopChoice",
    "StopChoice",
    "StoppingRule",
    "VotesSoFar",
    "fewest_more",
]


class StopChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One stopping rule, as a policy names it: `{predictive: {probability: 0.97}}`, or just `predictive`."""

    curtailment: Curtailment | None = None
    predictive: Predictive | None = None
    beta: Beta | None = None
    esc: Esc | None = None
    e_value: EValue | None = None
    cges: Cges | None = None

    @property
    def member(self) -> StoppingRule:
        chosen: StoppingRule = getattr(self, self.kind)
        return chosen


class ScoreStopChoice(OneOf, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One stopping rule for candidates with scores, as a policy names it: `{reservation: {cost: 0.02}}`."""

    reservation: Reservation | None = None

    @property
    def member(self) -> Reservation:
        chosen: Reservation = getattr(self, self.kind)
        return chosen
