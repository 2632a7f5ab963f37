"""Dollars per solved action at several duties, for readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.analysis.duty import DUTIES
from tierwise.report.grid import Grid
from tierwise.report.numbers import dollars, percent, ranged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tierwise.stats.estimates import Estimate

TITLE = "What idle hours cost"
SAID = (
    "Dollars per {what} where machines are paid by the hour, also while nothing runs on them. The duty is the "
    "share of a machine's hours in which anything runs; at 100 % an action costs its share of busy time alone. Other "
    "figures here are at 100 %."
)


def duty_section(found: Mapping[str, Sequence[Estimate | None]], *, is_labelled: bool = True) -> str:
    """A section of a report; empty where nothing is paid by the hour.

    Args:
        found: by setting.
        is_labelled: whether it is per solved action; per action if not.
    """
    if not found:
        return ""
    titles = ("", *(f"{percent(duty)} duty" for duty in DUTIES))
    rows = tuple((name, *(ranged(of, dollars) for of in several)) for name, several in found.items())
    said = SAID.format(what="solved action" if is_labelled else "action")
    return f"\n## {TITLE}\n\n{said}\n\n{Grid(titles, rows).as_markdown()}\n"


def duty_facts(found: Mapping[str, Sequence[Estimate | None]]) -> dict[str, dict[str, Estimate | None]]:
    """The same for programs: by setting and duty."""
    return {
        name: {f"{duty:g}": of for duty, of in zip(DUTIES, several, strict=True)} for name, several in found.items()
    }
