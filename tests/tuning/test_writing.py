from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from made_tunings import CONFIG, LADDER, VOTES
from tierwise import plan as planning
from tierwise.policies.acceptance import CascadeSignal
from tierwise.spec.errors import SpecError
from tierwise.tuning.space import Route, cascaded, variants_of
from tierwise.tuning.writing import parsed, with_route

FILE = Path("config/tierwise.yaml")
ROUTE = Route(ladder=("fast", "best"), signals=(CascadeSignal(margin=0.9123), CascadeSignal(agreement=2)))
BLOCK = """
deployments:
    small: {engine: http, url: "http://127.0.0.1:1/v1"}
    large: {engine: http, url: "http://127.0.0.1:2/v1"}
tiers:
    fast: {deployment: small, policy: single}
    best: {deployment: large, policy: single}
routes:  # ours
    # the old one
    auto:
        cascade: [fast, best]
        signals:
            - {agreement: 2}
    other: {cascade: [fast]}
# the end
prices: {}
"""


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (CONFIG, ["# what we serve", "# the dear one"]),
        (BLOCK, ["# ours", "# the old one", "# the end", "    other: {cascade: [fast]}"]),
        (BLOCK.replace("routes:", "unused:").split("unused:", 1)[0], []),
        (CONFIG.replace("routes:\n  auto: {cascade: [fast, best]}", "routes: {auto: {cascade: [fast, best]}}"), []),
    ],
    ids=["short", "blocks", "no routes", "inline"],
)
def test_the_route_is_written_and_the_rest_is_kept(text, kept):
    written = with_route(text, FILE, ROUTE, planning.parse(text, FILE))
    before, after = yaml.safe_load(text), yaml.safe_load(written)
    route = after["routes"].pop("auto")
    assert route["signals"] == [{"margin": 0.9123}, {"agreement": 2}]
    assert route["certificate"] == "certificate.json"
    (before.get("routes") or {}).pop("auto", None)
    assert {**before, "routes": before.get("routes") or {}} == after
    assert all(line in written for line in kept)
    assert parsed(written, FILE).tiers["auto"].policy.member.signals == ROUTE.signals


def test_a_route_over_two_cheaper_tiers_is_written_with_the_signals_of_each_step():
    signals = (CascadeSignal(margin=0.9123), CascadeSignal(entropy=0.4))
    route = Route(ladder=("fast", "middle", "best"), signals=signals)
    written = with_route(LADDER, FILE, route, planning.parse(LADDER, FILE))
    assert "steps: [[{margin: 0.9123}], [{entropy: 0.4}]]" in written
    policy = parsed(written, FILE).tiers["auto"].policy.member
    assert policy == cascaded("", route.ladder, "best", *signals).policy


def test_a_variant_of_the_reference_becomes_a_tier():
    plan = planning.parse(VOTES, FILE)
    variant = next(iter(variants_of(plan, "best")))
    route = Route(ladder=("fast", variant.name), signals=ROUTE.signals, variant=variant)
    made = parsed(with_route(VOTES, FILE, route, plan), FILE)
    assert made.tiers[variant.name].policy.member == variant.policy.member
    assert made.tiers[variant.name].deployment == "large"
    assert made.tiers[variant.name].sampling == plan.tiers["best"].sampling


def test_relative_sources_lead_to_the_same_file_from_the_folder_of_the_copy(tmp_path):
    text = CONFIG + 'checkpoints:\n  m: {source: "file:m.gguf"}\n  n: {source: ["file:/x/a b.gguf", "hf:o/r/f@1"]}\n'
    plan = planning.parse(text, tmp_path / "tierwise.yaml")
    made = with_route(text, tmp_path / "tierwise.yaml", ROUTE, plan, folder=tmp_path / "tuned" / "first")
    written = yaml.safe_load(made)
    assert written["checkpoints"]["m"]["source"] == "file:../../m.gguf"
    assert written["checkpoints"]["n"]["source"] == ["file:/x/a b.gguf", "hf:o/r/f@1"]
    assert "# the dear one" in made


def test_a_tier_with_the_routes_name_is_refused():
    text = CONFIG.replace("routes:\n  auto: {cascade: [fast, best]}\n", "").replace("fast:", "auto:")
    with pytest.raises(SpecError, match="rename the tier"):
        with_route(text, FILE, ROUTE, planning.parse(text, FILE))
