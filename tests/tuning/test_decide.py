from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from made_evaluations import routes
from made_pools import question
from tierwise.policies.acceptance import CascadeSignal
from tierwise.spec.errors import SpecError
from tierwise.tuning.certify import Promises
from tierwise.tuning.decide import Decision, decide, outlook
from tierwise.tuning.evaluate import Searched
from tierwise.tuning.measured import Measures
from tierwise.tuning.space import Route, Space
from tierwise.tuning.split import split

STEPS = 40


def made(
    tasks: int = 1000, *, own_harm: float = 0.0, change: Any = None, **more: Any
) -> tuple[Searched, Any, Measures]:
    """A space of thresholds: the first setting is `fast` alone, the last is `best` alone, the rest are routes."""
    evaluated = routes(tasks, steps=STEPS, **more)
    names = ["fast", *evaluated.names[1:-1], "best"]
    rng = np.random.default_rng(9)
    dollars = (0.1 + 0.9 * (1 - evaluated.kept)) * rng.uniform(0.8, 1.2, evaluated.harm.shape[1])
    evaluated = replace(evaluated, names=tuple(names), dollars=dollars)
    if change is not None:
        evaluated = change(evaluated)
    ladders = [
        Route(ladder=("fast", "best"), signals=(CascadeSignal(margin=at / STEPS),)) for at in range(1, STEPS - 1)
    ]
    listed = (Route(ladder=("fast",)), *ladders, Route(ladder=("best",)))
    searched = Searched(
        space=Space(reference="best", fixed=("fast", "best"), cheap=("fast",), variants=()),
        routes=listed,
        evaluated=evaluated,
        orders=1,
        own_harm=own_harm,
        is_least=False,
        largest={"fast": 1.0, "best": 1.0},
        left_out=(),
    )
    questions = [question(number) for number in range(tasks)]
    parts = split(questions)
    return searched, parts, Measures(evaluated, questions, parts.test)


def decided(*args: Any, promises: Promises | None = None, **more: Any) -> Decision:
    searched, parts, measures = made(*args, **more)
    return decide(searched, parts, promises or Promises(limit=0.05), measures)


def test_a_route_that_pays_is_served():
    found = decided()
    assert found.route is not None
    assert found.serve == "best"
    assert found.saving is not None
    assert found.saving.interval.low > 0
    assert set(found.figures) >= {"fast", "best"}
    assert found.confirmed.tasks == 200
    assert found.confirmed.low <= found.confirmed.risk <= found.confirmed.bound


def test_where_all_answers_are_right_the_cheapest_tier_is_served():
    found = decided(cheap_wrong=0.0)
    assert found.route is None
    assert found.serve == "fast"
    assert "keeps the promise alone" in found.why


def test_where_no_answer_of_the_reference_is_right_nothing_is_promised():
    def wrong(of: Any) -> Any:
        return replace(of, correct=np.zeros_like(of.correct), harm=np.zeros_like(of.harm))

    with pytest.raises(SpecError, match=r"no answer of 'best' is right.*--reference"):
        decided(change=wrong)


def test_a_score_that_says_nothing_leaves_the_reference():
    def shuffled(of: Any) -> Any:
        rng = np.random.default_rng(3)
        harm = np.where(of.kept > 0, rng.random(of.harm.shape[1])[None, :] < 0.4, 0.0)
        harm[-1] = 0
        return replace(of, harm=harm, first_harm=harm, correct=1 - harm)

    found = decided(change=shuffled, promises=Promises(limit=0.02))
    assert found.serve == "best"
    assert found.route is None or found.saving.value < 0.06


def test_a_saving_that_may_be_none_is_not_worth_it():
    def dear(of: Any) -> Any:
        dollars = np.ones_like(of.dollars) * np.linspace(0.9999, 1, STEPS)[:, None]
        rng = np.random.default_rng(0)
        return replace(of, dollars=dollars * rng.uniform(0.5, 1.5, dollars.shape))

    found = decided(change=dear)
    assert found.route is None
    assert "may not be cheaper" in found.why or "nothing cheaper" in found.why or "contradict" in found.why


def test_a_reference_that_harms_itself_more_than_is_allowed_is_refused_with_the_ways_out():
    with pytest.raises(SpecError, match=r"harms itself.*--promise net.*deterministic reference.*--loss 0.12"):
        decided(own_harm=0.118)
    assert decided(own_harm=0.118, promises=Promises(kind="net", limit=0.05)) is not None


def test_too_few_tasks_are_refused_with_what_they_could_show():
    with pytest.raises(SpecError, match=r"needs 149 .*calibration tasks.*has 100: give about 1.5 times.*--loss"):
        decided(200, promises=Promises(limit=0.02))


def test_parts_that_contradict_each_other_are_not_certified():
    searched, parts, measures = made()
    harm = searched.evaluated.harm.copy()
    harm[:-1, parts.test] = 1
    evaluated = replace(searched.evaluated, harm=harm, first_harm=harm)
    found = decide(replace(searched, evaluated=evaluated), parts, Promises(limit=0.05), measures)
    assert found.route is None
    assert "contradict" in found.why


def test_nothing_that_passes_is_said_with_the_closest_setting_and_the_labels_it_takes():
    def harmful(of: Any) -> Any:
        rng = np.random.default_rng(0)
        harm = (rng.random(of.harm.shape[1]) < 0.045)[None, :] * np.ones((STEPS, 1))
        harm[-1] = 0
        return replace(of, harm=harm, first_harm=harm, correct=1 - harm)

    found = decided(change=harmful)
    assert found.certified is None
    assert found.closest is not None
    assert "nothing cheaper keeps the promise for certain" in found.why
    assert found.outlook.labels_for_expected > found.outlook.tasks


def test_the_outlook_needs_the_labels_of_the_tables():
    searched, parts, _ = made()
    assert [outlook(searched, parts, Promises(limit=one)).labels for one in (0.05, 0.02, 0.01)] == [59, 149, 299]
    seen = outlook(searched, parts, Promises(limit=0.05))
    assert seen.tasks == 500
    assert 0 < seen.saving < 1
    assert seen.labels_for_expected <= seen.tasks


def test_the_outlook_of_clusters_needs_those_of_a_bet():
    searched, parts, _ = made()
    units = np.arange(1000) // 2
    clustered = replace(searched, evaluated=replace(searched.evaluated, units=units))
    parts = replace(parts, units=units)
    assert outlook(clustered, parts, Promises(limit=0.05)).labels == 59
    assert outlook(clustered, parts, Promises(limit=0.05, kind="net")).labels > 78


def test_measures_know_a_tier_that_costs_nothing():
    searched, parts, measures = made()
    free = replace(searched.evaluated, dollars=np.zeros_like(searched.evaluated.dollars))
    questions = [question(number) for number in range(1000)]
    assert Measures(free, questions, parts.test).saving(0, 1) is None
    assert measures.saving(1, 0) is not None


def test_a_latency_needs_labels_too():
    searched, parts, _ = made(100)
    assert outlook(searched, parts, Promises(limit=0.2, p95=8.0)).labels == 59
