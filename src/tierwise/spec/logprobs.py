"""Log-probabilities of tokens, as servers send them."""

from __future__ import annotations

import math

LEAST = -100.0
"""Log-probabilities are clipped here: servers write -9999 for `very unlikely`."""
SLACK = 1e-3
"""Log-probabilities up to this are read as 0, because servers round."""


def log_probability(value: object) -> float | None:
    """A natural log-probability, from -100 to 0; None if it is missing, no number, not finite or above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= SLACK or value == -math.inf:
        return None
    return float(min(0.0, max(LEAST, value)))
