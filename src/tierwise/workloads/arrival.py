"""How trials arrive at the endpoint: closed loop (one starts when another ends) or open loop (at scheduled times).

In an open loop, latencies count from the scheduled start. Otherwise a server that stalls would delay the requests that
would have measured the stall (coordinated omission).
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.spec.files import numbered_lines, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED = "closed"

FORMS = "closed, poisson:RATE, constant:RATE (per second), or trace:FILE"

MAX_RATE = 10_000.0
"""Maximum arrivals per second."""


@dataclass(frozen=True, slots=True)
class Poisson:
    """A Poisson process: independent users."""

    rate: float
    """Mean arrivals per second."""

    def moments(self, seed: int) -> Iterator[float]:
        rng = random.Random(seed)  # noqa: S311 - times, not secrets
        moment = 0.0
        while True:
            yield moment
            moment += rng.expovariate(self.rate)


@dataclass(frozen=True, slots=True)
class Constant:
    """Arrivals at equal intervals."""

    rate: float
    """Arrivals per second."""

    def moments(self, seed: int) -> Iterator[float]:  # noqa: ARG002 - not random
        return (number / self.rate for number in count())


@dataclass(frozen=True, slots=True)
class RecordedArrivals:
    """Recorded arrivals. A trace shorter than the run repeats, one mean gap after its end."""

    at: tuple[float, ...]
    """Seconds from the first arrival."""

    def moments(self, seed: int) -> Iterator[float]:  # noqa: ARG002 - not random
        length = self.at[-1] + (self.at[-1] / (len(self.at) - 1) if len(self.at) > 1 else 1.0)
        return (round_ * length + moment for round_ in count() for moment in self.at)


OpenArrival = Poisson | Constant | RecordedArrivals


def read_arrival(text: str) -> OpenArrival | None:
    """Parse the value of `--arrival`; None means a closed loop.

    Raises:
        SpecError: it has no known form.
        ConfigErrors: lines of the trace are invalid; each is named.
    """
    form, _, rest = text.partition(":")
    match form:
        case "closed" if not rest:
            return None
        case "poisson":
            return Poisson(_rate(rest))
        case "constant":
            return Constant(_rate(rest))
        case "trace" if rest:
            return read_trace(Path(rest))
        case _:
            raise SpecError(f"{text!r} is not an arrival; allowed: {FORMS}", field="--arrival")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MAX_RATE:
        raise SpecError(
            f"{text!r} is not a rate; allowed: a number above 0, at most {MAX_RATE:g} per second", field="--arrival"
        )
    return rate


def read_trace(path: Path) -> RecordedArrivals:
    """Read a recorded trace with one arrival per line.

    A line is a number of seconds, an ISO 8601 time, or an object with `seconds`, or with `timestamp`: an ISO 8601 time,
    or milliseconds as in Mooncake's traces.

    Raises:
        NotFound: the file does not exist.
        ConfigErrors: every invalid line.
    """
    text = read_text(path, "trace", field="--arrival")
    errors: list[SpecError] = []
    moments: list[float] = []
    for number, line in numbered_lines(text):
        try:
            moment = _moment(line.strip())
        except (ValueError, OverflowError) as error:
            errors.append(SpecError(str(error), field=f"{path.name}:{number}"))
            continue
        if moments and moment < moments[-1]:
            why = f"is {moments[-1] - moment:g} s before the previous line; sort the file"
            errors.append(SpecError(why, field=f"{path.name}:{number}"))
        moments.append(moment)
    if not moments and not errors:
        errors.append(SpecError("has no arrivals; write one per line", field=path.name))
    if errors:
        raise ConfigErrors(errors)
    return RecordedArrivals(tuple(moment - moments[0] for moment in moments))


def _moment(line: str) -> float:
    try:
        value = msgspec.json.decode(line)
    except msgspec.DecodeError:
        value = line
    scale = 1.0
    match value:
        case {"seconds": inner}:
            value = inner
        case {"timestamp": inner}:
            value, scale = inner, 0.001
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        return datetime.fromisoformat(value).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(
            f"{line[:80]!r} is not a time; allowed: seconds, ISO 8601, or an object with `seconds` or `timestamp`"
        )
    return value * scale
