"""What a worker needs to serve one version of the config file. The supervisor has read and checked it; no worker reads
the files again, so that all serve the same, also one that starts when they have changed.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tierwise.certificate import Certificate
    from tierwise.gateway.tls import Tls
    from tierwise.plan import Plan


@dataclass(frozen=True, slots=True)
class Run:
    """A process of a plan while it runs, also through several versions of the file."""

    number: int
    """Never used again."""
    place: int
    """Of its occupancy in the memory that all workers share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One version."""

    number: int
    """Counts up from 0."""
    plan: Plan
    certificates: Mapping[str, Certificate]
    """By route."""
    runs: Mapping[str, Run]
    """By the names of the plan's processes."""
    tls: Tls | None

    def packed(self) -> bytes:
        """For a worker: a process of this endpoint, forked from the one that packs."""
        return pickle.dumps(replace(self, plan=replace(self.plan, place=str)))


def unpacked(data: bytes) -> Snapshot:
    """What the supervisor packed."""
    found = pickle.loads(data)  # noqa: S301 - it comes from the supervisor, over a socket that nobody else has
    assert isinstance(found, Snapshot)  # noqa: S101 - as above
    return found
