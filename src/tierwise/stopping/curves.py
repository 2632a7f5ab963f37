"""What the stopping rules cost and lose in simulation: read from the file that `benchmarks/stopping.py` writes."""

from __future__ import annotations

from importlib.resources import files

import msgspec


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One rule on one simulated workload, paired with the majority of all draws, or the best of all draws by score."""

    votes: float
    """Share of the draws, from 0 to 1."""
    points: float
    """Difference in percentage points of right answers."""
    low: float
    high: float
    """Ends of its 95 % interval."""


class Curve(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule with its settings, on every workload."""

    rule: str
    settings: dict[str, float]
    auroc: float | None = None
    """Discrimination of the confidences or scores within a question; None for a rule without them."""
    order: str = "draw"
    """The order in which votes are consumed: `draw`, or `finish` to show what that costs."""
    without_scores: bool = False
    """Whether a rule on scores had no scores of earlier draws."""
    on: dict[str, Point]
    """By the name of the workload."""

    @property
    def title(self) -> str:
        """The rule as written in a config file, with what it was given."""
        settings = ", ".join(f"{name}: {value:g}" for name, value in self.settings.items())
        given = "" if self.auroc is None else f", AUROC {self.auroc:.2f}"
        without = ", without `scores`" if self.without_scores else ""
        return self.rule + (f" {{{settings}}}" if settings else "") + given + without


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    written_by: str
    tasks: int
    draws: int
    workloads: dict[str, str]
    """Each simulated workload, in words."""
    curves: list[Curve]
    scored: list[Curve]
    """Best of n by a scorer: fixed numbers of candidates, and rules on scores. `points` are against all draws."""
    finish_order: list[Curve]
    """Where wrong answers are shorter: the rules in draw order and in the order in which votes finish."""


def simulated() -> Simulated:
    """The committed figures."""
    data = files("tierwise.stopping").joinpath("curves.json").read_bytes()
    return msgspec.json.decode(data, type=Simulated)
