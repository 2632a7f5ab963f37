"""What sequences begin with alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def common_length(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Length of the common prefix of two texts, or of two tuples of tokens.

    By bisection: comparing slices is much faster than a loop over the elements, such as `os.path.commonprefix`.
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
