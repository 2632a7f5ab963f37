"""A vote over tiers of one mixture that differ in their active experts."""

from __future__ import annotations

import pytest

from tierwise.engines.engine import Deployment
from tierwise.plan import load
from tierwise.policies import DiverseExperts, Single
from tierwise.run import Action, Tier
from tierwise.spec.budget import Budget
from tierwise.spec.errors import Broken, ConfigErrors
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen, new_trace

NAMES = ("few", "usual", "many")
CONFIG = """
checkpoints: {moe: {source: "file:moe"}, other: {source: "file:other"}}
deployments:
  moe: {engine: transformers, checkpoint: moe}
  other: {engine: transformers, checkpoint: other}
tiers:
  few: {deployment: moe, policy: single, sampling: {active_experts: 6}}
  usual: {deployment: moe, policy: single, sampling: {active_experts: 8}}
  max: {deployment: moe, policy: {diverse_experts: {tiers: [few, usual], draws: 2}}}
"""


def solved(policy, *engines, budget=None):
    """The answer and the trace; each tier has an engine and a number of active experts of its own."""

    async def main():
        trace, tiers = new_trace(), {}
        for place, (name, engine) in enumerate(zip(NAMES, engines, strict=True)):
            deployment = Deployment(name=name, engine=engine, slots=1)
            sampling = {"active_experts": 4 + 2 * place}
            tiers[name] = Tier(name=name, deployment=deployment, policy=Single(), sampling=sampling)
        asked = Tier(name="max", deployment=tiers["usual"].deployment, policy=policy, budget=budget or Budget())
        return await Action(asked, trace, tiers=tiers).solve(ask_user("2+2?")), trace

    return frozen(main())


def test_every_tier_votes_with_its_own_number_of_active_experts():
    engines = [ScriptedEngine("4"), ScriptedEngine("5"), ScriptedEngine("4")]
    answer, trace = solved(DiverseExperts(of=NAMES), *engines)
    assert (answer.completion.text, answer.agreement, answer.tier) == ("4", pytest.approx(2 / 3), "few")
    assert [call.prompt.fields["active_experts"] for engine in engines for call in engine.calls] == [4, 6, 8]
    assert {done.tier for done in trace.passes} == set(NAMES)


def test_if_every_vote_is_lost_to_thinking_the_answer_is_recovered():
    engines = [ScriptedEngine(Reply(thinking="hm"), "4", thinking_off={"think": False}) for _ in NAMES]
    answer, trace = solved(DiverseExperts(of=NAMES), *engines)
    assert answer.completion.text == "4"
    assert [done.call.role for done in trace.passes].count("recovery") == 1


def test_a_tie_goes_to_the_tier_named_first():
    answer, _ = solved(DiverseExperts(of=NAMES), *(ScriptedEngine(text) for text in "567"))
    assert (answer.completion.text, answer.tier) == ("5", "few")


def test_a_tie_goes_to_the_answer_that_was_drawn_first_as_tiers_take_turns():
    engines = [ScriptedEngine("", "5"), ScriptedEngine("6", ""), ScriptedEngine("", "")]
    answer, _ = solved(DiverseExperts(of=NAMES, draws=2), *engines)
    assert (answer.completion.text, answer.tier) == ("6", "usual")


def test_it_draws_so_many_votes_from_each_and_stops_when_they_cannot_change_the_answer():
    engines = [ScriptedEngine("4") for _ in NAMES]
    answer, trace = solved(DiverseExperts(of=NAMES, draws=3), *engines)
    assert answer.completion.text == "4"
    assert 5 <= sum(done.outcome == "finished" for done in trace.passes) <= len(trace.passes) <= 9
    assert DiverseExperts(of=NAMES, draws=3).most(lambda _: Budget()).passes == 9


def test_a_tier_that_fails_is_no_vote():
    engines = [ScriptedEngine(Reply(error=Broken("gone"))), ScriptedEngine("5"), ScriptedEngine("5")]
    answer, _ = solved(DiverseExperts(of=NAMES), *engines)
    assert (answer.completion.text, answer.agreement) == ("5", 1)


def test_copies_within_a_tier_are_one_vote_and_equal_draws_of_several_tiers_are_votes():
    text = " ".join(f"word{number}" for number in range(40))
    answer, _ = solved(DiverseExperts(of=NAMES, draws=3), *(ScriptedEngine(text) for _ in NAMES))
    assert answer.agreement == 1


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("active_experts: 8", "active_experts: 6", r"different numbers of `active_experts`; they have 6, 6"),
        ("usual: {deployment: moe", "usual: {deployment: other", "different checkpoints"),
        ("tiers: [few, usual]", "tiers: [few]", "length >= 2"),
        ("tiers: [few, usual]", "tiers: [few, lots]", "there is no tier 'lots'"),
    ],
)
def test_tiers_without_different_numbers_of_experts_of_one_checkpoint_are_refused(tmp_path, before, after, message):
    path = tmp_path / "tierwise.yaml"
    path.write_text(CONFIG)
    assert load(path)
    path.write_text(CONFIG.replace(before, after))
    with pytest.raises(ConfigErrors, match=message):
        load(path)
