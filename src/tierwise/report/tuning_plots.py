"""Plots of what `tierwise tune` found: the frontier, and the reliability of signals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from tierwise.report.numbers import dollars, percent, probability, seconds
from tierwise.report.plots import AXIS, COLOURS, HEIGHT, LINE, axis, data, ends, place_names, svg

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tierwise.pools.calibrating import SignalResult
    from tierwise.stats.estimates import Estimate
    from tierwise.tuning.findings import Candidate

_KINDS = ("route", "fixed tier", "shown above")


def frontier_by_dollars(found: Sequence[Candidate], names: dict[int, str], quality: str, width: int) -> str | None:
    """Points against dollars.

    Args:
        found: the settings.
        names: those that have a label, by setting.
        quality: what the share of points is called.
        width: pixels.
    """
    return _frontier(found, names, quality, width, "dollars per action", "$.12~f", lambda one: one.measured.dollars)


def frontier_by_seconds(found: Sequence[Candidate], names: dict[int, str], quality: str, width: int) -> str | None:
    """Points against the 95th percentile of the seconds."""
    title = "95th percentile of an action, in seconds"
    return _frontier(found, names, quality, width, title, ".12~f", lambda one: one.measured.p95_seconds)


def _frontier(
    found: Sequence[Candidate],
    names: dict[int, str],
    quality: str,
    width: int,
    title: str,
    form: str,
    read: Callable[[Candidate], Estimate | None],
) -> str | None:
    points = [
        _point(one, one.measured.points, cost, names.get(one.setting, ""), quality)
        for one in found
        if one.measured.points is not None and (cost := read(one)) is not None
    ]
    if not points:
        return None
    low, high = min(one["y_low"] for one in points), max(one["y_high"] for one in points)
    room = 0.05 * (high - low) or 0.05
    domain = [max(0.0, low - room), min(1.0, high + room)]
    named = [one for one in points if one["name"]]
    place_names(named, (domain[1] - domain[0]) / HEIGHT * LINE)
    x = axis(title, [one[end] for one in points for end in ("x_low", "x_high")], width, room=1.3, form=form)
    y_axis = alt.Axis(format=".0%")
    y = alt.Y("y:Q", title=quality, axis=y_axis, scale=alt.Scale(domain=domain, zero=False, nice=False))
    shades = alt.Scale(domain=list(_KINDS), range=["#8a8f98", COLOURS[0], COLOURS[1]])
    shade = alt.Color("kind:N", legend=None, scale=shades)
    base = alt.Chart(data(points)).encode(x=x, y=y, color=shade)
    layers: list[alt.Chart] = [
        base.mark_rule(opacity=0.4, strokeWidth=1.5).encode(y="y_low:Q", y2="y_high:Q"),
        base.mark_rule(opacity=0.4, strokeWidth=1.5).encode(x="x_low:Q", x2="x_high:Q"),
        *(
            base.transform_filter(f"datum.surely == {surely}")
            .mark_point(filled=filled, size=80, opacity=1, strokeWidth=2)
            .encode(description="description:N")
            for surely, filled in (("true", True), ("false", False))
        ),
    ]
    if named:
        text = alt.Chart(data(named)).encode(x=x, color=shade)
        layers.append(
            text.mark_text(align="left", baseline="middle", dx=9).encode(
                y=alt.Y("name_y:Q", scale=alt.Scale(domain=domain, zero=False, nice=False)), text="name:N"
            )
        )
    return svg(alt.LayerChart(layer=layers), width=width, height=HEIGHT + AXIS)


def _point(one: Candidate, quality: Estimate, cost: Estimate, name: str, said: str) -> dict[str, Any]:
    x_low, x_high = ends(cost)
    y_low, y_high = ends(quality)
    kind = "shown above" if name == "auto" else "fixed tier" if name else "route"
    reached = [f"{said} {percent(quality.value)}"]
    if one.measured.dollars is not None:
        reached.append(f"{dollars(one.measured.dollars.value)} per action")
    reached.append(f"95th percentile {seconds(one.measured.p95_seen)}")
    return {
        "name": name,
        "kind": kind,
        "surely": one.membership >= 0.5,
        "x": cost.value,
        "x_low": x_low,
        "x_high": x_high,
        "y": quality.value,
        "y_low": y_low,
        "y_high": y_high,
        "description": f"{name or one.name}: {', '.join(reached)}, on the frontier {probability(one.membership)}",
    }


def reliability(found: SignalResult, right: str, width: int) -> str | None:
    """The reliability diagram of a signal: what was predicted for answers, and the share that is right, or is what
    counts as right.
    """
    bins = [
        {
            "x": one.predicted,
            "y": one.right,
            "low": one.right if one.interval is None else one.interval.low,
            "high": one.right if one.interval is None or one.interval.high is None else one.interval.high,
            "size": one.answers,
            "description": f"predicted {percent(one.predicted)}, {right} {percent(one.right)} of {one.answers} answers",
        }
        for one in found.reliability
    ]
    if not bins:
        return None
    unit, share = alt.Scale(domain=[0, 1], nice=False), alt.Axis(format=".0%", tickCount=5)
    x = alt.X("x:Q", title="predicted from other questions", scale=unit, axis=share)
    y = alt.Y("y:Q", title=right, scale=unit, axis=share)
    even = alt.Chart(data([{"x": 0.0, "y": 0.0}, {"x": 1.0, "y": 1.0}])).mark_line(
        strokeDash=[4, 3], strokeWidth=1.5, color="#8a8f98"
    )
    base = alt.Chart(data(bins)).encode(x=x)
    layers = [
        even.encode(x=x, y=y),
        base.mark_rule(strokeWidth=2, opacity=0.5, color=COLOURS[0]).encode(y=alt.Y("low:Q", scale=unit), y2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1, color=COLOURS[0]).encode(y=y, description="description:N"),
    ]
    return svg(alt.LayerChart(layer=layers), width=min(width, 420), height=HEIGHT + AXIS)


def calibration(found: SignalResult, right: str, width: int) -> str | None:
    """The isotonic calibration of a signal: the share of right answers by its value, which may only rise."""
    if len(found.isotonic) < 2:
        return None
    steps = [
        {"x": value, "y": share, "description": f"{found.signal} {value:.4g}: {percent(share)} {right}"}
        for value, share in found.isotonic
    ]
    values = alt.Scale(zero=False, nice=False)
    x = alt.X("x:Q", title=found.signal.replace("_", " "), scale=values, axis=alt.Axis(tickCount=4))
    share_axis = alt.Axis(format=".0%", tickCount=5)
    y = alt.Y("y:Q", title=right, scale=alt.Scale(domain=[0, 1], nice=False), axis=share_axis)
    base = alt.Chart(data(steps)).encode(x=x, y=y)
    layers = [
        base.mark_line(strokeWidth=2, color=COLOURS[0]),
        base.mark_point(filled=True, size=50, opacity=1, color=COLOURS[0]).encode(description="description:N"),
    ]
    return svg(alt.LayerChart(layer=layers), width=min(width, 420), height=HEIGHT + AXIS)
