"""What a recording of a config file draws, and how much of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tierwise import plan as planning
from tierwise.pools.sources import drawn_at_once, sources_of

CONFIG = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: small, slots: 6}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large, slots: 256}
tiers:
  fast: {deployment: small, policy: single}
  also: {deployment: small, policy: {majority: {n: 3}}}
  best: {deployment: large, policy: single, sampling: {temperature: 0.8}}
routes:
  auto: {cascade: [fast, best]}
"""


@pytest.mark.parametrize(
    ("deployments", "tiers", "at_once"),
    [([], ["fast", "best"], 6), (["small"], ["fast"], 6), (["large"], ["best"], 32)],
)
def test_every_slot_of_the_smallest_deployment_draws_but_no_more_than_any_action_needs(deployments, tiers, at_once):
    plan = planning.parse(CONFIG, Path("tierwise.yaml"))
    recorded = [source.tier for source in sources_of(plan, deployments)]
    assert recorded == tiers
    assert drawn_at_once(plan, recorded) == at_once
