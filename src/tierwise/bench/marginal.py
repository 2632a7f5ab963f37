"""What the k-th pass is worth: how much of the workload it solves that k - 1 passes did not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tierwise.bench import clusters, repeats
from tierwise.bench.populations import Stated
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Sequence


def of_candidates(solved: Sequence[int], candidates: Sequence[int], k: int) -> Stated | None:
    """What the k-th of exchangeable candidates adds where the choice among them is perfect: pass@k - pass@(k-1).

    The upper bound for any way to choose. It is a mean of values between 0 and 1, one for each task, so that its
    interval is that of a share and not of a difference.

    Args:
        solved: correct candidates of each task.
        candidates: recorded of each task.
        k: which pass, from 1.

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
    sums = [max(0.0, gain) * each for gain in gains]
    return clusters.rate(sums, [each] * len(gains), population="tasks", is_graded=True)


def of_policy(solved: Sequence[Sequence[bool]]) -> list[Stated | None]:
    """What each pass after the first adds under a real policy, which may also lose by it.

    Args:
        solved: of each task, whether the policy solved it with 1 pass, with 2, and so on; equally many for all.
    """
    if not solved:
        return []
    ones = [1.0] * len(solved)
    columns = [[float(won) for won in column] for column in zip(*solved, strict=True)]
    return [clusters.difference(after, before, ones, population="tasks") for before, after in pairwise(columns)]
