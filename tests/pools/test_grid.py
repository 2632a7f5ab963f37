"""The file of settings: `each` makes several of one, and errors name their places."""

from __future__ import annotations

from pathlib import Path

import pytest

from made_pools import CONFIG
from tierwise import plan as planning
from tierwise.policies import BestOfN, Cascade, Majority, Single
from tierwise.policies.acceptance import CascadeSignal
from tierwise.pools.grid import Grid, read_grid
from tierwise.spec.budget import Budget
from tierwise.spec.errors import ConfigErrors

MANY = "{each: [" + ", ".join(map(str, range(1, 120))) + "]}"
PLAN = planning.parse(CONFIG, Path("tierwise.yaml"))


def read(folder: Path, text: str) -> Grid:
    (folder / "grid.yaml").write_text(text)
    return read_grid(folder / "grid.yaml", PLAN)


def test_each_makes_a_setting_for_every_combination(tmp_path):
    grid = read(
        tmp_path,
        "settings:\n"
        "  one: {tier: fast, policy: single}\n"
        "  vote: {tier: fast, policy: {majority: {n: {each: [3, 5]}, equality: {each: [auto, number]}}},\n"
        "         budget: {seconds: {each: [null, 9]}}}\n",
    )
    assert len(grid.settings) == 9
    assert [one.name for one in grid.settings][:3] == [
        "one",
        "vote n=3 equality=auto seconds=null",
        "vote n=3 equality=auto seconds=9",
    ]
    assert grid.settings[-1].policy == Majority(n=5, equality="number")
    assert grid.settings[-1].budget == Budget(seconds=9)
    assert grid.baseline == "one"


def test_each_works_in_lists(tmp_path):
    grid = read(
        tmp_path,
        "settings:\n"
        "  sure: {policy: {cascade: {tiers: [fast, best], signals: [{margin: {each: [0.5, 0.9]}}, {agreement: 2}]}}}\n"
        "  warm: {tier: fast, policy: {best_of_n: {n: 2, temperatures: [0.7, {each: [0.2, 1]}]}}}\n",
    )
    assert [one.name for one in grid.settings] == [
        "sure margin=0.5",
        "sure margin=0.9",
        "warm temperatures=0.2",
        "warm temperatures=1",
    ]
    tried = [one.policy for one in grid.settings]
    assert tried[1] == Cascade(ladder=("fast", "best"), signals=(CascadeSignal(margin=0.9), CascadeSignal(agreement=2)))
    assert tried[3] == BestOfN(n=2, temperatures=(0.7, 1))


def test_a_setting_may_be_a_tier_or_a_choice_among_whole_settings(tmp_path):
    grid = read(
        tmp_path,
        "baseline: plain\n"
        "settings:\n"
        "  plain: best\n"
        "  either: {tier: fast, policy: {each: [single, {best_of_n: {n: 2}}, {best_of_n: {n: 3}}]}}\n"
        "  ladder: {policy: {cascade: {tiers: [fast, plain]}}}\n",
    )
    names = [one.name for one in grid.settings]
    assert names[0] == "plain"
    assert len(set(names)) == len(names) == 5
    assert [type(one.policy) for one in grid.settings][1] is Single
    assert (grid.settings[-1].policy, grid.settings[-1].tier) == (Cascade(ladder=("fast", "plain")), "fast")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("settings: {}\n", "settings: is empty"),
        ("settings: {a: {tier: nope}}\n", "settings.a.tier: there is no tier 'nope'"),
        ("settings: {a: {policy: single}}\n", "settings.a: the key 'tier' is missing"),
        ("settings: {a: {tier: fast, policy: {majority: {n: {each: [3, 99]}}}}}\n", r"settings.a.policy.*<= 64"),
        ("settings: {a: {tier: fast, polcy: single}}\n", "settings.a.polcy: unknown key; did you mean 'policy'"),
        ("settings: {a: fast}\nbaseline: b\n", "baseline: there is no setting 'b'"),
        ("settings: {fast: fast}\n", "settings.fast: is already the name of a tier"),
        ("settings: {a: {policy: {cascade: {tiers: [fast, b]}}}}\n", "there is no tier or setting 'b'"),
        ("settings: {a: fast}\nprices: {nope: {prompt: 1}}\n", "prices.nope: there is no deployment 'nope'"),
        (f"settings: {{a: {{tier: fast, budget: {{passes: {MANY}, seconds: {MANY}}}}}}}\n", "10,000 are allowed"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, said):
    with pytest.raises(ConfigErrors, match=said):
        read(tmp_path, text)
