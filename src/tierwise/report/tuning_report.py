"""What `tierwise tune` found, for readers: Markdown, and the same as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.report.certificate_text import promise_text
from tierwise.report.numbers import UNKNOWN, percent
from tierwise.report.numbers import dollars as in_dollars
from tierwise.report.numbers import seconds as in_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tierwise.certificate import Certificate
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.certify import Promises
    from tierwise.tuning.decide import Decision, Outlook
    from tierwise.tuning.evaluate import Searched
    from tierwise.tuning.measured import Measured, Measures

_MOST_ON_FRONTIER = 12


def promise_in_words(promises: Promises, route: str, reference: str) -> str:
    """A promise as a sentence."""
    said = promise_text(promises.kind, promises.limit, route=route, reference=reference, last="its last tier")
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
    yield f"reference          {reference}"
    yield f"settings           {len(searched.routes)}"
    yield f"reference's own harm {own} of tasks: two independent answers of it, one wrong and one right"
    yield f"calibration tasks  {found.tasks} independent ones"
    yield f"labels needed      {found.labels} calibration tasks, if no loss is seen"
    if found.likely is None:
        kept = f"keeps the {promises.kind} within {percent(promises.limit)}"
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


def markdown(decision: Decision, measures: Measures, certificate: Certificate | None, notes: Sequence[str]) -> str:
    """The report."""
    searched, promises = decision.searched, decision.promises
    lines = ["# Route", "", verdict(decision), ""]
    if certificate is not None and decision.certified is not None:
        evidence, confirmed = certificate.evidence, certificate.confirmed
        lines += [
            promise_in_words(promises, "the route", f"tier {searched.space.reference}"),
            "",
            (
                f"Evidence: {evidence.losses:g} losses on {evidence.tasks} calibration tasks ({evidence.units} "
                f"independent units), {evidence.method} test, p = {evidence.p_value:.3g}; the risk is at most "
                f"{percent(evidence.bound)}. It was test {evidence.rank} of {evidence.hypotheses} in an order that the "
                f"tuning tasks fixed. On {confirmed.tasks} test tasks, on which nothing was chosen, the risk is "
                f"{percent(confirmed.risk)}, and at most {percent(confirmed.bound)}."
            ),
            "",
            (
                "It does not say: that every answer is right; that each kind of task is within the limit by itself; or "
                "anything about tasks that are not like those of the workload."
            ),
            "",
            "It is void if:",
            "",
            *(f"- {line}" for line in certificate.void_if),
            "",
        ]
    lines += ["## Against the fixed tiers", "", *_figures(decision, measures), ""]
    lines += ["## Frontier", "", *_frontier(decision, measures), ""]
    lines += [
        "## What more labels would buy",
        "",
        *(f"    {one}" for one in outlook_lines(decision.outlook, searched, promises)),
        "",
    ]
    if notes:
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    return "\n".join(lines)


def facts(
    decision: Decision, measures: Measures, certificate: Certificate | None, notes: Sequence[str]
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
        "outlook": msgspec.to_builtins(outlook),
        "confirmed": msgspec.to_builtins(decision.confirmed),
        "saving": msgspec.to_builtins(decision.saving),
        "figures": {name: msgspec.to_builtins(one) for name, one in decision.figures.items()},
        "frontier": [
            {"setting": searched.evaluated.names[one], **msgspec.to_builtins(measures.of(one))}
            for one in frontier(decision)
        ],
        "certificate": None if certificate is None else certificate.sha256,
        "notes": list(notes),
    }


def frontier(decision: Decision) -> list[int]:
    """Settings of the Pareto set of the tuning tasks, evenly thinned, and the certified one."""
    order = () if decision.certified is None else decision.certified.order
    costs = decision.searched.evaluated.mean(decision.searched.evaluated.dollars, decision.split.tuning)
    ranked = sorted(order, key=lambda one: costs[one])
    step = max(1, -(-len(ranked) // _MOST_ON_FRONTIER))
    return sorted({*ranked[::step], decision.setting}, key=lambda one: costs[one])


def _frontier(decision: Decision, measures: Measures) -> Iterator[str]:
    yield "Settings that no other beat in both dollars and risk on the tuning tasks; figures are of the test tasks."
    yield ""
    yield "| setting | points | $ per action | p95 | kept |"
    yield "|---|---|---|---|---|"
    for setting in frontier(decision):
        one = measures.of(setting)
        mark = " **certified**" if decision.route is not None and setting == decision.setting else ""
        kept = percent(one.kept) if len(decision.searched.routes[setting].ladder) > 1 else UNKNOWN
        yield f"| {decision.searched.evaluated.names[setting]}{mark} | {_row(one)} | {kept} |"


def _figures(decision: Decision, measures: Measures) -> Iterator[str]:
    searched, shown = decision.searched, decision.setting
    yield "Figures of the test tasks, with 95 % intervals; differences are of the same tasks."
    yield ""
    yield f"| | points | $ per action | p95 | points of {searched.evaluated.names[shown]} against it | dollars saved |"
    yield "|---|---|---|---|---|---|"
    for name, one in decision.figures.items():
        place = searched.evaluated.names.index(name)
        if place == shown:
            yield f"| **{name}** | {_row(one)} | | |"
            continue
        points = _said(measures.points_against(shown, place), lambda value: f"{100 * value:+.1f}")
        saved = _said(measures.saving(shown, place), lambda value: f"{value:.0%}")
        yield f"| {name} | {_row(one)} | {points} | {saved} |"
    kept = decision.figures[searched.evaluated.names[shown]].kept
    if len(searched.routes[shown].ladder) > 1:
        yield ""
        yield f"It passes {percent(1 - kept)} of actions on to its last tier."


def _row(one: Measured) -> str:
    p95 = in_seconds(one.p95_seen) if one.p95_seconds is None else _said(one.p95_seconds, in_seconds)
    return f"{_said(one.points, percent)} | {_said(one.dollars, in_dollars)} | {p95}"


def _said(of: Estimate | None, form: Callable[[float], str]) -> str:
    if of is None:
        return UNKNOWN
    if of.interval is None:
        return form(of.value)
    high = UNKNOWN if of.interval.high is None else form(of.interval.high)
    return f"{form(of.value)} [{form(of.interval.low)} to {high}]"
