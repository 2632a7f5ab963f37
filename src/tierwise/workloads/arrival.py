"""How trials arrive at the endpoint: when one before has been answered, or at moments that nothing can hold up.

In an open loop a trial has the moment at which it was to begin, and its times count from there. Otherwise a server that
stalls would keep away the very requests that would have found it stalled (coordinated omission).
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

FASTEST = 10_000.0
"""Arrivals per second that may be asked for."""


@dataclass(frozen=True, slots=True)
class Poisson:
    """As users come who do not know of each other."""

    rate: float
    """Per second, as a mean."""

    def moments(self, seed: int) -> Iterator[float]:
        chance = random.Random(seed)  # noqa: S311 - moments, not secrets
        moment = 0.0
        while True:
            yield moment
            moment += chance.expovariate(self.rate)


@dataclass(frozen=True, slots=True)
class Constant:
    """One after the other at equal distances."""

    rate: float
    """Per second."""

    def moments(self, seed: int) -> Iterator[float]:  # noqa: ARG002 - nothing is left to chance
        return (number / self.rate for number in count())


@dataclass(frozen=True, slots=True)
class RecordedArrivals:
    """As they once came. A trace that is shorter than the run begins again, a mean gap after its end."""

    at: tuple[float, ...]
    """Seconds from the first."""

    def moments(self, seed: int) -> Iterator[float]:  # noqa: ARG002 - nothing is left to chance
        length = self.at[-1] + (self.at[-1] / (len(self.at) - 1) if len(self.at) > 1 else 1.0)
        return (round_ * length + moment for round_ in count() for moment in self.at)


Open = Poisson | Constant | RecordedArrivals


def read_arrival(text: str) -> Open | None:
    """What `--arrival` says; None is a closed loop.

    Raises:
        SpecError: it says nothing that we know.
        ConfigErrors: lines of the trace cannot be used; each is named.
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
            raise SpecError(f"{text!r} is no way to arrive; allowed: {FORMS}", field="--arrival")


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= FASTEST:
        raise SpecError(f"{text!r} is no rate; a number above 0, at most {FASTEST:g} per second", field="--arrival")
    return rate


def read_trace(path: Path) -> RecordedArrivals:
    """A recorded trace, one arrival on each line.

    A line is a number of seconds, a moment in ISO 8601, or an object that holds `seconds`, or `timestamp`: such a
    moment, or milliseconds as in Mooncake's traces.

    Raises:
        NotFound: there is no such file.
        ConfigErrors: all lines that cannot be used.
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
            why = f"comes {moments[-1] - moment:g} s before the line above; sort the file"
            errors.append(SpecError(why, field=f"{path.name}:{number}"))
        moments.append(moment)
    if not moments and not errors:
        errors.append(SpecError("holds no arrival; one on each line is wanted", field=path.name))
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
        raise ValueError(f"{line[:80]!r} is no moment; allowed: seconds, ISO 8601, or an object with `seconds`")
    return value * scale
