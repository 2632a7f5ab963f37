"""What the k-th pass is worth: how much of the workload it solves that k - 1 passes did not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tierwise.stats.design import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.estimates import Estimate


def as_they_came(solved: Sequence[Sequence[bool]], sample: Sample | None = None) -> list[Estimate]:
    """What the k-th pass added where the choice among all that came is perfect, for each k that there was.

    The share of actions whose k-th pass was the first to be right. Where a policy stops early nothing else is known of
    its later passes: they were not drawn because of what came before, so that nobody may treat them as exchangeable. An
    action that had fewer passes gained nothing by the k-th.

    Args:
        solved: of each action, whether each of its candidates was right, in the order in which they came.
        sample: the actions' tasks, clusters and weights.
    """
    most = max(map(len, solved), default=0)
    firsts = [won.index(True) if True in won else most for won in map(list, solved)]
    whole = sample or Sample.alone(len(solved))
    shares = [whole.share([float(first == k) for first in firsts]) for k in range(most)]
    return [share for share in shares if share is not None]


def of_policy(solved: Sequence[Sequence[bool]], sample: Sample | None = None) -> list[Estimate | None]:
    """What each pass after the first adds under a real policy, which may also lose by it.

    Args:
        solved: of each task, whether the policy solved it with 1 pass, with 2, and so on; equally many for all.
        sample: the tasks' clusters and weights; each stands alone and counts the same when not given.
    """
    if not solved:
        return []
    columns = [[float(won) for won in column] for column in zip(*solved, strict=True)]
    whole = sample or Sample.alone(len(solved))
    return [whole.difference(after, before) for before, after in pairwise(columns)]
