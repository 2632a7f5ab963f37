"""Processes of one endpoint that draw their shares, and the one that observes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from observed_routes import Scene, certificate
from tierwise.ledger.prices import PriceBook
from tierwise.policies import Majority, Single
from tierwise.service import new_trace
from tierwise.shadowing import Answered, ShadowedRoute
from tierwise.shadowing.elsewhere import ShadowsElsewhere
from tierwise.shadowing.memory import ShadowMemory
from tierwise.spec.shadow import Shadow
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen
from tierwise.verifiers.number import Number
from tierwise.workers.observing import packed


class Changing(ScriptedEngine):
    def reply_to(self, number, call):
        return Reply(text="4" if number < 10 else "5")


def moved(scene: Scene, share: float = 1.0, **more: Any) -> list[tuple[str, Answered, bool]]:
    """Have a scene draw its share for another process. Returns what it sends."""
    sent: list[tuple[str, Answered, bool]] = []
    routes = {"auto": ShadowedRoute(certificate=scene.certificate, settings=Shadow(share=share))}
    scene.shadows = ShadowsElsewhere(
        routes,
        scene.router,
        PriceBook({}),
        new_trace,
        memory=ShadowMemory(scene.memory),
        send=lambda sha, one, is_own: sent.append((sha, pickle.loads(packed(one)), is_own)),
        reports=more,
    )
    return sent


def test_what_two_processes_answered_is_one_evidence_which_voids_the_certificate():
    async def main():
        keeps, draws = Scene(cheap=Changing(step=0.0)), Scene(cheap=Changing(step=0.0))
        sent = moved(draws)
        for number in range(80):
            await (keeps if number % 2 else draws).ask()
            for one in sent:
                keeps.shadows.take(one[0], one[1], is_own=one[2])
            sent.clear()
            await keeps.settle()
            if not keeps.state.holds:
                return keeps, draws, number + 1
        return keeps, draws, 0

    keeps, draws, asked = frozen(main())
    assert 20 < asked < 80
    assert keeps.shadows.states["auto"].disagreement.seen == asked
    assert (len(draws.dear.calls), draws.records) == (0, []), "it asks nothing again itself"
    assert "shadowed traffic has changed" in keeps.state.label


def test_a_verifier_and_fields_arrive_as_they_were():
    async def main():
        keeps, draws = Scene(), Scene()
        sent = moved(draws)
        prompt = ask_user("2+2?", metadata={"task": "sums"}, stop=["x"])
        one = await draws.answered(prompt, Number(equals=4), key="k", team="t")
        ((sha, arrived, is_own),) = sent
        assert (arrived.prompt, arrived.verifier, arrived.answer) == (one.prompt, one.verifier, one.answer)
        assert (arrived.key, arrived.team, list(arrived.passes)) == ("k", "t", list(one.passes))
        keeps.shadows.take(sha, arrived, is_own=is_own)
        await keeps.settle()
        return keeps

    keeps = frozen(main())
    assert keeps.shadows.states["auto"].promise.seen == 1


@pytest.mark.parametrize(("reference", "outcome"), [(Single(), "own"), (Majority(n=3), "agreed")])
def test_whether_the_reference_answered_alone_is_known_from_all_passes(reference, outcome):
    async def main():
        unsure = "I am not sure, it may well be four"
        keeps = Scene(cheap=ScriptedEngine(unsure), reference=reference)
        draws = Scene(cheap=ScriptedEngine(unsure), reference=reference)
        sent = moved(draws)
        await draws.ask()
        assert len(sent[0][1].passes) == 1, "the others may be large"
        keeps.shadows.take(sent[0][0], sent[0][1], is_own=sent[0][2])
        await keeps.settle()
        return keeps

    assert frozen(main()).outcomes() == {outcome: 1}


def test_an_action_about_another_certificate_is_not_observed():
    async def main():
        keeps, draws = Scene(), Scene(certificate=certificate(limit=0.2))
        sent = moved(draws)
        await draws.ask()
        keeps.shadows.take(sent[0][0], sent[0][1], is_own=sent[0][2])
        await keeps.settle()
        return keeps

    assert frozen(main()).outcomes() == {}


def test_each_process_draws_the_same_share():
    async def main():
        draws = Scene()
        sent = moved(draws, share=0.25)
        for _ in range(400):
            await draws.ask()
        return len(sent)

    assert 50 < frozen(main()) < 150  # 5.8 standard deviations


def test_an_alarm_that_was_stored_voids_here_too_and_reports_are_those_of_who_observes(tmp_path):
    async def main():
        scene = Scene(cheap=ScriptedEngine("5"), memory=tmp_path / "shadows.json")
        while scene.state.holds:
            await scene.ask()
            await scene.settle()
        return scene

    frozen(main())
    other = Scene(memory=tmp_path / "shadows.json")
    moved(other)
    assert not other.state.holds
    before = other.shadows.report("auto")
    assert before is not None
    assert before["alarm"]
    moved(other, auto={"observed": 7})
    assert other.shadows.report("auto") == {"observed": 7}


def test_shadows_that_were_stopped_go_on():
    async def main():
        scene = Scene()
        await scene.ask()
        await scene.settle()
        await scene.shadows.stop()
        await scene.ask()
        scene.shadows.resume()
        await scene.ask()
        await scene.settle()
        return scene

    assert frozen(main()).outcomes() == {"agreed": 2}


@pytest.mark.parametrize("sure", [True, False])
def test_only_where_the_certificate_holds_is_something_sent(sure):
    async def main():
        draws = Scene()
        sent = moved(draws)
        if not sure:
            draws.router.certified.void("auto", "the server is another")
        await draws.ask()
        return len(sent)

    assert frozen(main()) == int(sure)
