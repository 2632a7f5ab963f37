"""What `tierwise tune` found, for readers: Markdown, and the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.report.certificate_text import promise_text
from tierwise.report.numbers import UNKNOWN, percent, probability, ranged
from tierwise.report.numbers import dollars as in_dollars
from tierwise.report.numbers import seconds as in_seconds
from tierwise.report.tuning_terms import Terms
from tierwise.report.tuning_words import (
    RACE_HEADS,
    RACE_NOTE,
    auroc,
    fine,
    in_reach,
    labels_in_words,
    not_said,
    plainly,
    race_in_words,
    race_rows,
    with_interval,
    within,
)
from tierwise.tuning.findings import as_facts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tierwise.certificate import Certificate
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.decide import Decision, Outlook
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.findings import Findings
    from tierwise.tuning.measured import Measured, Measures
    from tierwise.tuning.racing import Raced


def promise_in_words(promises: Promises, route: str, reference: str) -> str:
    """A promise as a sentence."""
    said = promise_text(
        promises.kind, promises.limit, promises.labels, route=route, reference=reference, last="its last tier"
    )
    sure, more = percent(promises.confidence), []
    if promises.p95 is not None:
        more.append(f"at most 5 % of actions take longer than {in_seconds(promises.p95)}")
    if promises.dollars is not None:
        more.append(f"an action costs at most {in_dollars(promises.dollars)} on average")
    return f"With {sure} confidence, on new tasks like those of the workload, {'; '.join([said, *more])}."


def outlook_lines(found: Outlook, searched: Searched, promises: Promises) -> Iterator[str]:
    """What `--dry-run` says."""
    own = f"{'at least ' if found.is_least else ''}{percent(found.own_harm)}"
    reference = searched.space.reference
    words = Terms(labels=promises.labels, reference=reference)
    yield f"reference          {reference}"
    yield f"settings           {len(searched.routes)}"
    if searched.inference:
        yield f"inference          {searched.inference:.2f} × that of the dearest setting alone, in completion tokens"
    if words.by_agreement:
        yield f"reference's own disagreement {own} of tasks: two independent answers of it differ"
    else:
        yield f"reference's own harm {own} of tasks: two independent answers of it, one wrong and one right"
    yield f"calibration tasks  {found.tasks} independent ones"
    yield f"{f'{words.tasks} needed':<19}{found.labels} calibration tasks, if no loss is seen"
    if found.checks:
        yield f"tasks with a check {found.checked} independent calibration ones; {found.checks} needed for the judge"
    if found.likely is None:
        kept = f"keeps the {promises.risk_name} within {percent(promises.limit)}"
        yield f"expected           no setting {kept} on the tuning tasks"
        yield "largest saving     none"
        return
    needed = f"{found.labels_for_expected} calibration tasks" if found.labels_for_expected else "more than 300,000"
    yield f"expected           {found.expected} losses, which take {needed}: {found.likely.name}"
    yield f"largest saving     {percent(max(0.0, found.saving))} of the dollars of {reference}, on the tuning tasks"


def verdict(decision: Decision) -> str:
    """The answer in a sentence or two."""
    if decision.route is not None:
        return f"Serve the route `auto`: {decision.why}."
    return f"Not worth it: serve the fixed tier {decision.serve!r}. {decision.why[:1].upper()}{decision.why[1:]}."


def markdown(decision: Decision, found: Findings, certificate: Certificate | None, notes: Sequence[str]) -> str:
    """The report."""
    searched, promises = decision.searched, decision.promises
    words = terms_of(decision)
    lines = ["# Route", "", verdict(decision), "", *([words.note, ""] if words.note else [])]
    if certificate is not None and decision.certified is not None:
        evidence, confirmed = certificate.evidence, certificate.confirmed
        lines += [
            promise_in_words(promises, "the route", f"tier {searched.space.reference}"),
            "",
            *plainly(certificate),
            "",
            (
                f"Evidence: {evidence.losses:g} losses on {evidence.tasks} calibration tasks ({evidence.units} "
                f"independent units), {evidence.method} test, p = {evidence.p_value:.3g}; the risk is at most "
                f"{percent(evidence.bound)}. It was test {evidence.rank} of {evidence.hypotheses} in an order that the "
                f"tuning tasks fixed. On {confirmed.tasks} test tasks, on which nothing was chosen, the risk is "
                f"{percent(confirmed.risk)}, and at most {percent(confirmed.bound)}."
            ),
            "",
            "It does not say:",
            "",
            *(f"- {line}" for line in not_said(promises.labels)),
            "",
            "It is void if:",
            "",
            *(f"- {line}" for line in certificate.void_if),
            "",
        ]
    lines += ["## Against the fixed tiers", "", *_figures(decision, found.measures), ""]
    lines += ["## Frontier", "", *_frontier(decision, found), ""]
    if found.raced is not None:
        lines += ["## Race of deployments", "", *_race(found, found.raced), ""]
    lines += ["## Escalations by kind of task", "", *_strata(decision, found), ""]
    lines += ["## What the signals are worth here", "", *([words.signals, ""] if words.signals else [])]
    lines += [*_signals(found), ""]
    lines += [
        f"## What more {words.tasks} would buy",
        "",
        *_labels(found),
        "",
        "Before the calibration tasks were looked at:",
        "",
        *(f"    {one}" for one in outlook_lines(decision.outlook, searched, promises)),
        "",
    ]
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def terms_of(decision: Decision) -> Terms:
    """What the figures of a decision are called."""
    searched = decision.searched
    return Terms(labels=decision.promises.labels, reference=searched.space.reference, judge=searched.judge)


def facts(
    decision: Decision, found: Findings, certificate: Certificate | None, notes: Sequence[str]
) -> dict[str, object]:
    """The same for programs."""
    searched, outlook = decision.searched, decision.outlook
    return {
        "serve": "auto" if decision.route is not None else decision.serve,
        "is_certified": decision.route is not None,
        "why": decision.why,
        "route": None if decision.route is None else msgspec.to_builtins(decision.route),
        "reference": searched.space.reference,
        "promise": msgspec.to_builtins(decision.promises),
        "settings": len(searched.routes),
        "orders": searched.orders,
        "inference": {
            "recorded_tokens": searched.recorded,
            "dearest_tokens": searched.dearest,
            "ratio": searched.inference,
        },
        "outlook": msgspec.to_builtins(outlook),
        "confirmed": msgspec.to_builtins(decision.confirmed),
        "saving": msgspec.to_builtins(decision.saving),
        "figures": {name: msgspec.to_builtins(one) for name, one in decision.figures.items()},
        **as_facts(found),
        "certificate": None if certificate is None else certificate.sha256,
        "notes": list(notes),
    }


def _frontier(decision: Decision, found: Findings) -> Iterator[str]:
    points = terms_of(decision).points
    yield (
        f"Settings that no other beat in both dollars and {points} on the tuning tasks, thinned, and every fixed tier; "
        "figures are of the test tasks. On the frontier: the share of joint resamples in which no other one of this "
        f"table is at least as good in {points}, p95 and dollars, and better in one."
    )
    yield ""
    yield f"| setting | {points} | $ per action | p95 | on the frontier | escalated |"
    yield "|---|---|---|---|---|---|"
    for one in found.frontier:
        mark = " **certified**" if decision.route is not None and one.setting == decision.setting else ""
        has_steps = len(decision.searched.routes[one.setting].ladder) > 1
        escalated = percent(1 - one.measured.kept) if has_steps else UNKNOWN
        yield f"| {one.name}{mark} | {_row(one.measured)} | {probability(one.membership)} | {escalated} |"


def _race(found: Findings, raced: Raced) -> Iterator[str]:
    yield from (f"- {line}" for line in race_in_words(found))
    if raced.race.dropped:
        yield ""
        yield f"| {' | '.join(RACE_HEADS)} |"
        yield "|---|---|---|---|---|---|"
        yield from (f"| {' | '.join(row)} |" for row in race_rows(raced))
        yield ""
        yield RACE_NOTE


def _strata(decision: Decision, found: Findings) -> Iterator[str]:
    if len(decision.searched.routes[decision.setting].ladder) == 1:
        yield "The setting of this report asks one tier, so nothing is escalated."
        return
    words = terms_of(decision)
    heads = ["kind of task", "test tasks", "escalated", words.harm]
    heads += [] if words.by_agreement else ["points", f"points of {words.reference}"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for one in found.strata:
        shown = (
            (one.escalated, one.harm) if words.by_agreement else (one.escalated, one.harm, one.points, one.reference)
        )
        cells = (with_interval(of, percent) for of in shown)
        yield f"| {one.tag or 'all'} | {one.tasks} | {' | '.join(cells)} |"


def _signals(found: Findings) -> Iterator[str]:
    for one in found.signals:
        thinking = "with" if one.thinking else "without"
        yield f"Tier {one.tier}, deployment {one.deployment}, {thinking} thinking, {one.alternatives} alternatives:"
        yield ""
        yield "| signal | AUROC of all answers | AUROC within questions | questions | calibration error | answers |"
        yield "|---|---|---|---|---|---|"
        for row in one.signals:
            error = UNKNOWN if row.calibration_error is None else percent(row.calibration_error)
            yield (
                f"| {row.signal} | {with_interval(row.overall, auroc)} | {within(row)} | {row.questions} | {error} | "
                f"{row.answers} |"
            )
        yield ""
    if not found.signals:
        yield "The pool has no log-probabilities, so no signal of confidence can be measured."


def _labels(found: Findings) -> Iterator[str]:
    yield from (f"- {line}" for line in labels_in_words(found))
    limits = [one.limit for one in found.labels[0].in_reach] if found.labels else []
    yield ""
    heads = " | ".join(f"saving in reach at {fine(limit)}" for limit in limits)
    yield f"| calibration tasks | tightest loss | bound at the rate seen | {heads} |"
    yield f"|---|---|---|{'---|' * len(limits)}"
    for one in found.labels:
        bound = UNKNOWN if one.bound is None else fine(one.bound)
        cells = [f"{one.units:,}", fine(one.tightest), bound, *(in_reach(each) for each in one.in_reach)]
        yield f"| {' | '.join(cells)} |"


def _figures(decision: Decision, measures: Measures) -> Iterator[str]:
    searched, shown = decision.searched, decision.setting
    yield "Figures of the test tasks, with 95 % intervals; differences are of the same tasks."
    yield ""
    name_of, points = searched.evaluated.names[shown], terms_of(decision).points
    yield f"| | {points} | $ per action | p95 | {points} of {name_of} against it | dollars saved |"
    yield "|---|---|---|---|---|---|"
    for name, one in decision.figures.items():
        place = searched.evaluated.names.index(name)
        if place == shown:
            yield f"| **{name}** | {_row(one)} | | |"
            continue
        points = ranged(measures.points_against(shown, place), lambda value: f"{100 * value:+.1f}")
        saved = ranged(measures.saving(shown, place), lambda value: f"{value:.0%}")
        yield f"| {name} | {_row(one)} | {points} | {saved} |"
    kept = decision.figures[searched.evaluated.names[shown]].kept
    if len(searched.routes[shown].ladder) > 1:
        yield ""
        yield f"It passes {percent(1 - kept)} of actions on to its last tier."


def _row(one: Measured) -> str:
    p95 = in_seconds(one.p95_seen) if one.p95_seconds is None else ranged(one.p95_seconds, in_seconds)
    return f"{ranged(one.points, percent)} | {ranged(one.dollars, in_dollars)} | {p95}"
