"""How many times the CPU of the floor of Python a request of Tierwise may take, in one run of `overhead.py`.

The floor (`proxies.py`) has no feature, so that the ratio is what our features cost, on any machine. Lower a bound when
a change makes requests cheaper. `docs/serving.md` states them.
"""

from __future__ import annotations

BOUNDS = {
    "cpu_us_json_c1": 14.0,
    "cpu_us_json_c32": 28.0,
    "cpu_us_stream_c1": 7.0,
    "cpu_us_stream_c32": 5.0,
}
"""By name of a figure: half as much again as was measured last, and more for streams. The floor is low, and varies by a
third.
"""


def exceeded(table: dict[str, dict[str, float]]) -> list[str]:
    """A sentence for each bound that the figures of `tierwise` exceed, next to those of `floor` in the same run."""
    ours, floor = table["tierwise"], table["floor"]
    ratios = {name: ours[name] / max(floor[name], 1.0) for name in BOUNDS}
    return [
        f"{name}: {ours[name]:.0f} is {ratio:.1f} × the floor's {floor[name]:.0f}; allowed are {BOUNDS[name]:g} ×"
        for name, ratio in ratios.items()
        if ratio > BOUNDS[name]
    ]
