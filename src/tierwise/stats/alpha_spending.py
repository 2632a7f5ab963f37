"""When a sequential test is evaluated, and the error that each look spends: alpha spending (Lan & DeMets 1983).

A test that ends at a planned number of tasks may be evaluated at forty looks on the way, and its verdict is still wrong
in at most 2.5 % of runs in each direction. `TAIL` · t^1.5 of that error is spent once a share t of the tasks is in (the
power family of Kim & DeMets 1987, Biometrika 74:149). Betting tests are valid after every task and without a planned
end (Waudby-Smith & Ramdas 2023), but left up to 4.4 % of simulated A/A gates undecided that all tasks would have
decided. Alpha spending leaves 0.9 %, and stops earlier where the decision is hard.

The looks depend only on the number of planned tasks, not on who evaluates the test or when. So a test may be evaluated
at any time and as often as needed: between two looks, the result is that of the last look.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TAIL = 0.025
"""How often a verdict may be wrong, in each direction."""

LOOKS = 40
"""At equal steps. With 20, a test needs 1 % more of the tasks."""

_POWER = 1.5
"""Exponent of the share of tasks. With 1, tests stop 1 % of the tasks earlier and leave twice as many undecided. With
2, they leave hardly fewer undecided and stop 2 % later."""

_NODES = 128
_FARTHEST = 6.0
"""In standard errors. A run that is this far on the wrong side does not come back."""


def looks(seen: int, planned: int, *, is_last: bool, least: int = 1) -> list[int]:
    """The looks so far: after how many tasks the test is evaluated.

    Args:
        seen: tasks that are in.
        planned: tasks of the whole test.
        is_last: whether no more tasks will come; the last look is then at all of them.
        least: the smallest number of tasks that can be evaluated.
    """
    steps = sorted({math.ceil(planned * look / LOOKS) for look in range(1, LOOKS + 1)})
    found = [step for step in steps if least <= step <= seen]
    if is_last and seen >= max(1, least) and seen not in found:
        found.append(seen)
    return found


def spent(at: Sequence[int], planned: int, *, is_last: bool) -> list[float]:
    """The cumulative error at each look; at the end, all of it."""
    found = [TAIL * min(1.0, look / planned) ** _POWER for look in at]
    if is_last and found:
        found[-1] = TAIL
    return found


@lru_cache(maxsize=256)
def widths(at: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """How many standard errors a mean must be away at each look, to spend exactly the given error.

    Computed by integrating over the region that was not rejected so far (Armitage, McPherson & Rowe 1969, JRSS A
    132:235).

    Args:
        at: tasks at each look, increasing.
        spent: cumulative error at each look, increasing.
    """
    found: list[float] = []
    places, weights = np.polynomial.legendre.leggauss(_NODES)
    before, nodes, mass = 0, np.zeros(1), np.ones(1)
    used = 0.0
    for tasks, most in zip(at, spent, strict=True):
        step = math.sqrt(tasks - before)
        edge = _edge(nodes, mass, step, most - used)
        found.append(edge / math.sqrt(tasks))
        low = -_FARTHEST * math.sqrt(tasks)
        reached = low + (edge - low) * (places + 1) / 2
        density = np.exp(-(((reached[:, None] - nodes) / step) ** 2) / 2) @ mass / step / math.sqrt(2 * math.pi)
        nodes, mass = reached, density * weights * (edge - low) / 2
        before, used = tasks, most
    return tuple(found)


def _edge(nodes: Floats, mass: Floats, step: float, share: float) -> float:
    """The boundary beyond which exactly this probability falls at the next step."""
    low, high = float(nodes[0]), float(nodes[-1]) + 40 * step
    for _ in range(60):
        middle = (low + high) / 2
        beyond = float(mass @ special.ndtr((nodes - middle) / step))
        low, high = (middle, high) if beyond > share else (low, middle)
    return high


def counts(trials: Sequence[int], chance: float, spent: Sequence[float]) -> list[int]:
    """How many successes reject `chance` at each look, exactly; one more than the trials where no count does.

    Counts are whole numbers, so some of the error cannot be spent at a look. It is left to later looks.

    Args:
        trials: so far, at each look, not decreasing; their number must be independent of the successes.
        chance: of a success under the null hypothesis, or an upper bound of it.
        spent: cumulative error at each look, increasing.
    """
    found: list[int] = []
    before, alive, used = 0, np.ones(1), 0.0
    for now, most in zip(trials, spent, strict=True):
        more = now - before
        k = np.arange(more + 1)
        chances = np.exp(
            special.gammaln(more + 1)
            - special.gammaln(k + 1)
            - special.gammaln(more - k + 1)
            + special.xlogy(k, chance)
            + special.xlog1py(more - k, -chance)
        )
        alive = np.convolve(alive, chances)
        beyond = np.cumsum(alive[::-1])[::-1]  # of this many successes or more
        edge = int(np.count_nonzero(beyond > most - used))
        used += float(beyond[edge]) if edge < len(beyond) else 0.0
        found.append(edge)
        before, alive = now, np.where(np.arange(len(alive)) < edge, alive, 0.0)
    return found
