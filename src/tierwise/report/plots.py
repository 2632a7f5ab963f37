"""Quality against cost, and how long actions take: plots as SVG that needs neither a script nor a network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from tierwise.report import words
from tierwise.report.numbers import dollars, percent, seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tierwise.bench.records import Record
    from tierwise.bench.summary import Row, Summary

_COLOURS = ("#3b7dd8", "#d9702b", "#2f9e62", "#b8509e", "#9a8a1f", "#7a6fd0", "#c2453f", "#3d9aa3")
_WIDE = 20.0
"""How many times the smallest value the largest may be before an axis becomes logarithmic."""

MOST_TICKS = 400
"""Actions of one row that the latency plot shows one by one."""

_SHAPE = alt.Shape(
    "mode:N",
    legend=None,
    scale=alt.Scale(domain=["average", "max", "both"], range=["circle", "square", "diamond"]),
)


def quality_against_cost(summary: Summary, width: int) -> str | None:
    """Each row as a point with both its intervals, the two modes of a tier joined; None where no cost is known."""
    points = [_point(row) for row in summary.rows if row.quality is not None and row.dollars is not None]
    if not points:
        return None
    for position, point in enumerate(sorted(points, key=lambda one: (one["y"], one["x"]))):
        point["above"] = position % 2 == 1  # of two neighbours, the lower one has its name below
    x = _axis(
        "dollars per action",
        [point["x_low"] for point in points] + [point["x_high"] for point in points],
        width,
        room=1.3,
        form="$.12~f",
    )
    y = alt.Y("y:Q", title="share solved", axis=alt.Axis(format=".0%"), scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(_data(points)).encode(x=x, y=y, color=_colour(summary))
    layers = [
        base.mark_line(strokeWidth=1.5, strokeDash=[4, 3], opacity=0.8).encode(detail="tier:N", order="order:O"),
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(y="y_low:Q", y2="y_high:Q"),
        base.mark_rule(opacity=0.55, strokeWidth=1.5).encode(x="x_low:Q", x2="x_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(shape=_SHAPE, description="description:N"),
        *(
            base.transform_filter(f"datum.above == {above}")
            .mark_text(align="left", baseline="middle", dx=8, dy=dy)
            .encode(text="name:N")
            for above, dy in (("true", -10), ("false", 11))
        ),
    ]
    return _svg(alt.LayerChart(layer=layers), width=width, height=340)


def _axis(title: str, values: Sequence[float], width: int, *, room: float, form: str) -> alt.X:
    """An axis from nothing to the largest value, or a logarithmic one where the values lie far apart."""
    least, most = min(values), max(values)
    most = most or 1.0
    if not 0 < least < most / _WIDE:
        scale = alt.Scale(domain=[0, most * room], nice=False)
        return alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(format=form, tickCount=max(2, width // 150)))
    scale = alt.Scale(type="log", domain=[least / 1.2, most * room], nice=False)
    axis = alt.Axis(format=form, values=_round_values(least / 1.2, most * room), labelOverlap=True)
    return alt.X("x:Q", title=f"{title}, logarithmic", scale=scale, axis=axis)


def _round_values(least: float, most: float) -> list[float]:
    """1, 2 and 5 times every power of ten in between."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    values = (float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5))
    return [value for value in values if least <= value <= most]


def _point(row: Row) -> dict[str, Any]:
    quality, cost = row.quality, row.dollars
    if quality is None or cost is None or quality.interval is None:
        raise AssertionError
    name = words.name(row)
    return {
        "tier": row.tier,
        "mode": row.mode,
        "name": name,
        "order": 0 if row.mode == "average" else 1,
        "x": cost.value,
        "x_low": cost.value if cost.interval is None else cost.interval.low,
        "x_high": cost.value if cost.interval is None else cost.interval.high,
        "y": quality.value,
        "y_low": quality.interval.low,
        "y_high": quality.interval.high,
        "description": f"{name}: {percent(quality.value)} solved, {dollars(cost.value)} per action",
    }


def latency(summary: Summary, records: Sequence[Record], width: int) -> str | None:
    """Every answered action as a tick, with median (dot, its interval as a bar) and 95th percentile (diamond)."""
    names = {(row.tier, row.mode): words.name(row) for row in summary.rows}
    answered = [record for record in records if record.has_answer]
    if not answered:
        return None
    lengths = [record.seconds for record in answered]
    ticks = [
        {"name": names[variant.tier, variant.mode], "tier": variant.tier, "x": length}
        for variant in dict.fromkeys(record.variant for record in answered)
        for length in _thinned(sorted(record.seconds for record in answered if record.variant == variant))
    ]
    marks = [_marks(row) for row in summary.rows if row.action.p50 is not None]
    x = _axis("seconds of a whole action", lengths, width, room=1.1, form=".12~f")
    y = alt.Y(
        "name:N",
        title=None,
        sort=[names[row.tier, row.mode] for row in summary.rows],
        axis=alt.Axis(labelLimit=width // 3),
    )
    here = alt.Chart(_data(marks)).encode(y=y, color=_colour(summary))
    layers = [
        alt.Chart(_data(ticks)).mark_tick(thickness=1.5, opacity=0.3, size=20).encode(x=x, y=y, color=_colour(summary)),
        here.mark_rule(strokeWidth=4, opacity=0.75).encode(x=alt.X("low:Q"), x2="high:Q"),
        here.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("p50:Q"), description="description:N"),
        here.mark_point(filled=True, size=90, opacity=1, shape="diamond").encode(x=alt.X("p95:Q")),
    ]
    return _svg(alt.LayerChart(layer=layers), width=width, height=44 * len(marks))


def _thinned(lengths: list[float]) -> list[float]:
    """Some of very many, evenly, so that a plot stays a plot."""
    return lengths[:: math.ceil(len(lengths) / MOST_TICKS)]


def _marks(row: Row) -> dict[str, Any]:
    p50, p95 = row.action.p50, row.action.p95
    if p50 is None or p95 is None:
        raise AssertionError
    low, high = (p50.value, p50.value) if p50.interval is None else (p50.interval.low, p50.interval.high)
    return {
        "name": words.name(row),
        "tier": row.tier,
        "low": low,
        "high": high,
        "p50": p50.value,
        "p95": p95.value,
        "description": f"{words.name(row)}: median {seconds(p50.value)}, 95th percentile {seconds(p95.value)}",
    }


def _colour(summary: Summary) -> alt.Color:
    tiers = list(dict.fromkeys(row.tier for row in summary.rows))
    shades = [_COLOURS[position % len(_COLOURS)] for position in range(len(tiers))]
    return alt.Color("tier:N", legend=None, scale=alt.Scale(domain=tiers, range=shades))


def _data(values: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=values)


def _svg(chart: alt.LayerChart, *, width: int, height: int) -> str:
    """The plot with no colour of its own for text and grid, which the page sets for light and dark."""
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
    svg: str = vl_convert.vegalite_to_svg(fitted.to_dict(), vl_version=".".join(alt.SCHEMA_VERSION[1:].split(".")[:2]))
    return svg.replace(' xmlns="http://www.w3.org/2000/svg"', "").replace(
        ' xmlns:xlink="http://www.w3.org/1999/xlink"', ""
    )
