"""When a test may be looked at before its end, and what a look costs: alpha spending (Lan & DeMets 1983).

A test that ends at a planned number of tasks may be looked at forty times on the way, and is still wrong in at most
2.5 % of runs in each direction: of that error, `TAIL` · t^1.5 is spent once a share t of the tasks is in (the power
family of Kim & DeMets 1987, Biometrika 74:149). Bets, which hold for ever and after every task (Waudby-Smith & Ramdas
2023), left up to 4.4 % of simulated A/A gates open that all tasks would have settled; this leaves 0.9 %, and stops
earlier where the answer is hard.

The looks are set by the number of planned tasks alone, never by who asks, or when. So one may ask at any moment and as
often as one likes: between two looks, the answer is that of the last one.
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
"""At equal steps; with 20, a percent more of the tasks is needed."""

_POWER = 1.5
"""Of the share of tasks: with 1 it stops a percent of the tasks earlier and leaves twice as much open; with 2, which
leaves hardly less open, two percent later."""

_NODES = 128
_FARTHEST = 6.0
"""Standard errors on the wrong side, from where no run returns."""


def looks(seen: int, planned: int, *, is_last: bool, least: int = 1) -> list[int]:
    """After how many tasks one looks, of those that were seen.

    Args:
        seen: tasks that are in.
        planned: tasks of the whole test.
        is_last: whether no more will come; the last look is then at all of them.
        least: tasks before which nothing is to be seen.
    """
    steps = sorted({math.ceil(planned * look / LOOKS) for look in range(1, LOOKS + 1)})
    found = [step for step in steps if least <= step <= seen]
    if is_last and seen >= max(1, least) and seen not in found:
        found.append(seen)
    return found


def spent(at: Sequence[int], planned: int, *, is_last: bool) -> list[float]:
    """The error that may have been made by each look; at the end, all of it."""
    found = [TAIL * min(1.0, look / planned) ** _POWER for look in at]
    if is_last and found:
        found[-1] = TAIL
    return found


@lru_cache(maxsize=256)
def widths(at: tuple[int, ...], spent: tuple[float, ...]) -> tuple[float, ...]:
    """How many standard errors a mean must be away at each look, to spend just that much.

    By integrating over all that was not rejected so far (Armitage, McPherson & Rowe 1969, JRSS A 132:235).

    Args:
        at: tasks at each look, growing.
        spent: the error that may have been made by each look, growing.
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
    """Beyond which just this share arrives with the next step."""
    low, high = float(nodes[0]), float(nodes[-1]) + 40 * step
    for _ in range(60):
        middle = (low + high) / 2
        beyond = float(mass @ special.ndtr((nodes - middle) / step))
        low, high = (middle, high) if beyond > share else (low, middle)
    return high


def counts(trials: Sequence[int], chance: float, spent: Sequence[float]) -> list[int]:
    """How many successes reject `chance` at each look, exactly; one more than the trials where none do.

    What was not spent, since counts are whole numbers, is left to later looks.

    Args:
        trials: so far, at each look, not shrinking; what decides them says nothing about the successes.
        chance: of a success under the null hypothesis, or more than under it.
        spent: the error that may have been made by each look, growing.
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
        beyond = np.cumsum(alive[::-1])[::-1]  # of as many successes or more
        edge = int(np.count_nonzero(beyond > most - used))
        used += float(beyond[edge]) if edge < len(beyond) else 0.0
        found.append(edge)
        before, alive = now, np.where(np.arange(len(alive)) < edge, alive, 0.0)
    return found
