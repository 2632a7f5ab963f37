"""Dollars per solved action of a run where machines are paid by the hour, idle time included."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from made_pools import Said, make, question
from tierwise.analysis.summary import RunSummary, summary_of
from tierwise.report import sentences

CONFIG = """
deployments:
  small: {engine: http, url: "http://127.0.0.1:1/v1", model: small, slots: 4}
  large: {engine: http, url: "http://127.0.0.1:2/v1", model: large, slots: 2}
tiers:
  fast: {deployment: small, policy: single, sampling: {temperature: 0.7}}
  best: {deployment: large, policy: single, sampling: {temperature: 0.8}}
prices:
  small: {prompt: 5, completion: 10, dollars_per_hour: 3}
  large: {prompt: 5, completion: 9}
"""
TOKENS = (20 * 5 + 5 * 10) / 1e6
"""Dollars of the tokens of an action of `fast`; it costs 0.001 in all."""


def summary(path: Path, *, config: str = CONFIG, solved: int = 2) -> RunSummary:
    def said(task: int, tier: str, draw: int) -> Said:
        return Said(outcome="correct" if task % 3 < solved else "incorrect")

    tasks = [question(number) for number in range(30)]
    return summary_of(make(path, tasks, said, draws=1, config=config, tiers={"fast": 1, "best": 1}))


def test_an_hour_is_paid_whether_anything_runs_in_it_or_not(tmp_path):
    (row,) = summary(tmp_path / "run").duties
    assert (row.tier, row.mode) == ("fast", "both")
    time = 0.001 - TOKENS
    values = [one.value for one in row.per_solved if one is not None]
    assert values == pytest.approx([(TOKENS + time / duty) * 3 / 2 for duty in (0.05, 0.5, 1.0)])
    for one in row.per_solved:
        assert one is not None
        assert one.interval is not None
        assert one.interval.low < one.value


def test_at_full_duty_it_is_what_actions_cost(tmp_path):
    found = summary(tmp_path / "run")
    (fast,) = (row for row in found.rows if row.tier == "fast")
    assert found.duties[0].per_solved[-1] == fast.dollars_per_solved


def test_the_report_says_it_in_a_sentence(tmp_path):
    (said,) = sentences.duties(summary(tmp_path / "run"))
    assert said.startswith("fast, dollars per solved action: $0.")
    assert "at 5 % duty" in said
    assert "at 100 % duty" in said
    assert list(sentences.duties(summary(tmp_path / "none", solved=0))) == []


def test_prices_by_token_have_no_idle_time(tmp_path):
    assert summary(tmp_path / "run", config=CONFIG.replace(", dollars_per_hour: 3", "")).duties == []


def test_a_config_file_that_this_version_cannot_read_has_none(tmp_path):
    found = make(tmp_path / "run", [question(0)], lambda *_: Said(), draws=1, config=CONFIG, tiers={"fast": 1})
    manifest = found.read_manifest()
    other = msgspec.structs.replace(manifest.config, text=CONFIG.replace("policy: single", "policy: gone"))
    found.write_manifest(msgspec.structs.replace(manifest, config=other))
    assert summary_of(found).duties == []
