"""What totals can be grouped by, apart from the rows: the command line shows it before it needs anything else."""

from __future__ import annotations

from enum import StrEnum


class By(StrEnum):
    """What totals can be grouped by."""

    TIER = "tier"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    ROLE = "role"
    OUTCOME = "outcome"
    DAY = "day"
