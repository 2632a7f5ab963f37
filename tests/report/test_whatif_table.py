"""The table of the effect of more and fewer active experts."""

from __future__ import annotations

import pytest

from fake_runs import record
from tierwise.analysis.lever_effects import lever_effects
from tierwise.moe.perplexity import TextLoss, perplexities
from tierwise.report.numbers import UNKNOWN
from tierwise.report.whatif_table import table
from written_runs import run

SEEN = [
    TextLoss(tier=tier, text=name, cluster=name, tokens=10, nats=nats + more)
    for name, nats in (("a", 20.0), ("b", 22.0), ("c", 25.0))
    for tier, more in (("k8", 0.0), ("k4", 1.0 + nats / 100))
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Twelve tasks: eight experts solve them all, four solve every second one."""
    records = [
        record(f"t{number}", outcome, tier=tier)
        for number in range(12)
        for tier, outcome in (("k8", "correct"), ("k4", "incorrect" if number % 2 else "correct"))
    ]
    return lever_effects(run(tmp_path_factory.mktemp("run") / "run", records), "k8")


def test_quality_speed_and_perplexity_stand_beside_each_other(found):
    whole, fewer = table(found, perplexities(SEEN)).rows
    assert (whole[:3], whole[6]) == (("k8", "100 %", UNKNOWN), UNKNOWN)
    assert whole[5].startswith("9.33 [")
    assert fewer[1:3][0] == "50 %"
    assert fewer[2].startswith("-50.0 [")
    assert fewer[6].startswith("× 1.13 [")


def test_without_perplexity_the_rest_is_shown(found):
    assert [row[5:] for row in table(found, []).rows] == [(UNKNOWN, UNKNOWN)] * 2
