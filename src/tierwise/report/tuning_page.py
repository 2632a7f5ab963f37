"""What `tierwise tune` found as one HTML page that needs no network and runs no script."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.report import numbers, tuning_plots, tuning_words
from tierwise.report.certificate_text import certificate_text
from tierwise.report.page import both, template
from tierwise.report.tuning_report import outlook_lines, promise_in_words, terms_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from markupsafe import Markup

    from tierwise.certificate import Certificate
    from tierwise.pools.calibrating import Calibrated, SignalResult
    from tierwise.report.tuning_terms import Terms
    from tierwise.tuning.decide import Decision
    from tierwise.tuning.findings import Findings

ROUTE = "auto"
_MOST_CHARACTERS = 60


def page(
    decision: Decision,
    found: Findings,
    certificate: Certificate | None,
    notes: Sequence[str],
    *,
    file: Path,
    workload: Path,
) -> str:
    """The page as HTML.

    Args:
        decision: what is to be served, and why.
        found: what the page shows beside it.
        certificate: of the route; None if none is certified.
        notes: what a reader should know.
        file: the config file.
        workload: the tasks.
    """
    searched, promises, measures, terms = decision.searched, decision.promises, found.measures, terms_of(decision)
    shown, evaluated = decision.setting, decision.searched.evaluated
    shown_name = ROUTE if decision.route is not None else evaluated.names[shown]
    names = {searched.index(name): name for name in searched.space.fixed}
    names.setdefault(shown, _short(shown_name))
    against = {
        name: (measures.points_against(shown, place), measures.saving(shown, place))
        for name in searched.space.fixed
        if (place := searched.index(name)) != shown
    }
    return template("tuning_page.html.jinja").render(
        decision=decision,
        found=found,
        certificate=certificate,
        notes=notes,
        numbers=numbers,
        words=tuning_words,
        terms=terms,
        file=file.name,
        workload=workload.name,
        verdict=verdict(decision),
        promise=promise_in_words(promises, "the route", f"tier {searched.space.reference}"),
        reference=searched.space.reference,
        shown_name=shown_name,
        shown_setting=evaluated.names[shown],
        has_steps=len(searched.routes[shown].ladder) > 1,
        against=against,
        figures={
            shown_name if evaluated.names.index(name) == shown else name: one for name, one in decision.figures.items()
        },
        sentences=[] if certificate is None else certificate_text(certificate),
        limits=[f"saving in reach at {tuning_words.fine(one.limit)}" for one in found.labels[0].in_reach],
        outlook=list(outlook_lines(decision.outlook, searched, promises)),
        dollars_plot=both(partial(tuning_plots.frontier_by_dollars, found.frontier, names, terms.share)),
        seconds_plot=both(partial(tuning_plots.frontier_by_seconds, found.frontier, names, terms.share)),
        signal_plots=list(_signal_plots(found, terms)),
    )


def _signal_plots(
    found: Findings, terms: Terms
) -> Iterator[tuple[Calibrated, SignalResult, dict[str, Markup], dict[str, Markup]]]:
    """Each tier with its best signal, and the plots of that one."""
    for one in found.signals:
        if (best := tuning_words.best_signal(one)) is not None:
            reliability = both(partial(tuning_plots.reliability, best, terms.right))
            yield one, best, reliability, both(partial(tuning_plots.calibration, best, terms.right))


def _short(name: str) -> str:
    return name if len(name) <= _MOST_CHARACTERS else f"{name[:_MOST_CHARACTERS]} …"
