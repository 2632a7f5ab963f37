"""A certificate in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.certificate import Figure, by_agreement
from tierwise.report.numbers import dollars, p_value, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierwise.certificate import Certificate, Labels, PromiseKind

_ROLES = {"cheapest": "the cheapest tier", "reference": "the reference", "best fixed": "the best fixed tier"}


def certificate_text(certificate: Certificate) -> list[str]:
    """What is promised, on what evidence, what is saved, and what ends it: one sentence a line."""
    return [_promise(certificate), *_evidence(certificate), *_figures(certificate), *_limits(certificate)]


def promise_text(
    kind: PromiseKind, limit: float, labels: Labels = "check", *, route: str, reference: str, last: str
) -> str:
    """What is promised, without the confidence.

    Args:
        kind: of the promise.
        limit: the promised share.
        labels: what tells a loss.
        route: what the route is called; so for the next two.
        reference: the tier that it is compared with.
        last: its last tier.
    """
    share = percent(limit)
    if by_agreement(labels):
        return (
            f"on at most {share} of all tasks the answer of {route} differs from that of {reference}, so on at most as "
            f"many it is wrong where that of {reference} is right"
        )
    match kind:
        case "harm":
            return f"on at most {share} of all tasks the answer of {route} is wrong where that of {reference} is right"
        case "net":
            return f"{route} solves at most {share} of all tasks fewer than {reference}"
        case "selective":
            return f"of the tasks that {route} does not pass on to {last}, at most {share} are answered wrongly"


def _promise(one: Certificate) -> str:
    said = promise_text(
        one.promise.kind,
        one.promise.limit,
        one.promise.labels,
        route=one.route,
        reference=one.reference,
        last=one.tiers[-1],
    )
    more = []
    if one.promise.p95_seconds is not None:
        more.append(f"at most 5 % of actions take longer than {seconds(one.promise.p95_seconds)}")
    if one.promise.dollars is not None:
        more.append(f"an action costs at most {dollars(one.promise.dollars)} on average")
    return f"promised with {percent(one.promise.confidence)} confidence: {'; '.join([said, *more])}"


def _evidence(one: Certificate) -> Iterator[str]:
    found, test = one.evidence, one.confirmed
    units = "" if found.units == found.tasks else f" in {found.units:,} clusters"
    yield (
        f"shown on {found.tasks:,} calibration tasks{units}: {found.losses:g} losses, risk {percent(found.risk)}, at "
        f"most {percent(found.bound)} ({found.method} test, p = {p_value(found.p_value)}; route {found.rank} of "
        f"{found.hypotheses} in a fixed order)"
    )
    if (judge := found.judge) is not None:
        rates = [
            "unknown" if one is None else _with_interval(one, percent)
            for one in (judge.false_accepts, judge.false_rejects)
        ]
        yield (
            f"{judge.tier} judged the answers; of the limit, {percent(judge.limit)} is for harm that it misses: "
            f"{judge.losses:g} on the {judge.tasks:,} calibration tasks that have a check "
            f"(p = {p_value(judge.p_value)}). It accepts {rates[0]} of the wrong answers and rejects "
            f"{rates[1]} of the right ones"
        )
    if found.looks > 1:
        yield f"these calibration tasks were tested on {found.looks} times; each test was at level {found.level:.3g}"
    yield f"seen on {test.tasks:,} test tasks: risk {percent(test.risk)}, at most {percent(test.bound)}"


def _figures(one: Certificate) -> Iterator[str]:
    is_agreement = by_agreement(one.promise.labels)
    judge = one.evidence.judge
    solved = "of the tasks solved" if judge is None else f"of the tasks solved, as {judge.tier} judges"
    reached_what = f"of the answers are those of {one.reference}" if is_agreement else solved
    for name, reached in one.figures.items():
        yield (
            f"{name}: {_with_interval(reached.points, percent)} {reached_what}, "
            f"{_with_interval(reached.dollars, dollars)} per action, "
            f"95th percentile {_with_interval(reached.p95_seconds, seconds)}"
        )
    for saving in one.savings:
        against = f"{_ROLES[saving.role]}, {saving.against}"
        if saving.share.value < 0:
            yield f"costs {_with_interval(_cost_of(saving.share), '{:.3g} ×'.format)} the dollars of {against}"
        else:
            yield f"saves {_with_interval(saving.share, percent)} of the dollars of {against}"
    differs = _with_interval(one.disagreement, percent)
    yield f"answers differ from those of {one.reference} on {differs} of the tasks"


def _limits(one: Certificate) -> Iterator[str]:
    if one.evidence.judge is not None:
        yield "as far as the tasks that have a check are a random sample of all: the judge's error was measured on them"
    if by_agreement(one.promise.labels):
        yield (
            "no label was used: a loss is an answer that differs from the reference's, compared as votes are, whether "
            "or not it is wrong; harm is at most that, as far as answers that count as the same are equally right"
        )
    yield f"about traffic like that of the workload, recorded from {one.source.began} to {one.source.ended}"
    if one.source.repriced:
        yield f"dollars and savings are at prices of {one.source.repriced}; the test is that of the earlier ones"
    yield from (f"void if: {reason}" for reason in one.void_if)


def _cost_of(saved: Figure) -> Figure:
    """A saved share as a multiple of the cost."""
    low, high = (None if end is None else 1 - end for end in (saved.high, saved.low))
    return Figure(value=1 - saved.value, low=low, high=high)


def _with_interval(figure: Figure, write: Callable[[float], str]) -> str:
    if figure.low is None and figure.high is None:
        return write(figure.value)
    low, high = ("…" if end is None else write(end) for end in (figure.low, figure.high))
    return f"{write(figure.value)} [{low}, {high}]"
