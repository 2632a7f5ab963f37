"""Labels that come after the answer: which actions take them, when they count, and what an alarm does."""

from __future__ import annotations

import asyncio

import pytest

from observed_routes import Scene, certificate, until
from tierwise.certificate import Figure
from tierwise.shadowing import shadows as module
from tierwise.shadowing import watching
from tierwise.shadowing.labels import Label
from tierwise.spec.errors import AlreadyKnown, NotFound, TooLate
from tierwise.testing import Reply, ScriptedEngine, frozen
from tierwise.verifiers.number import Number

OFTEN = Figure(value=0.9, high=0.95)
"""Differing answers are no news, so that only labels can raise an alarm."""


class Differing(ScriptedEngine):
    """Says 5."""

    def reply_to(self, number, call):
        return Reply(text="5")


def scene_of(kind="harm", *, labels="check", **more) -> Scene:
    more = {"cheap": Differing(step=0.0), "label_days": 7, **more}
    return Scene(certificate=certificate(kind, disagreement=OFTEN, labels=labels), **more)


async def shadowed(scene: Scene) -> str:
    one = await scene.ask()
    await scene.settle()
    return one.action


def give(scene: Scene, action: str, *, correct: bool, answer="served"):
    return scene.shadows.feedback.give(Label(action=action, correct=correct, answer=answer))


def test_labelled_harm_breaks_the_promise_and_the_safe_tier_answers():
    async def main():
        scene, count = scene_of(), 0
        while scene.state.holds:
            action = await shadowed(scene)
            assert give(scene, action, correct=False) == ("reference",)
            assert give(scene, action, correct=True, answer="reference") == ()
            count += 1
        return scene, count, (await scene.ask()).answer.tier

    scene, count, tier = frozen(main())
    assert 2 < count < 30
    assert tier == "max"
    assert f"over {count} actions with a known loss" in scene.state.reasons[0]
    assert "tier fast" in scene.state.reasons[0]


def test_a_label_that_comes_before_the_shadow_counts_once_it_has_run():
    async def main():
        scene = scene_of(slots=1)
        mark = scene.large.occupancy.enter(0.0)
        one = await scene.ask()
        assert give(scene, one.action, correct=False) == ("reference",)
        with pytest.raises(AlreadyKnown):
            give(scene, one.action, correct=True)
        scene.large.occupancy.leave(mark, 1.0)
        await scene.settle()
        assert scene.shadows.feedback.wanted()[0]["needs"] == ["reference"]
        give(scene, one.action, correct=True, answer="reference")
        return scene.shadows.states["auto"].promise

    promise = frozen(main())
    assert (promise.seen, promise.losses) == (1, 1.0)


def test_a_label_while_the_shadow_runs_counts_too():
    async def main():
        scene = scene_of(dear=ScriptedEngine(Reply(text="4", step=10.0)))
        one = await scene.ask()
        await until(lambda: scene.large.occupancy.running)
        give(scene, one.action, correct=True)
        await scene.settle()
        return scene.shadows.states["auto"].promise

    assert frozen(main()).seen == 1


def test_equal_answers_and_requests_with_a_verifier_need_no_label():
    async def main():
        scene = scene_of(cheap=ScriptedEngine("4"))
        action = await shadowed(scene)
        with pytest.raises(NotFound):  # it is counted and forgotten
            give(scene, action, correct=True)
        return scene.shadows.states["auto"].promise.seen, scene.shadows.feedback.wanted()

    assert frozen(main()) == (1, [])


def test_a_verifiers_loss_waits_for_the_labels_before_it():
    async def main():
        scene = scene_of()
        first = await shadowed(scene)
        await scene.ask(verifier=Number(equals=5))
        await scene.settle()
        before = scene.shadows.states["auto"].promise.seen
        give(scene, first, correct=True)
        return before, scene.shadows.states["auto"].promise.seen

    assert frozen(main()) == (0, 2)


def test_each_answer_is_labelled_once_and_a_wrong_id_is_not_found():
    async def main():
        scene = scene_of()
        action = await shadowed(scene)
        give(scene, action, correct=False)
        with pytest.raises(AlreadyKnown, match="the served answer of action 'act_"):
            give(scene, action, correct=False)
        give(scene, action, correct=False, answer="reference")
        for answer in ("served", "reference"):
            with pytest.raises(AlreadyKnown):
                give(scene, action, correct=True, answer=answer)
        with pytest.raises(NotFound, match="only those that chance chose"):
            give(scene, "act_none", correct=True)
        return scene.shadows.states["auto"].promise

    promise = frozen(main())
    assert (promise.seen, promise.losses) == (1, 0.0)


def test_a_label_that_comes_too_late_is_counted_as_late(monkeypatch):
    moment = 1e9
    for one in (module, watching):
        monkeypatch.setattr(one, "time", lambda: moment)

    async def main():
        nonlocal moment
        scene = scene_of()
        action = await shadowed(scene)
        moment += 6 * 86_400
        assert scene.shadows.report("auto")["labels"]["wanted"] == 1
        moment += 2 * 86_400
        assert scene.shadows.report("auto")["labels"] == {
            "wanted": 0,
            "behind": 0,
            "counted": 1,
            "unlabelled": 1,
            "late": 0,
        }
        with pytest.raises(TooLate, match="waited 7 days"):
            give(scene, action, correct=False)
        return scene.shadows.report("auto")["labels"]["late"], scene.shadows.states["auto"].promise.losses

    assert frozen(main()) == (1, 0.0)


def test_a_restart_knows_what_waits_and_what_was_labelled(tmp_path):
    async def main():
        scene = scene_of(memory=tmp_path / "shadows.json")
        first, second = await shadowed(scene), await shadowed(scene)
        give(scene, first, correct=True)
        give(scene, second, correct=False)
        await scene.shadows.stop()
        scene.restart()
        with pytest.raises(AlreadyKnown):
            give(scene, first, correct=False)
        give(scene, second, correct=True, answer="reference")
        await scene.shadows.stop()
        return scene.shadows.states["auto"].promise

    promise = frozen(main())
    assert (promise.seen, promise.losses) == (2, 1.0)


def test_nothing_waits_any_more_once_the_setting_is_gone(tmp_path):
    async def main():
        scene = scene_of(memory=tmp_path / "shadows.json")
        await shadowed(scene)
        await scene.shadows.stop()
        scene.label_days = 0
        await asyncio.sleep(1)
        scene.restart()
        return scene

    scene = frozen(main())
    state = scene.shadows.states["auto"]
    assert (state.unsettled, state.unlabelled, state.promise.seen) == ((), 1, 1)


@pytest.mark.parametrize(("labels", "days"), [("check", 0), ("agreement", 7)])
def test_a_route_that_takes_no_labels_says_so(labels, days):
    async def main():
        scene = scene_of(labels=labels, label_days=days)
        action = await shadowed(scene)
        with pytest.raises(NotFound, match="no route takes labels"):
            give(scene, action, correct=False)
        return scene.shadows.report("auto")["labels"], scene.shadows.feedback.wanted()

    assert frozen(main()) == ({}, [])


def test_a_selective_promise_is_about_kept_answers_only():
    async def main():
        scene = scene_of("selective", cheap=ScriptedEngine("4"))
        action = await shadowed(scene)
        assert scene.shadows.feedback.wanted()[0]["needs"] == ["served"]  # both may be wrong
        give(scene, action, correct=False)
        return scene.shadows.states["auto"].promise

    promise = frozen(main())
    assert (promise.seen, promise.losses) == (1, 1.0)


def test_an_action_that_takes_labels_has_an_owner():
    async def main():
        scene = scene_of()
        one = await scene.ask()
        early = scene.shadows.feedback.owner_of(one.action)
        await scene.settle()
        return early, scene.shadows.feedback.owner_of(one.action), scene.shadows.feedback.owner_of("act_0")

    assert frozen(main()) == (("", ""), ("", ""), None)
