"""What a calibration measured, as a table for the terminal, and the settings that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from tierwise.report.numbers import UNKNOWN, percent

if TYPE_CHECKING:
    from tierwise.pools.calibrating import Calibrated, CutResult


def calibration_table(found: Calibrated) -> Table:
    """One row for each signal, the most discriminating first."""
    shown = Table(box=None, pad_edge=False, header_style="bold", title=heading(found), title_justify="left")
    shown.add_column("signal")
    for title in ("AUROC within questions", "95 %", "questions", "answers"):
        shown.add_column(title, justify="right")
    shown.add_column("")
    for row in found.signals:
        ends = row.interval
        shown.add_row(
            row.signal,
            UNKNOWN if row.auroc is None else f"{row.auroc:.3f}",
            UNKNOWN if ends is None else f"[{ends.low:.3f}, {ends.high or 1.0:.3f}]",
            str(row.questions),
            str(row.answers),
            Text("" if row.calibration is not None else f"refused: {row.why_not}", style="dim"),
        )
    return shown


def heading(found: Calibrated) -> str:
    return f"tier {found.tier}, deployment {found.deployment}, {'thinking' if found.thinking else 'no thinking'}"


def settings(found: Calibrated) -> list[str]:
    """Lines of a config file: the best calibration, and a cut if one ends more wrong passes than right ones."""
    lines = []
    best = found.best
    if best is None:
        lines.append("# no signal tells right from wrong answers to one question: leave `confidence` out")
    else:
        made = msgspec.to_builtins(best.calibration)
        body = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in made.items())
        lines.append(f"confidence: {{{body}}}")
    if found.cut is not None:
        lines.append(_cut(found.cut))
    return lines


def _cut(found: CutResult) -> str:
    ends = f"ends {percent(found.wrong)} of the wrong and {percent(found.right)} of the right answers"
    if not found.is_useful:
        return f"# a cut {ends}: leave `cut` out"
    return f"cut: {{below: {found.cut.below:g}, window: {found.cut.window}}}   # {ends}"
