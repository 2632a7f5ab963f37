"""What the k-th pass is worth: how much of the workload it solves that k - 1 passes did not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tierwise.spec.errors import SpecError
from tierwise.stats import repeats
from tierwise.stats.design import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.stats.estimates import Estimate


def of_candidates(
    solved: Sequence[int], candidates: Sequence[int], k: int, sample: Sample | None = None
) -> Estimate | None:
    """What the k-th of exchangeable candidates adds where the choice among them is perfect: pass@k - pass@(k-1).

    The upper bound for any way to choose. It is a mean of values between 0 and 1, one for each task, so that its
    interval is that of a share and not of a difference.

    Args:
        solved: correct candidates of each task.
        candidates: recorded of each task.
        k: which pass, from 1.
        sample: the tasks' clusters and weights; each stands alone and counts the same when not given.

    Raises:
        SpecError: `k` is less than 1, or some task has fewer than `k` candidates.
    """
    if k < 1 or (candidates and k > min(candidates)):
        raise SpecError(f"k is {k}; it lies between 1 and the {min(candidates, default=0)} candidates", field="k")
    if not candidates:
        return None
    gains = [
        repeats.at_least_one(c, n, k) - repeats.at_least_one(c, n, k - 1)
        for c, n in zip(solved, candidates, strict=True)
    ]
    each = sum(candidates) / len(candidates)
    return (sample or Sample.alone(len(gains))).share([max(0.0, gain) for gain in gains], each=each, is_graded=True)


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
