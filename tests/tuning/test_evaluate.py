from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_pools import question
from made_tunings import CONFIG, LADDER, LADDER_TIERS, VOTES, recording, said
from tierwise.policies import Single
from tierwise.pools.reading import read_pool
from tierwise.pools.replaying import Replayer
from tierwise.shadowing.comparing import differ
from tierwise.spec.errors import ConfigErrors, SpecError
from tierwise.testing import solve
from tierwise.tuning.evaluate import Searched, search_space
from tierwise.tuning.space import Route, cascaded, setting_of
from tierwise.tuning.split import split


def searched(path: Path, *, orders: int = 2, reference: str = "", tasks: int = 50, **more: Any) -> Searched:
    pool = read_pool(recording(path / "pool", tasks, **more))
    parts = split([one.task for one in pool.tasks])
    with Replayer(pool, pool.plan.file.prices) as replayer:
        return search_space(replayer, parts, orders=orders, reference=reference)


def verified(number: int, **more: Any) -> Any:
    """Every third task brings a verifier, whose judgement counts and not a signal's."""
    verifier = {"verifier": {"regex": {"pattern": "4"}}} if number % 3 == 0 else {}
    return question(number, **verifier, **more)


SHARED = CONFIG.replace(
    "tiers:", "tiers:\n  middle: {deployment: small, policy: {majority: {n: 3}}, sampling: {temperature: 0.7}}"
)
"""The middle tier's votes take over the cheap tier's draw."""
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(
    ("config", "questions"),
    [
        (CONFIG, [verified(number) for number in range(50)]),
        (VOTES, [verified(number) for number in range(50)]),
        (CONFIG, [question(number, tools=[TOOL] if number % 2 else []) for number in range(50)]),
        (LADDER, [verified(number) for number in range(50)]),
        (LADDER, [question(number, tools=[TOOL] if number % 2 else []) for number in range(50)]),
        (SHARED, [verified(number) for number in range(50)]),
    ],
    ids=["single", "votes", "tools", "ladder", "ladder with tools", "ladder with votes of its cheap tier"],
)
def test_every_threshold_does_what_a_replay_of_its_route_does(tmp_path, config, questions):
    tiers = LADDER_TIERS if config == LADDER else None
    pool = read_pool(recording(tmp_path / "pool", questions=questions, config=config, is_random=True, tiers=tiers))
    parts = split([one.task for one in pool.tasks])
    with Replayer(pool, pool.plan.file.prices) as replayer:
        found = search_space(replayer, parts, orders=2)
        ladders = [one for one in found.routes if len(one.ladder) == 3]
        assert bool(ladders) == (config in (LADDER, SHARED))
        routes = random.Random(0).sample(found.routes, 14) + random.Random(1).sample(ladders, min(14, len(ladders)))
        variants = [setting_of(pool.plan, one) for one in found.space.variants]
        tried = [cascaded(f"~{one.name}", one.ladder, "best", *one.signals) for one in routes if len(one.ladder) > 1]
        actions = dict(zip((one.name for one in tried), replayer.run([*tried, *variants], orders=2), strict=False))
    evaluated = found.evaluated
    for route in routes:
        if len(route.ladder) == 1:
            continue
        direct, place = actions[f"~{route.name}"], found.routes.index(route)
        of_task = [[one for one in direct if one.task == task] for task in range(50)]
        for values, name in ((evaluated.correct, "correct"), (evaluated.dollars, "dollars")):
            means = [np.mean([getattr(one, name) for one in actions]) for actions in of_task]
            assert values[place] == pytest.approx(means), route.name
        assert evaluated.seconds[place].tolist() == [[one.seconds for one in actions] for actions in of_task]
        kept = [np.mean([one.asked != route.ladder[-1] for one in actions]) for actions in of_task]
        assert evaluated.kept[place] == pytest.approx(kept)


def test_hundreds_of_settings_follow_from_a_handful_of_replays(tmp_path):
    found = searched(tmp_path, config=VOTES, is_random=True, tasks=80, orders=1)
    assert len(found.routes) >= 500
    assert len(set(found.routes)) == len(set(found.evaluated.names)) == len(found.routes)


def test_the_reference_never_harms_itself_on_shared_draws(tmp_path):
    found = searched(tmp_path, config=VOTES, is_random=True)
    place = found.index("best")
    assert not found.evaluated.harm[place].any()
    assert not found.evaluated.gain[place].any()
    assert not found.evaluated.disagreement[place].any()


def test_a_passed_on_answer_is_the_references_own(tmp_path):
    found = searched(tmp_path, is_random=True)
    evaluated = found.evaluated
    never = (evaluated.kept == 0).all(axis=1)
    assert never.any()
    assert not evaluated.harm[never & ["→" in name for name in evaluated.names]].any()


def test_a_random_reference_harms_itself_and_a_deterministic_one_does_not(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    random_one = searched(tmp_path / "a", is_random=True)
    assert random_one.own_harm == pytest.approx(0.15 * 0.85, abs=0.06)
    assert not random_one.is_least
    assert searched(tmp_path / "b").own_harm == 0


def test_a_votes_own_harm_is_a_lower_bound(tmp_path):
    found = searched(tmp_path, config=VOTES, is_random=True, orders=3)
    assert found.is_least
    assert 0 <= found.own_harm < 0.15


def test_the_reference_is_the_last_tier_of_the_route_or_the_dearest(tmp_path):
    unrouted = CONFIG.replace("routes:\n  auto: {cascade: [fast, best]}\n", "")
    for number, (config, wanted, expected) in enumerate(
        [
            (CONFIG, "", "best"),
            (unrouted, "", "best"),
            (CONFIG, "fast", "fast"),
        ]
    ):
        (tmp_path / str(number)).mkdir()
        assert searched(tmp_path / str(number), config=config, reference=wanted).space.reference == expected


def test_an_unknown_reference_is_refused(tmp_path):
    with pytest.raises(ConfigErrors, match="nobody"):
        searched(tmp_path, reference="nobody")


def test_one_tier_is_nothing_to_choose_from(tmp_path):
    alone = CONFIG.replace("  best: {deployment: large", "  slow: {deployment: large").replace("[fast, best]", "[fast]")
    alone = alone.replace("policy: single, sampling: {temperature: 0}", "policy: {majority: {n: 9}}")
    with pytest.raises(SpecError, match=r"nothing to choose from: the pool answers 1 of 2 tiers \(slow is left out"):
        searched(tmp_path, config=alone, tiers={"fast": 1})


def test_tiers_that_are_the_same_are_refused(tmp_path):
    same = CONFIG.replace("{prompt: 20, completion: 20}", "{prompt: 1, completion: 1}")
    draw = said(cheap_wrong=0.2, best_wrong=0.2)
    with pytest.raises(SpecError, match="are the same on this pool"):
        searched(tmp_path, config=same, says=lambda task, _, number: draw(task, "best", number))


def test_a_tier_that_the_pool_cannot_answer_is_left_out_and_named(tmp_path):
    config = CONFIG.replace(
        "routes:", "  many: {deployment: small, policy: {majority: {n: 9}}, sampling: {temperature: 0.7}}\nroutes:"
    )
    found = searched(tmp_path, config=config)
    assert any("many" in why and "9" in why for why in found.left_out)
    assert Route(ladder=("many",)) not in found.routes


def test_without_log_probabilities_agreement_and_length_remain(tmp_path):
    draw = said()
    found = searched(tmp_path, says=lambda *at: replace(draw(*at), logprob=None, alternatives=()))
    kinds = {one.kind for route in found.routes for one in route.signals}
    assert kinds == {"agreement", "length"}


def test_a_route_over_two_cheaper_tiers_has_a_threshold_for_each(tmp_path):
    found = searched(tmp_path, config=LADDER, tiers=LADDER_TIERS, is_random=True, tasks=80)
    ladders = [one for one in found.routes if len(one.ladder) == 3]
    assert {one.ladder for one in ladders} == {("fast", "middle", "best")}
    assert 20 < len(ladders) <= 144
    assert len({tuple(signal.kind for signal in one.signals) for one in ladders}) == 1  # the best of each step
    assert all(one.steps == tuple((signal,) for signal in one.signals) for one in ladders)


def test_a_middle_tier_that_cannot_pay_is_no_step(tmp_path):
    dear = LADDER.replace("medium: {prompt: 4, completion: 4}", "medium: {prompt: 19.9, completion: 19.9}")
    found = searched(tmp_path, config=dear, tiers=LADDER_TIERS)
    assert "middle" in found.space.cheap
    assert not [one for one in found.routes if len(one.ladder) == 3]


def test_a_ladder_that_needs_more_draws_than_there_are_is_left_out_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tierwise.tuning.evaluate.AGREEMENTS", ())  # they take draws too
    config = SHARED.replace("{n: 3}", "{n: 4}")
    draw = said(is_random=True)

    def truncated(task: int, tier: str, number: int) -> Any:
        """The first draw of some tasks, which the middle tier's vote then cannot take over."""
        one = draw(task, tier, number)
        is_short = tier == "fast" and number == 0 and task % 5 == 0
        return replace(one, finish="length", outcome="incorrect") if is_short else one

    found = searched(tmp_path, config=config, says=truncated, orders=1, tasks=50)
    assert not [one for one in found.routes if len(one.ladder) == 3]
    assert [one for one in found.routes if one.ladder == ("fast", "best")]
    left = [why for why in found.left_out if "fast → middle → best are left out" in why]
    assert len(left) == 1
    assert "draw 5 is needed" in left[0]


def test_routes_that_need_more_draws_than_there_are_are_left_out_and_named(tmp_path):
    votes = CONFIG.replace(
        "fast: {deployment: small, policy: single", "fast: {deployment: small, policy: {majority: {n: 4}}"
    )
    found = searched(tmp_path, config=votes, is_random=True, tasks=60)
    left = [why for why in found.left_out if why.startswith("some routes fast → best are left out")]
    assert len(left) == 1
    assert "draw 5 is needed" in left[0]
    routes = [one for one in found.routes if one.ladder == ("fast", "best")]
    assert routes
    assert not [one for one in routes if any(signal.agreement == 3 for signal in one.signals)]


def test_answers_are_compared_as_shadowed_ones_are(tmp_path):
    """By the form of the request's verifier, and with the unit that was asked for."""
    units = [{"role": "user", "content": "How many cents are 4 euros? Answer in cents."}]
    tasks = [
        question(
            number,
            messages=[*(units if number % 2 else []), {"role": "user", "content": f"{number}?"}],
            **({"verifier": {"number": {}}} if number % 3 == 0 else {}),
        )
        for number in range(50)
    ]
    texts, says = {"fast": "so 400 cents", "best": "The answer is 400"}, said()
    directory = recording(
        tmp_path / "pool",
        questions=tasks,
        says=lambda task, tier, draw: replace(says(task, tier, draw), text=texts[tier]),
    )
    pool = read_pool(directory)
    with Replayer(pool, pool.plan.file.prices) as replayer:
        found = search_space(replayer, split([one.task for one in pool.tasks]), orders=1, labels="agreement")
    place, seen = found.index("fast"), set()
    for index, one in enumerate(pool.tasks):
        (cheap, trace), (best, other) = (solve(Single(), texts[tier], prompt=one.prompt) for tier in ("fast", "best"))
        verifier = None if one.task.verifier is None else one.task.verifier.member
        expected = asyncio.run(differ(cheap, trace.passes, best, other.passes, verifier))
        seen.add(expected)
        assert found.evaluated.disagreement[place][index] == expected
        assert found.evaluated.harm[place][index] == expected
    assert seen == {True, False}


EXPERTS = """
checkpoints:
  moe: {source: "file:/none/moe.gguf"}
deployments:
  four: {engine: llama.cpp, checkpoint: moe, active_experts: 4, slots: 4, context: 512}
  eight: {engine: llama.cpp, checkpoint: moe, active_experts: 8, slots: 4, context: 512}
tiers:
  fast: {deployment: four, policy: single, sampling: {temperature: 0.7}}
  middle: {deployment: eight, policy: single, sampling: {temperature: 0.7}}
  both: {policy: {diverse_experts: {tiers: [fast, middle]}}}
  best: {deployment: eight, policy: {majority: {n: 4}}, sampling: {temperature: 0.7}}
prices:
  four: {prompt: 1, completion: 1}
  eight: {prompt: 2, completion: 2}
"""


def test_a_vote_over_tiers_is_a_fixed_tier_and_a_cheap_one(tmp_path):
    tiers = {"fast": 1, "middle": 1}
    found = searched(tmp_path, config=EXPERTS, tiers=tiers, is_random=True, draws=5, orders=1, reference="best")
    assert "both" in found.space.fixed
    assert "both" in found.space.cheap
    both, four, eight = (found.evaluated.dollars[found.index(name)] for name in ("both", "fast", "middle"))
    assert (four < both).all()
    assert (both <= four + eight).all()
