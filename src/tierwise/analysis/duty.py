"""Dollars per solved action where a machine is paid by the hour, also while nothing runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.design import Sample
    from tierwise.stats.estimates import Estimate

DUTIES = (0.05, 0.5, 1.0)
"""Shares of a deployment's hours in which anything runs on it."""


def per_solved(
    sample: Sample, dollars: Sequence[float], timed: Sequence[float], solved: Sequence[float]
) -> tuple[Estimate | None, ...]:
    """Dollars per solved action at each of `DUTIES`: at a duty of 5 %, a busy second is paid 20 times.

    Args:
        sample: of the actions.
        dollars: of each action, with its share of busy time alone.
        timed: the part of them that is by the hour.
        solved: 1 or 0, or a share.

    Returns:
        None where nothing is solved.
    """
    if not any(solved):
        return (None,) * len(DUTIES)
    pairs = list(zip(dollars, timed, strict=True))
    return tuple(sample.ratio([all_ - part + part / duty for all_, part in pairs], solved) for duty in DUTIES)
