"""Plots of quality against cost, of selection, and of latency, as SVG without scripts or network access."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import altair as alt
import vl_convert

from tierwise.report import sentences
from tierwise.report.numbers import dollars, percent, probability, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.analysis.rows import ResultRow, Times
    from tierwise.analysis.selection import Selection
    from tierwise.analysis.summary import RunSummary
    from tierwise.runs.records import TrialRecord
    from tierwise.stats.estimates import Estimate

COLOURS = ("#3b7dd8", "#d9702b", "#2f9e62", "#b8509e", "#9a8a1f", "#7a6fd0", "#c2453f", "#3d9aa3")
_WIDE = 20.0
"""An axis is logarithmic if its largest value is more than this many times its smallest."""

MOST_TICKS = 200
"""Actions of one row that a latency plot shows; if there are more, they are thinned evenly."""

LatencyMeasure = Literal["action", "first_output", "gap"]

_TITLES: dict[LatencyMeasure, str] = {
    "action": "seconds of a whole action",
    "first_output": "seconds until the first output",
    "gap": "mean seconds between two pieces of an answer",
}

HEIGHT, AXIS, LINE, BAND = 280, 60, 15, 34
"""Pixels: height of a plot, height of its axis, height of a line of text, height of one row in a plot of rows."""

_SHAPE = alt.Shape(
    "mode:N",
    legend=None,
    scale=alt.Scale(domain=["average", "max", "both"], range=["circle", "square", "diamond"]),
)


def quality_against_cost(summary: RunSummary, width: int) -> str | None:
    """Each row as a point with both intervals; the two modes of a tier are joined. None where no cost is known."""
    points = [_point(row) for row in summary.rows if row.quality is not None and row.dollars is not None]
    if not points:
        return None
    low, high = min(point["y_low"] for point in points), max(point["y_high"] for point in points)
    room = 0.05 * (high - low) or 0.05
    domain = [max(0.0, low - room), min(1.0, high + room)]
    place_names(points, (domain[1] - domain[0]) / HEIGHT * LINE)
    x = axis(
        "dollars per action",
        [point["x_low"] for point in points] + [point["x_high"] for point in points],
        width,
        room=1.3,
        form="$.12~f",
    )
    scale = alt.Scale(domain=domain, zero=False, nice=False)
    y = alt.Y("y:Q", title="share solved", axis=alt.Axis(format=".0%"), scale=scale)
    base = alt.Chart(data(points)).encode(x=x, y=y, color=_colour(summary))
    layers = [
        base.mark_line(strokeWidth=1.5, strokeDash=[4, 3], opacity=0.8).encode(detail="tier:N", order="order:O"),
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(y="y_low:Q", y2="y_high:Q"),
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(x="x_low:Q", x2="x_high:Q"),
        *(
            base.transform_filter(f"datum.surely == {surely}")
            .mark_point(filled=filled, size=90, opacity=1, strokeWidth=2)
            .encode(shape=_SHAPE, description="description:N")
            for surely, filled in (("true", True), ("false", False))
        ),
        base.mark_text(align="left", baseline="middle", dx=9).encode(y="name_y:Q", text="name:N"),
    ]
    return svg(alt.LayerChart(layer=layers), width=width, height=HEIGHT + AXIS)


def place_names(points: list[dict[str, Any]], line: float) -> None:
    """Set the y position of each point's label so that labels do not overlap.

    Args:
        points: of the plot.
        line: the height of a line of text, in units of the share.
    """
    taken = -math.inf
    for point in sorted(points, key=lambda one: (one["y"], one["x"])):
        point["name_y"] = taken = max(point["y"] + 0.6 * line, taken + line)


def axis(title: str, values: Sequence[float], width: int, *, room: float, form: str) -> alt.X:
    """An axis from zero to the largest value, or a logarithmic one where the values span more than `_WIDE`."""
    least, most = min(values), max(values)
    most = most or 1.0
    if not 0 < least < most / _WIDE:
        scale = alt.Scale(domain=[0, most * room], nice=False)
        return alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(format=form, tickCount=max(2, width // 150)))
    scale = alt.Scale(type="log", domain=[least / 1.2, most * room], nice=False)
    ticks = alt.Axis(format=form, values=_round_values(least / 1.2, most * room), labelOverlap=True)
    return alt.X("x:Q", title=f"{title}, logarithmic", scale=scale, axis=ticks)


def _round_values(least: float, most: float) -> list[float]:
    """1, 2 and 5 times each power of ten between the bounds."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    values = (float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5))
    return [value for value in values if least <= value <= most]


def _point(row: ResultRow) -> dict[str, Any]:
    quality, cost = row.quality, row.dollars
    if quality is None or cost is None:
        raise AssertionError
    name = sentences.name(row)
    x_low, x_high = ends(cost)
    y_low, y_high = ends(quality)
    sure = "" if row.on_frontier is None else f", on the frontier with {probability(row.on_frontier)}"
    return {
        "tier": row.tier,
        "mode": row.mode,
        "name": name,
        "order": 0 if row.mode == "average" else 1,
        "surely": row.on_frontier is None or row.on_frontier >= 0.5,
        "x": cost.value,
        "x_low": x_low,
        "x_high": x_high,
        "y": quality.value,
        "y_low": y_low,
        "y_high": y_high,
        "description": f"{name}: {percent(quality.value)} solved, {dollars(cost.value)} per action{sure}",
    }


def ends(estimate: Estimate) -> tuple[float, float]:
    """The ends of its interval; where an end is missing, the value itself."""
    low, high = (estimate.value, None) if estimate.interval is None else (estimate.interval.low, estimate.interval.high)
    return low, estimate.value if high is None else high


def selections(summary: RunSummary, width: int) -> str | None:
    """Per tier, the share solved and the coverage; and the share that a perfect choice over all tiers would solve."""
    if not summary.selections:
        return None
    names = [sentences.name(one) for one in summary.selections]
    x = alt.X("x:Q", title="share solved", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format=".0%"))
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=width // 3))
    base = alt.Chart(data([_selection(one) for one in summary.selections])).encode(y=y, color=_colour(summary))
    layers: list[alt.Chart] = [
        base.mark_rule(strokeWidth=8, opacity=0.3).encode(x=x, x2="covered:Q"),
        base.mark_point(filled=True, size=100, opacity=1).encode(x=x, description="description:N"),
        base.mark_tick(thickness=3, size=22, opacity=1).encode(x=alt.X("covered:Q")),
    ]
    if summary.oracle is not None:
        oracle = alt.Chart(data([{"x": summary.oracle.solved.value}]))
        layers.append(oracle.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="#8a8f98").encode(x=x))
    return svg(alt.LayerChart(layer=layers), width=width, height=AXIS + BAND * len(names))


def _selection(found: Selection) -> dict[str, Any]:
    return {
        "name": sentences.name(found),
        "tier": found.tier,
        "x": found.selected.value,
        "covered": found.coverage.value,
        "description": sentences.selection(found),
    }


def latency(
    summary: RunSummary, records: Sequence[TrialRecord], width: int, measure: LatencyMeasure = "action"
) -> str | None:
    """Each answered action as a tick, with median (dot; its interval as a bar) and 95th percentile (diamond)."""
    names = {(row.tier, row.mode): sentences.name(row) for row in summary.rows}
    read = _SECONDS[measure]
    known = [(record, seconds) for record in records if record.has_answer and (seconds := read(record)) is not None]
    if not known:
        return None
    lengths = [seconds for _, seconds in known]
    ticks = [
        {"name": names[variant.tier, variant.mode], "tier": variant.tier, "x": length}
        for variant in dict.fromkeys(record.variant for record, _ in known)
        for length in _thinned(sorted(seconds for record, seconds in known if record.variant == variant))
    ]
    marks = [_marks(row, times) for row in summary.rows if (times := getattr(row, measure)).n]
    x = axis(_TITLES[measure], lengths, width, room=1.1, form=".12~f")
    y = alt.Y(
        "name:N",
        title=None,
        sort=[names[row.tier, row.mode] for row in summary.rows],
        axis=alt.Axis(labelLimit=width // 3),
    )
    here = alt.Chart(data(marks)).encode(y=y, color=_colour(summary))
    layers = [
        alt.Chart(data(ticks)).mark_tick(thickness=1.5, opacity=0.3, size=20).encode(x=x, y=y, color=_colour(summary)),
        here.mark_rule(strokeWidth=4, opacity=0.75).encode(x=alt.X("low:Q"), x2="high:Q"),
        here.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("p50:Q"), description="description:N"),
        here.mark_point(filled=True, size=90, opacity=1, shape="diamond").encode(x=alt.X("p95:Q")),
    ]
    return svg(alt.LayerChart(layer=layers), width=width, height=AXIS + BAND * len(marks))


_SECONDS: dict[LatencyMeasure, Callable[[TrialRecord], float | None]] = {
    "action": lambda record: record.seconds,
    "first_output": lambda record: record.first_output,
    "gap": lambda record: record.mean_gap,
}


def _thinned(lengths: list[float]) -> list[float]:
    """At most `MOST_TICKS` of the values, evenly spaced."""
    return lengths[:: math.ceil(len(lengths) / MOST_TICKS)]


def _marks(row: ResultRow, times: Times) -> dict[str, Any]:
    """The quantiles of one row; None for those that have no interval."""
    name, p50, p95 = sentences.name(row), times.p50, times.p95
    low, high = (None, None) if p50 is None else ends(p50)
    known = [f"{text} {seconds(one.value)}" for text, one in (("median", p50), ("95th percentile", p95)) if one]
    return {
        "name": name,
        "tier": row.tier,
        "low": low,
        "high": high,
        "p50": None if p50 is None else p50.value,
        "p95": None if p95 is None else p95.value,
        "description": f"{name}: {', '.join(known) or f'{times.n} actions, too few for a median'}",
    }


def _colour(summary: RunSummary) -> alt.Color:
    tiers = list(dict.fromkeys(row.tier for row in summary.rows))
    shades = [COLOURS[position % len(COLOURS)] for position in range(len(tiers))]
    return alt.Color("tier:N", legend=None, scale=alt.Scale(domain=tiers, range=shades))


def data(values: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=values)


def svg(chart: alt.LayerChart, *, width: int, height: int) -> str:
    """The plot as SVG. The page sets the colours of text and grid, for light and dark mode."""
    fitted = chart.properties(
        width=width,
        height=height,
        background="transparent",
        padding=12,
        autosize=alt.AutoSizeParams(type="fit", contains="padding"),
    ).configure(
        font="Arial, Liberation Sans, sans-serif",
        axis=alt.AxisConfig(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", domain=False),
        text=alt.MarkConfig(fontSize=12),
        view=alt.ViewConfig(stroke=None),
    )
    drawn: str = vl_convert.vegalite_to_svg(
        fitted.to_dict(), vl_version=".".join(alt.SCHEMA_VERSION[1:].split(".")[:2])
    )
    return drawn.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
