"""What a calibration measured, as a table for the terminal, and the settings that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from rich.table import Table
from rich.text import Text

from tierwise.report.numbers import UNKNOWN, percent

if TYPE_CHECKING:
    from tierwise.pools.calibrating import Calibrated, CutResult
    from tierwise.stats.estimates import Interval


def calibration_table(found: Calibrated) -> Table:
    """One row for each signal, the most discriminating within questions first."""
    shown = Table(box=None, pad_edge=False, header_style="bold", title=heading(found), title_justify="left")
    shown.add_column("signal")
    for title in ("AUROC within questions", "95 %", "questions", "AUROC of all answers", "95 %", "error", "answers"):
        shown.add_column(title, justify="right")
    shown.add_column("for votes")
    for row in found.signals:
        shown.add_row(
            row.signal,
            UNKNOWN if row.auroc is None else f"{row.auroc:.3f}",
            _ends(row.interval),
            str(row.questions),
            UNKNOWN if row.overall is None else f"{row.overall.value:.3f}",
            _ends(None if row.overall is None else row.overall.interval),
            UNKNOWN if row.calibration_error is None else f"{row.calibration_error:.3f}",
            str(row.answers),
            Text("" if row.calibration is not None else f"refused: {row.why_not}", style="dim"),
        )
    return shown


def reliability_table(found: Calibrated) -> Table | None:
    """The deciles of the signal that discriminates best over all answers, with the share that is right and the one that
    isotonic regression on other questions predicts; None if no signal has them.
    """
    best = max(
        (one for one in found.signals if one.reliability and one.overall is not None),
        key=lambda one: one.overall.value if one.overall else 0.0,
        default=None,
    )
    if best is None:
        return None
    title = f"reliability of {best.signal}"
    shown = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for name in (best.signal, "answers", "predicted", "right", "95 %"):
        shown.add_column(name, justify="right")
    for one in best.reliability:
        ends = one.interval
        shown.add_row(
            f"{one.low:.4g} to {one.high:.4g}",
            str(one.answers),
            percent(one.predicted),
            percent(one.right),
            UNKNOWN if ends is None else f"{percent(ends.low)} to {percent(1.0 if ends.high is None else ends.high)}",
        )
    return shown


def combination_line(found: Calibrated) -> str:
    """Whether a learned combination of the signals is worth its while."""
    learned = found.combination
    if learned is None:
        return "no combination of signals: fewer than two have right and wrong answers"
    if learned.why_not:
        return f"combination of signals: refused, {learned.why_not}"
    gain = learned.gain
    said = "" if gain is None else f" {gain.value:+.3f} {_ends(gain.interval, signed=True)} beyond {learned.best}"
    weights = ", ".join(f"{one.signal} {one.weight:+.2f}" for one in learned.weights)
    return f"combination of signals: AUROC{said}; weights per standard deviation: {weights}"


def _ends(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return UNKNOWN
    low, high = interval.low, 1.0 if interval.high is None else interval.high
    return f"[{low:+.3f}, {high:+.3f}]" if signed else f"[{low:.3f}, {high:.3f}]"


def heading(found: Calibrated) -> str:
    thinking = "thinking" if found.thinking else "no thinking"
    return f"tier {found.tier}, deployment {found.deployment}, {thinking}, {found.alternatives} alternatives"


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
