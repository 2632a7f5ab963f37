"""`tierwise policies`, and the page that is written from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tierwise.cli.policies import as_markdown, described
from tierwise.policies import PolicyChoice
from tierwise.stopping import ScoreStopChoice, StopChoice
from tierwise.stopping.curves import simulated

PAGE = Path(__file__).parents[2] / "docs" / "stopping.md"


def tierwise(*arguments: str) -> str:
    command = [sys.executable, "-m", "tierwise", "policies", *arguments]
    environment = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=60).stdout


def test_every_policy_and_every_rule_is_listed_with_its_settings_and_what_it_does():
    shown = " ".join(tierwise().split())
    for table in (PolicyChoice, StopChoice, ScoreStopChoice):
        for one in described(table):
            assert one["does"].endswith(".")
            assert one["does"] in shown
            assert f"{one['name']} {{{one['settings']}}}" in shown if one["settings"] else one["name"] in shown


def test_every_rule_has_a_measured_curve_and_every_curve_a_rule_that_can_be_configured():
    found = simulated()
    assert {one.rule for one in found.curves} == set(StopChoice.__struct_fields__)
    for one in [*found.curves, *found.finish_order]:
        assert msgspec.convert(
            {one.rule: {key: _whole(value) for key, value in one.settings.items()}}, StopChoice
        ).member
        assert set(one.on) == set(found.workloads)
        assert all(0 < at.votes <= 1 and at.low <= at.points <= at.high for at in one.on.values())


def test_a_rule_on_scores_has_curves_and_beats_the_same_number_of_draws_for_every_prompt():
    found = simulated()
    rules = [one for one in found.scored if one.rule != "best_of" and not one.without_scores]
    assert {one.rule for one in rules} == set(ScoreStopChoice.__struct_fields__)
    for rule in rules:
        same = [one for one in found.scored if one.rule == "best_of" and one.auroc == rule.auroc]
        for name, at in rule.on.items():
            assert at.low <= at.points <= at.high
            as_dear = [one.on[name] for one in same if one.on[name].votes <= at.votes]
            assert all(at.points > one.points for one in as_dear)


def _whole(value: float) -> float:
    return int(value) if value.is_integer() else value


@pytest.mark.parametrize(("workload", "votes"), [("easy", 0.37), ("mixed", 0.52), ("hard", 0.63)])
def test_the_figures_reach_the_goals_by_votes_alone(workload, votes):
    default = next(one for one in simulated().curves if one.title == "predictive {probability: 0.98}")
    assert default.on[workload].votes <= votes
    assert default.on[workload].points >= -0.4


def test_json_has_policies_rules_and_figures():
    found = json.loads(tierwise("--json"))
    assert found["figures"]["tasks"] == 20_000
    names = {*StopChoice.__struct_fields__, *ScoreStopChoice.__struct_fields__}
    assert {one["name"] for one in found["rules"]} == names


def test_the_page_shows_the_tables_as_they_are():
    _, _, shown = PAGE.read_text(encoding="utf-8").partition("<!-- tierwise policies --markdown -->\n")
    rules = described(StopChoice) + described(ScoreStopChoice)
    assert shown == as_markdown(rules, simulated()), "the figures have changed: run `make curves`"
