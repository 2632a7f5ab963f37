"""The findings of `tierwise tune` in plain sentences, for its page and its Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.certificate import by_agreement
from tierwise.report.numbers import UNKNOWN, interval, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierwise.certificate import Certificate, Labels
    from tierwise.pools.calibrating import Calibrated, SignalResult
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.findings import Findings, InReach
    from tierwise.tuning.racing import Raced

_LEAST_GAIN = 0.005

_NOT_SAID = (
    "that every answer is right, or that the reference's are: it compares two ways of answering",
    "that each kind of task is within the limit by itself: it is about all of them together",
    "anything about tasks that are not like those of the workload, or about another share of them",
    "that an average of fewer tasks stays within the limit: a bad day is possible, a bad year is not",
)
"""What no certificate says."""
_NOT_SAID_BY_AGREEMENT = (
    "how often the route is right, or the reference: no label was used, and both may be wrong where they agree",
    "that an answer which differs from the reference's is wrong: harm is rarer than disagreement, by an unknown factor",
)


def not_said(labels: Labels) -> tuple[str, ...]:
    """What a certificate with these labels does not say."""
    if labels.startswith("judge:"):
        return (*_NOT_SAID, "that the judge is right: its verdicts stand in every figure but the promise")
    return (*(_NOT_SAID_BY_AGREEMENT if by_agreement(labels) else _NOT_SAID[:1]), *_NOT_SAID[1:])


def plainly(certificate: Certificate) -> Iterator[str]:
    """The certificate for a reader who decides, and does not compute."""
    promise, found = certificate.promise, certificate.evidence
    yield _meaning(certificate, round(1000 * promise.limit))
    yield (
        f"We checked {found.tasks:,} tasks that had no part in choosing the route, and measured {fine(found.risk)}. "
        f"If the true rate were above {percent(promise.limit)}, a result this good would come up in at most "
        f"{percent(1 - promise.confidence)} of such checks."
    )
    confirmed = certificate.confirmed
    yield f"{confirmed.tasks:,} further tasks, kept aside until the end, show {fine(confirmed.risk)}."


def _meaning(one: Certificate, thousand: int) -> str:
    if by_agreement(one.promise.labels):
        return (
            f"Of 1,000 new tasks like these, the route answers at most {thousand} differently from {one.reference}, so "
            f"at most {thousand} get a wrong answer where {one.reference} alone would be right. We are "
            f"{percent(one.promise.confidence)} sure of that. Nobody checked which answers are right."
        )
    match one.promise.kind:
        case "harm":
            said = f"at most {thousand} get a wrong answer from the route where {one.reference} alone would be right"
        case "net":
            said = (
                f"the route solves at most {thousand} fewer than {one.reference} alone would, gains and losses offset"
            )
        case "selective":
            return (
                f"Of 1,000 answers that the route gives without asking {one.tiers[-1]}, at most {thousand} are wrong. "
                f"We are {percent(one.promise.confidence)} sure of that."
            )
    return f"Of 1,000 new tasks like these, {said}. We are {percent(one.promise.confidence)} sure of that."


def with_interval(of: Estimate | None, write: Callable[[float], str]) -> str:
    """`12 % [10 %, 14 %]`."""
    return UNKNOWN if of is None else f"{write(of.value)} {interval(of, write)}"


def saved(of: Estimate) -> str:
    """A share of dollars that is saved, or how many times as dear it is."""
    return percent(of.value) if of.value >= 0 else f"costs {1 - of.value:.3g} ×"


def saved_note(of: Estimate) -> str:
    """The interval of the same."""
    if of.value >= 0 or of.interval is None:
        return interval(of, percent)
    low, high = of.interval.low, of.interval.high
    return f"[{UNKNOWN if high is None else f'{1 - high:.3g}'}, {1 - low:.3g}]"


def best_signal(found: Calibrated) -> SignalResult | None:
    """The one that discriminates best over all answers, if any has a reliability diagram."""
    return max(
        (one for one in found.signals if one.reliability and one.overall is not None),
        key=lambda one: one.overall.value if one.overall else 0.0,
        default=None,
    )


def auroc(value: float) -> str:
    return f"{value:.3f}"


def within(one: SignalResult) -> str:
    """The AUROC within questions, with its interval."""
    if one.auroc is None:
        return UNKNOWN
    ends = "" if one.interval is None else f" [{one.interval.low:.3f}, {one.interval.high or 1.0:.3f}]"
    return f"{one.auroc:.3f}{ends}"


def fine(share: float) -> str:
    """A share with two significant digits."""
    return f"{100 * share:.2g} %" if 0.005 <= abs(share) < 0.1 else percent(share)


def labels_in_words(found: Findings) -> Iterator[str]:
    """What more calibration tasks would buy."""
    if not found.labels:
        return
    now, most = found.labels[0], found.labels[-1]
    yield (
        f"The {now.units:,} independent calibration tasks of this workload can prove a loss of {fine(now.tightest)} at "
        f"best, if none is seen; {most.factor} times as many, {fine(most.tightest)}."
    )
    if now.bound is not None and most.bound is not None and most.bound < now.bound:
        yield (
            f"At the rate of losses that was seen, the setting of this report is shown to lose at most "
            f"{fine(now.bound)}; with {most.factor} times as many tasks it would be {fine(most.bound)}."
        )
    for few, many in zip(now.in_reach, most.in_reach, strict=True):
        at = f"At a loss of {fine(few.limit)}"
        gained = (many.saving or 0.0) - (few.saving or 0.0)
        if not many.setting:
            yield f"{at}, nothing cheaper is expected to pass, not with {most.factor} times as many tasks either."
        elif gained > _LEAST_GAIN:
            yield (
                f"{at}, {most.factor} times as many tasks are expected to save {percent(gained)} more of the "
                f"reference's dollars: {percent(many.saving or 0.0)} in place of {percent(few.saving or 0.0)}."
            )
        else:
            yield f"{at}, {percent(few.saving or 0.0)} are in reach now, and more tasks are not expected to save more."


def in_reach(one: InReach) -> str:
    """`42 % by cheap → strong by margin 0.4, chance 80 %`."""
    if not one.setting:
        return "none"
    chance = "" if one.chance is None else f", chance {percent(one.chance)}"
    return f"{UNKNOWN if one.saving is None else percent(one.saving)} by {one.setting}{chance}"


def race_in_words(found: Findings) -> Iterator[str]:
    """What the race of deployments decided."""
    raced = found.raced
    if raced is None:
        return
    race = raced.race
    yield (
        f"{len(race.names)} deployments answered up to {race.tasks} tuning tasks, one draw each, until the rest could "
        f"be told apart. Fully recorded: {', '.join(raced.label(name) for name in raced.tiers)}."
    )
    if found.raced_share is not None:
        yield f"Race and pool took {percent(found.raced_share)} of the draws that recording everything takes."
    if race.kept:
        needed = ", ".join(raced.label(one) for one in sorted(race.kept))
        yield f"Never dropped, because the reference needs it: {needed}."
    if raced.left_out:
        yield f"{raced.left_out} tasks that not every deployment could answer did not count."


RACE_HEADS = ("dropped", "by", "after tasks", "by is better on", "it is better on", "why")


def race_rows(raced: Raced) -> Iterator[tuple[str, str, str, str, str, str]]:
    """Who was dropped, by whom, and the paired figures, as `RACE_HEADS`."""
    for one in raced.race.dropped:
        why = (
            "dominated: evidence " + f"{one.evidence:,.0f}"
            if one.chance is None
            else (f"dearer, and a chance of {fine(one.chance)} to be shown better")
        )
        yield raced.label(one.name), raced.label(one.by), str(one.tasks), str(one.wins), str(one.losses), why


RACE_NOTE = (
    "Dominated: shown to solve less and not to be cheaper; one that is not dominated is dropped so with a probability "
    "of at most 5 % over the whole race. Dearer, with a small chance to be shown better by a paired test over all "
    "tasks of the race: a saving rule, for which no bound holds. The cheapest deployment is never dropped."
)
