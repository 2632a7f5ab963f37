"""What other prices mean for a tuned route, for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tierwise.analysis.duty import DUTIES
from tierwise.certificate import by_agreement
from tierwise.report.grid import Grid
from tierwise.report.numbers import UNKNOWN, percent, ranged
from tierwise.report.numbers import dollars as in_dollars

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tierwise.certificate import Figure
    from tierwise.tuning.repricing import Repriced, RepricedSetting


def answer(found: Repriced) -> Iterator[str]:
    """The answer in sentences."""
    served = (
        f"Serve the route `auto`: {found.why}." if found.route is not None else f"Serve {found.serve!r}: {found.why}."
    )
    yield served
    if found.chosen is None:
        return
    was = found.record.certified
    still = "is still the cheapest that passed"
    changed = f"is no longer the cheapest that passed: {found.chosen.kept.name} is"
    yield f"The setting that was certified, {was}, {still if found.is_same else changed}."
    passed = sum(one.has_passed for one in found.settings)
    yield (
        f"{passed} {'setting' if passed == 1 else 'settings'} passed the tests. They keep the promise together, with "
        f"{percent(found.record.promise.confidence)} confidence, at any prices; what did not pass may not be served, "
        "however cheap."
    )


def prices_table(found: Repriced) -> Grid:
    """Every setting before and after."""
    is_labelled = not by_agreement(found.record.promise.labels)
    points, each = ("points", "solved") if is_labelled else (f"agrees with {found.record.reference}", "action")
    titles = ["setting", "passed", points, "$ before", "$ now"]
    titles += [f"saved before, of {found.record.serve}", f"saves now, of {found.serve}"]
    has_hours = any(one.per_solved for one in found.settings)
    titles += [f"$ per {each} at {percent(duty)} duty" for duty in DUTIES] if has_hours else []
    ranked = sorted(found.settings, key=lambda one: one.dollars.value)
    return Grid(tuple(titles), tuple(_line(found, one) for one in ranked))


def _line(found: Repriced, one: RepricedSetting) -> tuple[str, ...]:
    figures = one.kept.figures
    mark = " *" if one is found.chosen else ""
    return (
        one.kept.name + mark,
        "yes" if one.has_passed else "no",
        figure(figures.points, percent),
        figure(figures.dollars, in_dollars),
        ranged(one.dollars, in_dollars),
        UNKNOWN if one.kept.saving is None else figure(one.kept.saving, "{:.0%}".format),
        UNKNOWN if one.saving is None else ranged(one.saving, "{:.0%}".format),
        *(ranged(of, in_dollars) for of in one.per_solved),
    )


def figure(of: Figure, form: Callable[[float], str]) -> str:
    """A figure with its interval."""
    if of.low is None and of.high is None:
        return form(of.value)
    low, high = (UNKNOWN if end is None else form(end) for end in (of.low, of.high))
    return f"{form(of.value)} [{low} to {high}]"


def facts(found: Repriced) -> dict[str, object]:
    """The same for programs."""
    return {
        "serve": "auto" if found.route is not None else found.serve,
        "why": found.why,
        "was": found.record.certified,
        "chosen": None if found.chosen is None else found.chosen.kept.name,
        "is_same": found.is_same,
        "prices": msgspec.to_builtins({"before": found.before, "now": found.prices}),
        "savings": msgspec.to_builtins(found.savings),
        "settings": [
            {
                "setting": one.kept.name,
                "passed": one.has_passed,
                "points" if not by_agreement(found.record.promise.labels) else "agreement": msgspec.to_builtins(
                    one.kept.figures.points
                ),
                "dollars_before": msgspec.to_builtins(one.kept.figures.dollars),
                "dollars": msgspec.to_builtins(one.dollars),
                "saving_before": msgspec.to_builtins(one.kept.saving),
                "saving": msgspec.to_builtins(one.saving),
                "dollars_per_solved" if not by_agreement(found.record.promise.labels) else "dollars_per_action": {
                    f"{duty:g}": msgspec.to_builtins(of) for duty, of in zip(DUTIES, one.per_solved, strict=False)
                },
            }
            for one in found.settings
        ],
        "notes": list(found.notes),
    }
