"""Signals of a completion that a calibration turns into a confidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from tierwise.spec.call import Completion

Signal = Callable[[Completion], float | None]
"""A number that is higher for surer answers; None if the pass has no log-probabilities."""

SIGNALS: Mapping[str, Signal] = {"mean_logprob": attrgetter("mean_logprob")}
"""By their name in a calibration."""
