"""What the k-th pass is worth: the share of the workload that it solves and k - 1 passes did not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tierwise.stats.design import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.estimates import Estimate


def as_they_came(solved: Sequence[Sequence[bool]], sample: Sample | None = None) -> list[Estimate]:
    """What each pass added under perfect selection, for each k that was reached.

    The share of actions whose k-th pass was the first correct one. Where a policy stops early, this is all that is
    known about later passes: whether they were drawn depends on the earlier ones, so passes are not exchangeable. An
    action with fewer passes gained nothing from the k-th.

    Args:
        solved: for each action, whether each of its candidates was correct, in order of arrival.
        sample: the actions' tasks, clusters and weights.
    """
    most = max(map(len, solved), default=0)
    firsts = [won.index(True) if True in won else most for won in map(list, solved)]
    whole = sample or Sample.alone(len(solved))
    shares = [whole.share([float(first == k) for first in firsts]) for k in range(most)]
    return [share for share in shares if share is not None]


def of_policy(solved: Sequence[Sequence[bool]], sample: Sample | None = None) -> list[Estimate | None]:
    """What each pass after the first adds under a real policy; it may be negative.

    Args:
        solved: for each task, whether the policy solved it with 1 pass, with 2, and so on; equally many for all.
        sample: the tasks' clusters and weights; independent with equal weights if not given.
    """
    if not solved:
        return []
    columns = [[float(won) for won in column] for column in zip(*solved, strict=True)]
    whole = sample or Sample.alone(len(solved))
    return [whole.difference(after, before) for before, after in pairwise(columns)]
