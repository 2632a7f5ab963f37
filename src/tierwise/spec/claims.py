"""Published scores as claims: what was measured, how, when, by whom, and what speaks against it.

A family has the claims of its makers (`catalog/families/`), and a config file those that the user wants to check. What
nobody states is `unknown`, and never guessed.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

UNKNOWN = "unknown"
WHOLE = "whole"
MARGIN = 5.0
"""Points that a score may differ by and still count as reproduced, if a claim says nothing else."""

ClaimMode = Literal["average", "think", "max", "unknown"]
"""One pass without thinking · one pass that thinks · several passes that make one answer · not stated."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Day = Annotated[str, msgspec.Meta(pattern=r"^(unknown|\d{4}(-\d{2}(-\d{2})?)?)$")]


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A published score. It was not measured here."""

    suite: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """The suite, by its name in `tierwise suites` if it has one; else the name of a workload."""
    release: str = ""
    """Version or year of the suite: `v6`, `2026`; empty if it has one only, or if it is not stated."""
    subset: Text = WHOLE
    """The part of the suite: `whole`, `first 50`, `since 2025-01-01`, `2025-01-01 to 2025-05-31`."""
    score: Annotated[float, msgspec.Meta(ge=0, le=100)]
    """Percent of the tasks."""
    mode: ClaimMode = "unknown"
    """How many passes, and whether they think."""
    effort: str = ""
    """The effort of thinking: `high`, `max`; empty if none is stated."""
    harness: Text = UNKNOWN
    """The harness, agent or scaffold: `tierwise`, `Terminus-2`, `with tools`."""
    tasks: Count | None = None
    """Number of tasks; None for the size of the suite."""
    samples: Literal["greedy"] | Count | None = None
    """Answers per task that the score is the mean of: `greedy` for one at temperature 0, 64 for avg@64. None if it is
    not stated, and it counts as one."""
    margin: Annotated[float, msgspec.Meta(gt=0, le=100)] = MARGIN
    """Points: a difference within it counts as none."""
    date: Day = UNKNOWN
    """When it was published, or as of when the source says it: `2026`, `2026-09`, `2026-09-14`."""
    source: Text
    """Who says so: a citation, or, in a family, a name under `sources`."""
    doubts: list[Text] = []
    """What speaks against it, or is missing."""

    def __post_init__(self) -> None:
        if self.effort and self.mode == "average":
            raise ValueError("effort is that of thinking; mode average does not think")

    @property
    def how(self) -> str:
        """Mode and effort: `think, high`."""
        return f"{self.mode}, {self.effort}" if self.effort else self.mode

    @property
    def what(self) -> str:
        """The suite with its release and part: `aime 2026`, `gsm8k, first 50`."""
        named = f"{self.suite} {self.release}".strip()
        return named if self.subset == WHOLE else f"{named}, {self.subset}"


class SuitePart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A suite, or a part of it."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    """The suite, as in `tierwise suites` if it is there."""
    release: str = ""
    """Its version or year: `v6`, `2026`; empty if it has one only, or if it is not known."""
    subset: Annotated[str, msgspec.Meta(min_length=1)] = WHOLE
    """`whole`, `first 50`, `since 2025-01-01`, `until 2025-05-31`, `2025-01-01 to 2025-05-31`, or any other name."""
    sampled: bool = False
    """Whether the tasks are a random sample of the subset, so that its scores describe it."""

    @property
    def what(self) -> str:
        """`gsm8k, first 50`."""
        named = f"{self.name} {self.release}".strip()
        part = "" if self.subset == WHOLE else f", {self.subset}"
        return f"{named}{part}{', a random sample' if self.sampled else ''}"

    def first(self, count: int) -> SuitePart:
        """Its first tasks."""
        of = "" if self.subset == WHOLE or self.subset.startswith("first ") else f" of {self.subset}"
        sampled = " of a sample" if self.sampled else ""
        return msgspec.structs.replace(self, subset=f"first {count}{of}{sampled}", sampled=False)
