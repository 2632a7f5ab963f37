"""The keys by which totals are grouped, in a module that the command line can import cheaply."""

from __future__ import annotations

from enum import StrEnum


class By(StrEnum):
    """The keys by which totals are grouped."""

    TIER = "tier"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    ROLE = "role"
    OUTCOME = "outcome"
    DAY = "day"
    REASON = "reason"
    KEY = "key"
    TEAM = "team"
    TAG = "tag"
    SESSION = "session"
