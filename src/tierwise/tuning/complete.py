"""The tasks of a pool that have all their draws: only these are comparable between tiers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.pools.reading import Pool

MOST_MISSING = 0.02
"""Share of tasks that may be left out. As for a run, more infrastructure errors make a result doubtful."""


def with_all_draws(pool: Pool) -> Pool:
    """The pool without the tasks that lack draws, with a note that counts them.

    A draw that ended in an infrastructure error is no answer, right or wrong. Whether it failed may depend on the task,
    so a promise is about tasks whose draws do not fail, and only few may be left out.

    Raises:
        SpecError: more than 2 % of the tasks lack draws.
    """
    planned = pool.manifest.settings.repeats
    whole = tuple(task for task in pool.tasks if all(len(task.draws[source.key]) >= planned for source in pool.sources))
    missing = len(pool.tasks) - len(whole)
    if not missing:
        return pool
    if missing > MOST_MISSING * len(pool.tasks):
        raise SpecError(
            f"{missing} of {len(pool.tasks)} tasks lack draws, and at most {MOST_MISSING:.0%} may: their recording "
            f"ended early or in infrastructure errors. Continue it: `tierwise pool record --resume {pool.path}`",
            field="--pool",
        )
    note = f"{missing} of {len(pool.tasks)} tasks lack draws that ended in infrastructure errors, and are left out"
    return replace(pool, tasks=whole, notes=(*pool.notes, note))
