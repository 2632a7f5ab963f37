"""A policy on a pool does what it does on the live path: same answer, passes, tokens, seconds and dollars."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from made_pools import Said, pool, question
from pools.live import live
from tierwise.policies import PolicyChoice
from tierwise.pools.grid import Setting
from tierwise.pools.replaying import Replayer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Pass
from tierwise.spec.errors import SpecError

POLICIES: dict[str, list[Any]] = {
    "fast": [{"single": {}}, *({"majority": {"n": n}} for n in (2, 3, 6)), {"best_of_n": {"n": 5}}],
    "best": [
        {"majority": {"n": 4, "equality": "number"}},
        {"best_of_n": {"n": 6, "verifier": {"number": {"equals": 4}}}},
        {"majority": {"n": 5, "cut": {"below": 2.0, "window": 2}}},
    ],
    "auto": [
        {"cascade": {"tiers": ["fast", "best"], **more}}
        for more in (
            {},
            {"signals": [{"agreement": 3}]},
            {"signals": [{"margin": 0.5}, {"length": 4}]},
            {"signals": [{"entropy": 0.5}, {"tail_confidence": 2.0}], "cut": {"below": 2.0, "window": 3}},
        )
    ],
}
SURE = (-0.25, -2.0, -3.0, -4.0, -5.0)
UNSURE = (-1.0, -1.25, -1.5, -2.0, -3.0)
"""Five alternatives each, with a confidence of 2.85 and 1.75."""
VERIFIERS = [None, {"number": {"equals": 4}}, {"regex": {"pattern": "^[0-9]"}}, {"choice": {"options": ["4", "7"]}}]


def setting(tier: str, policy: Any, budget: Budget | None = None, name: str = "tried") -> Setting:
    choice = msgspec.convert(policy, PolicyChoice)
    return Setting(name=name, tier=tier, policy=choice.member, verifier=choice.verifier, budget=budget or Budget())


@st.composite
def pools(draw: st.DrawFn) -> Any:
    tasks = draw(st.integers(1, 3))
    verifiers = [draw(st.sampled_from(VERIFIERS)) for _ in range(tasks)]
    times = iter(draw(st.permutations(range(1, 2 * 8 * tasks + 1))))
    said = {}
    for task in range(tasks):
        for tier in ("fast", "best"):
            again = Said(
                text=draw(st.sampled_from(["4", "7", "it is 4 apples"])),
                thinking="so two and",
                tokens=draw(st.integers(1, 6)),
                first=0.01,
                seconds=draw(st.floats(0.02, 0.9)),
                logprob=draw(st.sampled_from([None, -0.25])),
                alternatives=SURE,
            )
            for number in range(8):
                if draw(st.integers(0, 3)) == 0:
                    first = 0.01 + next(times) * 0.0137
                    tokens = draw(st.integers(1, 12))
                    lost = tokens, first, first + tokens * draw(st.floats(0.011, 0.2))
                    said[task, tier, number] = replace(again, lost=lost)
                    continue
                tokens = draw(st.integers(0, 12))
                first = 0.01 + next(times) * 0.0137  # no two passes end at the same moment
                said[task, tier, number] = Said(
                    text=draw(st.sampled_from(["4", "7", "it is 4 apples", "none of it", "x 9"])) if tokens else "",
                    tokens=tokens,
                    first=first,
                    seconds=first + tokens * draw(st.floats(0.011, 0.2)),
                    prompt=draw(st.integers(1, 50)),
                    logprob=draw(st.sampled_from([None, -0.5, -0.25, -1.0])),
                    alternatives=draw(st.sampled_from([(), SURE, UNSURE])),
                    finish=draw(st.sampled_from(["stop", "stop", "length"])) if tier == "best" else "stop",
                )
    return [question(index, verifier=one) for index, one in enumerate(verifiers)], said


budgets = st.builds(
    Budget,
    passes=st.none() | st.integers(1, 6),
    completion_tokens=st.none() | st.integers(1, 40),
    seconds=st.none() | st.floats(0.05, 4.0),
)
tried = st.sampled_from([(tier, policy) for tier, policies in POLICIES.items() for policy in policies])


def _both_cut(passes: list[Pass], budget: Budget) -> bool:
    """Whether a deadline cut several passes. They end at the same moment, in no order, and the first that a decisive
    verifier accepts is the answer.
    """
    return budget.seconds is not None and sum(done.outcome == "cut" for done in passes) > 1


@settings(
    max_examples=40,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # to shrink a whole pool takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(pools(), tried, budgets)
def test_a_policy_on_a_pool_does_what_it_does_live(tmp_path_factory, made, policy, budget):
    tasks, said = made
    one = pool(tmp_path_factory.mktemp("pool") / "p", tasks, lambda *key: said[key], draws=8)
    asked = setting(*policy, budget)
    with Replayer(one, one.plan.file.prices) as replayer:
        (found,) = replayer.run([asked], timing="recorded")
    for index, ours in enumerate(found):
        theirs = live(one, asked, index)
        answer = None if theirs.answer is None else theirs.answer.completion
        if not (answer and ours.answer and answer.text != ours.answer.text and _both_cut(theirs.passes, asked.budget)):
            assert (ours.answer and ours.answer.text) == (answer and answer.text)
            assert (ours.answer and ours.answer.finish) == (answer and answer.finish)
        assert ours.passes == len(theirs.passes)
        assert ours.completion == sum(done.usage.completion for done in theirs.passes)
        assert ours.prompt == sum(done.usage.prompt for done in theirs.passes)
        assert ours.seconds == pytest.approx(theirs.seconds, abs=1e-9)
        assert ours.dollars == pytest.approx(theirs.dollars)


@pytest.mark.parametrize("bound", ["reasoning_tokens", "dollars"])
def test_a_bound_that_a_pool_cannot_replay_is_refused_and_never_ignored(tmp_path, bound):
    one = pool(tmp_path / "p", [question(0)], lambda *_: Said(text="4", tokens=3), draws=2)
    with Replayer(one, one.plan.file.prices) as replayer, pytest.raises(SpecError, match=f"budget.{bound} is not"):
        replayer.run([setting("fast", {"single": {}}, Budget(**{bound: 1}))], timing="recorded")
