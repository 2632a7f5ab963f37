"""The findings of a routing recording as one HTML page that needs no network and runs no script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined

from tierwise.report import heat, numbers

if TYPE_CHECKING:
    from tierwise.moe.routed import Recording
    from tierwise.moe.routing_findings import Findings

HOTTEST = 20
"""The number of hottest experts that the page lists."""


def page(recording: Recording, found: Findings) -> str:
    """The page as HTML."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = Path(__file__).with_name("routing_page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        recording=recording,
        found=found,
        layers=found.load.layers,
        picture=heat.picture(found.load.layers),
        most=heat.MOST,
        hottest=found.load.hottest(HOTTEST),
        numbers=numbers,
        spread=[
            (name, about, found.over_layers(read))
            for name, about, read in (
                ("balancedness", "mean over maximum load; 1 is even", lambda layer: layer.balancedness),
                ("entropy of the choices", "1 is even", lambda layer: layer.entropy),
                ("coefficient of variation", "0 is even", lambda layer: layer.variation),
                ("experts used", "share that received any token", lambda layer: layer.active / len(layer.counts)),
                (
                    "entropy of the gate",
                    "nats, if the engine reports probabilities",
                    lambda layer: layer.router_entropy,
                ),
            )
        ],
    )
