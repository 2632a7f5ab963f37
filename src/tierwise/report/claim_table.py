"""Published scores beside reproduced ones, for the terminal and the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from tierwise.report.numbers import UNKNOWN, interval, percent, points
from tierwise.spec.claims import UNKNOWN as UNSTATED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tierwise.analysis.claims import ClaimCheck

HEADS = ("claim", "claimed", "reproduced here", "difference", "verdict")

ABOUT = (
    "A verdict is given where suite, part, mode and harness are the same. It follows from the 95 % interval of the "
    "difference: within, if all of it is inside the claim’s margin. On the same tasks the interval describes these "
    "tasks asked again, and no others."
)


def table(claims: Sequence[ClaimCheck]) -> Table:
    """One row for each claim and row of the run."""
    shown = Table(box=None, pad_edge=False, padding=(0, 1, 1, 0), header_style="bold")
    for head, most in zip(HEADS, (20, 7, 15, 14, 20), strict=True):
        shown.add_column(head, vertical="top", max_width=most, justify="left" if most == 20 else "right")
    for claim in claims:
        shown.add_row(
            _with(claim.row, f"{claim.suite}: {claim.how}"),
            claimed(claim),
            _with(*reproduced(claim)),
            _with(*difference(claim)),
            _with(claim.verdict, claim.why),
        )
    return shown


def claimed(claim: ClaimCheck) -> str:
    """As precise as it was published."""
    return f"{100 * claim.claimed:.1f} %"


def reproduced(claim: ClaimCheck) -> tuple[str, str]:
    """The share solved; its interval and number of tasks or clusters."""
    found = claim.reproduced
    return (UNKNOWN, "") if found is None else (percent(found.value), f"{interval(found, percent)}, n = {found.n}")


def difference(claim: ClaimCheck) -> tuple[str, str]:
    """Reproduced minus claimed, in points; its interval, or why it has none: two greedy scores have no noise."""
    found = claim.difference
    if found is None:
        return UNKNOWN, ""
    is_exact = found.interval is not None and found.interval.low == found.interval.high
    return points(found.value), "both are greedy" if is_exact else interval(found, points)


def sources(claims: Sequence[ClaimCheck]) -> Iterator[str]:
    """Who claims what, with what speaks against it: each claim once."""
    said = (
        f"{one.suite} {claimed(one)} ({one.how}): {one.source}; {one.stands_in}"
        + "".join(f"; {doubt}" for doubt in _facts(one))
        for one in claims
    )
    yield from dict.fromkeys(said)


def _facts(claim: ClaimCheck) -> Iterator[str]:
    if claim.samples is not None:
        yield "greedy" if claim.samples == "greedy" else f"samples of a task: {claim.samples}"
    if claim.harness != UNSTATED:
        yield f"harness {claim.harness}"
    if claim.date != UNSTATED:
        yield claim.date
    yield from claim.doubts


def _with(main: str, note: str) -> Text:
    return Text.assemble(main, "\n", (note, "dim"))
