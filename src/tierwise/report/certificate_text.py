"""A certificate in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.report.numbers import dollars, p_value, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierwise.certificate import Certificate, Figure

_ROLES = {"cheapest": "the cheapest tier", "reference": "the reference", "best fixed": "the best fixed tier"}


def certificate_text(certificate: Certificate) -> list[str]:
    """What is promised, on what evidence, what is saved, and what ends it: one sentence a line."""
    return [_promise(certificate), *_evidence(certificate), *_figures(certificate), *_limits(certificate)]


def _promise(one: Certificate) -> str:
    limit, confidence = percent(one.promise.limit), percent(one.promise.confidence)
    said = {
        "harm": f"on at most {limit} of all tasks the answer of {one.route} is wrong where that of {one.reference} is "
        "right",
        "net": f"{one.route} solves at most {limit} of all tasks fewer than {one.reference}",
        "selective": f"of the tasks that {one.route} does not pass on to {one.tiers[-1]}, at most {limit} are answered "
        "wrongly",
    }[one.promise.kind]
    return f"promised with {confidence} confidence: {said}"


def _evidence(one: Certificate) -> Iterator[str]:
    found, test = one.evidence, one.confirmed
    units = "" if found.units == found.tasks else f" in {found.units:,} clusters"
    yield (
        f"shown on {found.tasks:,} calibration tasks{units}: {found.losses:g} losses, risk {percent(found.risk)}, at "
        f"most {percent(found.bound)} ({found.method} test, p = {p_value(found.p_value)}; route {found.rank} of "
        f"{found.hypotheses} in a fixed order)"
    )
    yield f"seen on {test.tasks:,} test tasks: risk {percent(test.risk)}, at most {percent(test.bound)}"


def _figures(one: Certificate) -> Iterator[str]:
    for name, reached in one.figures.items():
        yield (
            f"{name}: {_with_interval(reached.points, percent)} of the tasks solved, "
            f"{_with_interval(reached.dollars, dollars)} per action, "
            f"95th percentile {_with_interval(reached.p95_seconds, seconds)}"
        )
    for saving in one.savings:
        against = f"{_ROLES[saving.role]}, {saving.against}"
        yield f"saves {_with_interval(saving.share, percent)} of the dollars of {against}"
    differs = _with_interval(one.disagreement, percent)
    yield f"answers differ from those of {one.reference} on {differs} of the tasks"


def _limits(one: Certificate) -> Iterator[str]:
    yield f"about traffic like that of the workload, recorded from {one.source.began} to {one.source.ended}"
    yield from (f"void if: {reason}" for reason in one.void_if)


def _with_interval(figure: Figure, write: Callable[[float], str]) -> str:
    if figure.low is None and figure.high is None:
        return write(figure.value)
    low, high = ("…" if end is None else write(end) for end in (figure.low, figure.high))
    return f"{write(figure.value)} [{low}, {high}]"
