"""Shadows: who is asked again, when, and what an alarm does; users notice none of it until then."""

from __future__ import annotations

import asyncio
import logging
import stat
from dataclasses import replace

import msgspec
import pytest

from observed_routes import Scene, certificate, until
from tierwise.certificate import Figure
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import entry
from tierwise.policies import Majority, Single
from tierwise.shadowing import shadows as module
from tierwise.shadowing import waiting
from tierwise.spec.errors import Broken, SpecError
from tierwise.testing import Reply, ScriptedEngine, ask_user, frozen
from tierwise.verifiers.number import Number
from tierwise.workloads.files.shadowed import read_shadowed


class Changing(ScriptedEngine):
    """Says 4, and from a call on something else."""

    def __init__(self, since: int, then: str = "5") -> None:
        super().__init__(step=0.0)
        self.since, self.then = since, then

    def reply_to(self, number, call):
        return Reply(text="4" if number < self.since else self.then)


async def asked(scene: Scene, count: int) -> None:
    for _ in range(count):
        await scene.ask()
        await scene.settle()


def test_a_kept_cheap_answer_is_asked_again_on_the_reference_tier_after_it_was_given():
    async def main():
        scene = Scene()
        one = await scene.ask()
        assert (one.answer.tier, len(scene.dear.calls)) == ("fast", 0)
        await scene.settle()
        return scene, one

    scene, one = frozen(main())
    (record,) = scene.records
    row = entry(record, PriceBook({}), with_content=True)
    assert (row.action.model, row.action.tier, row.action.ending) == ("auto (shadow)", "max", "answered")
    assert row.action.reason == f"shadow of {one.action}"
    assert record.trace.action != one.action
    assert [done.tier for done in row.passes] == ["max"]
    assert row.content is None
    assert scene.outcomes() == {"agreed": 1}
    assert scene.dear.calls[0].prompt.messages == one.prompt.messages


def test_an_answer_that_the_reference_gave_alone_is_observed_for_free():
    async def main():
        scene = Scene(cheap=ScriptedEngine("I am not sure, it may well be four"))
        await asked(scene, 3)
        return scene

    scene = frozen(main())
    assert scene.outcomes() == {"own": 3}
    assert scene.records == []
    assert len(scene.dear.calls) == 3
    assert scene.shadows.states["auto"].disagreement.seen == 3


def test_an_answer_that_cheap_votes_were_counted_in_is_asked_again():
    async def main():
        scene = Scene(cheap=ScriptedEngine("I am not sure, it may well be four"), reference=Majority(n=3))
        await asked(scene, 1)
        return scene

    assert frozen(main()).outcomes() == {"agreed": 1}


def test_only_a_share_of_the_actions_is_asked_again():
    async def main():
        scene = Scene(share=0.05)
        await asked(scene, 200)
        return scene

    assert frozen(main()).outcomes() == {"agreed": 10}


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def test_an_answer_that_a_budget_may_have_changed_is_not_observed():
    async def main():
        scene = Scene()
        await scene.answered(ask_user("2+2?"), is_bounded=True)
        await scene.settle()
        return scene

    scene = frozen(main())
    assert scene.outcomes() == {}
    assert scene.dear.calls == []


@pytest.mark.parametrize(("tool_turns", "tier"), [("reference", "max"), ("route", "fast")])
def test_turns_with_tools_go_to_the_reference_tier_until_somebody_labels_them(tool_turns, tier):
    async def main():
        scene = Scene(tool_turns=tool_turns)
        one = await scene.ask(tools=TOOLS)
        await scene.settle()
        return scene, one, (await scene.ask()).answer.tier

    scene, one, plain = frozen(main())
    assert one.answer.tier == tier
    assert plain == "fast"
    assert scene.shadows.states["auto"].disagreement.seen == 0  # it is not observed


def test_the_safe_tier_answers_turns_with_tools_once_the_certificate_is_void():
    async def main():
        scene = Scene()
        scene.router.certified.void("auto", "why")
        return (await scene.ask(tools=TOOLS)).answer.tier

    assert frozen(main()) == "max"


def test_a_change_of_the_cheap_tiers_answers_voids_the_certificate_and_the_safe_tier_answers(caplog):
    async def main():
        scene = Scene(cheap=Changing(since=40), dear=ScriptedEngine("4", step=0.0))
        while scene.state.holds:
            await scene.ask(metadata={"task": "sums"})
            await scene.settle()
        calls = len(scene.cheap.calls)
        last = await scene.ask()
        return scene, calls, last

    with caplog.at_level(logging.WARNING, "tierwise"):
        scene, calls, last = frozen(main())
    assert 40 < calls < 80
    assert last.answer.tier == "max"
    assert last.answer.completion.text == "4"
    assert len(scene.cheap.calls) == calls
    (why,) = scene.state.reasons
    assert why.startswith("shadowed traffic has changed: answers differ from the reference's in")
    assert "at most 5.0% was certified" in why
    assert "task sums" in why
    assert "Add tasks like act_" in why
    assert scene.shadows.states["auto"].recent[-1].action in why
    assert "its certificate is void, so tier max answers" in caplog.text


def test_without_a_change_there_is_no_alarm():
    """The cheap tier differs in 4 % of the actions, as was certified."""

    class Differing(ScriptedEngine):
        def reply_to(self, number, call):
            return Reply(text="5" if number % 25 == 0 else "4")

    async def main():
        scene = Scene(cheap=Differing(step=0.0), dear=ScriptedEngine("4", step=0.0))
        await asked(scene, 600)
        return scene

    scene = frozen(main())
    assert scene.outcomes() == {"agreed": 576, "differed": 24}
    assert scene.state.holds


def test_unlabelled_traffic_is_held_against_the_certified_disagreement_and_not_against_the_promise():
    """Answers differ in 30 % of the actions, as was certified; the promise is 5 %."""

    class Differing(ScriptedEngine):
        def reply_to(self, number, call):
            return Reply(text="5" if number % 10 < 3 else "4")

    async def main():
        rate = Figure(value=0.3, low=0.26, high=0.35)
        scene = Scene(
            cheap=Differing(step=0.0),
            dear=ScriptedEngine("4", step=0.0),
            certificate=certificate(disagreement=rate),
        )
        await asked(scene, 300)
        return scene

    scene = frozen(main())
    assert scene.outcomes()["differed"] == 90
    assert scene.state.holds
    assert scene.shadows.states["auto"].promise.seen == 0


def test_with_a_verifier_harm_is_known_and_breaks_the_promise():
    async def main():
        # The route's answer is what a vote of cheap drafts made of it; the reference alone is right.
        scene = Scene(certificate=certificate(disagreement=Figure(value=0.9, high=0.95)), dear=ScriptedEngine("4"))
        one = await scene.ask()
        await scene.settle()
        wrong = replace(
            one,
            verifier=Number(equals=4),
            answer=replace(one.answer, completion=replace(one.answer.completion, text="5"), verdict=None),
        )
        count = 0
        while scene.state.holds:
            scene.shadows.offer(wrong)
            await scene.settle()
            count += 1
        return scene, count

    scene, count = frozen(main())
    assert 2 < count < 30
    assert "promise is broken" in scene.state.reasons[0] or "loss has risen" in scene.state.reasons[0]
    assert f"over {count} actions with a known loss" in scene.state.reasons[0]


def test_nothing_is_shadowed_while_the_engine_has_no_free_slot():
    async def main():
        scene = Scene(slots=2, dear=ScriptedEngine("4", step=0.01))
        mark = scene.large.occupancy.enter(0.0)
        scene.large.occupancy.enter(0.0)
        await scene.ask()
        await asyncio.sleep(60)
        busy = len(scene.dear.calls), scene.shadows.is_busy
        scene.large.occupancy.leave(mark, 1.0)
        await scene.settle()
        return scene, busy

    scene, busy = frozen(main())
    assert busy == (0, True)
    assert scene.outcomes() == {"agreed": 1}


def test_a_shadow_is_stopped_as_soon_as_a_users_pass_waits_and_is_tried_again():
    async def main():
        scene = Scene(slots=1, dear=ScriptedEngine(Reply(text="4", step=10.0), Reply(text="4", step=1.0)))
        await scene.ask()
        await until(lambda: scene.large.occupancy.running)
        mark = scene.large.occupancy.enter(0.0)  # a user's pass begins, and waits for the slot
        await asyncio.sleep(0.01)
        running = scene.large.occupancy.running
        await asyncio.sleep(30)
        calls = len(scene.dear.calls)
        scene.large.occupancy.leave(mark, 1.0)
        await scene.settle()
        return scene, running, calls

    scene, running, calls = frozen(main())
    assert (running, calls) == (1, 1)  # the shadow gave its slot up, and did not begin while the user's pass ran
    assert scene.outcomes() == {"agreed": 1, "yielded": 1}
    assert [record.ending for record in scene.records] == ["yielded", "answered"]
    assert scene.records[0].error == "stopped: users need every slot of large"
    assert [done.outcome for done in scene.records[0].trace.passes] == ["aborted"]


def test_a_panel_of_a_shadow_takes_only_the_slots_that_are_free():
    async def main():
        scene = Scene(slots=3, reference=Majority(n=5), dear=ScriptedEngine("4", step=1.0))
        scene.large.occupancy.enter(0.0)
        seen = []
        with scene.large.occupancy.watched(lambda: seen.append(scene.large.occupancy.running)):
            await scene.ask()
            await scene.settle()
        return scene, max(seen)

    scene, most = frozen(main())
    assert most == 3
    assert scene.outcomes() == {"agreed": 1}


def test_a_queue_that_is_full_drops_what_comes(monkeypatch):
    monkeypatch.setattr(waiting, "MOST_WAITING", 2)

    async def main():
        scene = Scene(slots=1)
        scene.large.occupancy.enter(0.0)
        for _ in range(5):
            await scene.ask()
        found = scene.outcomes()
        await scene.shadows.stop()
        return found

    assert frozen(main()) == {"dropped": 3}


def test_large_requests_that_wait_are_bounded_together(monkeypatch):
    monkeypatch.setattr(waiting, "MOST_CHARACTERS", 1000)

    async def main():
        scene = Scene(slots=1)
        scene.large.occupancy.enter(0.0)
        picture = [{"type": "image_url", "image_url": {"url": "x" * 400}}]
        for content in (picture, "y" * 400, "z" * 400, "short"):
            await scene.answered(replace(ask_user(""), messages=({"role": "user", "content": content},)))
        found = scene.outcomes()
        await scene.shadows.stop()
        return found

    assert frozen(main()) == {"dropped": 1}


@pytest.mark.parametrize("error", [Broken("gone", engine="large"), ValueError("a bug")])
def test_a_shadow_that_fails_changes_nothing_for_users(error):
    async def main():
        scene = Scene(dear=ScriptedEngine(Reply(text="4", error=error)))
        answers = []
        for _ in range(5):
            answers.append((await scene.ask()).answer.completion.text)
            await scene.settle()
        return scene, answers

    scene, answers = frozen(main())
    assert answers == ["4"] * 5
    assert scene.outcomes() == {"failed": 5}
    assert [record.ending for record in scene.records] == ["failed"] * 5
    assert scene.state.holds
    assert scene.shadows.states["auto"].disagreement.seen == 0


def test_an_offer_never_raises_and_a_bug_does_not_end_shadowing(caplog):
    async def main():
        scene = Scene()
        one = await scene.ask()
        await scene.settle()
        scene.shadows.offer(replace(one, prompt=None))
        scene.shadows.offer(replace(one, route="another"))
        states = dict(scene.shadows.states)
        scene.shadows.states.clear()
        scene.shadows.offer(replace(one, answer=replace(one.answer, tier="max")))
        await scene.settle()
        scene.shadows.states |= states
        await scene.ask()
        await scene.settle()
        return scene

    scene = frozen(main())
    assert "was not shadowed" in caplog.text
    assert "failed with an internal error" in caplog.text
    assert scene.outcomes() == {"agreed": 2, "failed": 1}


def test_stopping_ends_a_running_shadow_with_its_passes_on_the_bill_and_takes_no_more():
    async def main():
        scene = Scene(dear=ScriptedEngine(Reply(text="4", step=100.0)))
        one = await scene.ask()
        await asyncio.sleep(1)
        assert scene.dear.running == 1
        await scene.shadows.stop()
        scene.shadows.offer(one)
        await scene.shadows.stop()
        return scene

    scene = frozen(main())
    assert scene.dear.running == 0
    (record,) = scene.records
    assert (record.ending, record.error) == ("failed", "the endpoint was stopped")
    assert [done.outcome for done in record.trace.passes] == ["aborted"]


def test_a_restart_finds_the_state_again_and_a_void_certificate_stays_void(tmp_path):
    async def main():
        scene = Scene(cheap=Changing(since=10), dear=ScriptedEngine("4", step=0.0), memory=tmp_path / "shadows.json")
        await asked(scene, 12)
        await scene.shadows.stop()
        before = scene.shadows.states["auto"]
        scene.restart()
        assert scene.shadows.states["auto"] == before
        assert before.disagreement.seen == 12
        while scene.state.holds:
            await scene.ask()
            await scene.settle()
        return scene  # without `stop`, as after kill -9

    scene = frozen(main())
    again = Scene(memory=tmp_path / "shadows.json")
    assert again.state.state == "void"
    assert again.state.reasons == scene.state.reasons


def test_another_certificate_begins_anew(tmp_path):
    async def main():
        scene = Scene(cheap=Changing(since=0), dear=ScriptedEngine("4", step=0.0), memory=tmp_path / "shadows.json")
        while scene.state.holds:
            await scene.ask()
            await scene.settle()

    frozen(main())
    other = Scene(certificate=certificate(limit=0.06), memory=tmp_path / "shadows.json")
    assert other.state.holds
    assert other.shadows.states["auto"].disagreement.seen == 0


def test_a_clock_that_goes_back_does_not_matter(tmp_path, monkeypatch):
    moments = iter([3e9, 3e9 - 3600, 3e9 - 7200, 3e9 - 9000, 3e9 - 9999])
    monkeypatch.setattr(module, "time", lambda: next(moments))

    async def main():
        scene = Scene(memory=tmp_path / "s.json", keep_days=7, texts=tmp_path / "t.jsonl")
        await asked(scene, 3)
        await scene.shadows.stop()
        return scene

    scene = frozen(main())
    assert scene.shadows.states["auto"].disagreement.seen == 3
    assert len((tmp_path / "t.jsonl").read_bytes().splitlines()) == 3


def test_texts_are_kept_only_where_the_settings_say_so_and_only_the_owner_reads_them(tmp_path):
    async def main(keep_days):
        scene = Scene(keep_days=keep_days, texts=tmp_path / "t.jsonl", memory=tmp_path / "s.json")
        await scene.ask("a secret", temperature=0.5)
        await scene.settle()
        await scene.shadows.stop()

    frozen(main(0))
    assert not (tmp_path / "t.jsonl").exists()
    assert "secret" not in (tmp_path / "s.json").read_text()
    frozen(main(3))
    (line,) = (tmp_path / "t.jsonl").read_bytes().splitlines()
    kept = msgspec.json.decode(line)
    assert kept["messages"] == [{"role": "user", "content": "a secret"}]
    assert kept["fields"] == {"temperature": 0.5}
    assert (kept["answer"]["content"], kept["reference"]["content"], kept["differs"]) == ("4", "4", False)
    assert stat.S_IMODE((tmp_path / "t.jsonl").stat().st_mode) == 0o600
    Scene(keep_days=0, texts=tmp_path / "t.jsonl")
    assert not (tmp_path / "t.jsonl").exists()


def test_texts_are_kept_also_where_the_reference_answered_so_that_tasks_made_of_them_are_like_the_traffic(tmp_path):
    async def main():
        scene = Scene(
            cheap=ScriptedEngine("I am not sure, it may well be four"), keep_days=3, texts=tmp_path / "t.jsonl"
        )
        await scene.ask(metadata={"task": "sums"})
        await scene.settle()
        await scene.shadows.stop()
        return scene

    assert frozen(main()).outcomes() == {"own": 1}
    line = msgspec.json.decode((tmp_path / "t.jsonl").read_bytes())
    assert (line["shadow"], line["answer"], line["reference"]) == ("", line["answer"], line["answer"])
    labelled = {**line, "check": {"number": {"equals": 4}}}
    (tmp_path / "labelled.jsonl").write_bytes(msgspec.json.encode(labelled) + b"\n")
    (task,) = read_shadowed(tmp_path / "labelled.jsonl").tasks
    assert task.tags == ["sums"]
    assert task.check.member == Number(equals=4)
    assert task.verifier is None  # no route will have the label


def test_the_users_deadline_and_budget_are_not_those_of_a_shadow():
    """A shadow takes as long as the reference tier does."""

    async def main():
        scene = Scene(dear=ScriptedEngine(Reply(text="4", step=3600.0)), reference=Single())
        await scene.ask()
        await scene.settle()
        return scene

    scene = frozen(main())
    assert scene.records[0].seconds >= 3600
    assert scene.records[0].trace.limits == []
    assert scene.outcomes() == {"agreed": 1}


def test_what_is_kept_of_a_request_with_a_verifier_becomes_a_task_that_it_checks(tmp_path):
    async def main():
        scene = Scene(keep_days=3, texts=tmp_path / "t.jsonl", memory=tmp_path / "s.json")
        await scene.ask("1+3?", verifier=Number(equals=4), temperature=0.5)
        await scene.ask("what is it?")
        await scene.settle()
        await scene.shadows.stop()

    frozen(main())
    found = read_shadowed(tmp_path / "t.jsonl")
    (task,) = found.tasks
    assert task.messages == [{"role": "user", "content": "1+3?"}]
    assert task.check.member == Number(equals=4)
    assert task.options == {"temperature": 0.5}
    assert task.cluster is not None
    assert list(found.left_out.values()) == [1]


def test_shadowed_traffic_without_a_label_makes_no_workload(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"action": "a", "route": "auto", "messages": [{"role": "user", "content": "?"}]}\n')
    with pytest.raises(SpecError, match=r"has no task .1 × the request has no verifier"):
        read_shadowed(path)
    (task,) = read_shadowed(path, needs_labels=False).tasks  # of a run by agreement
    assert task.check is None


def test_where_agreement_was_promised_every_shadow_is_labelled_and_a_verifier_changes_nothing():
    async def main():
        made = certificate(labels="agreement", disagreement=Figure(value=0.9, high=0.95))
        scene = Scene(certificate=made, dear=Changing(5))
        await asked(scene, 5)
        agreed = scene.state
        before = scene.shadows.states["auto"].promise
        one = replace(await scene.ask(), verifier=Number(equals=4))  # the route's answer is right, the reference's not
        await scene.settle()
        while scene.state.holds:
            scene.shadows.offer(one)
            await scene.settle()
        return agreed, before, scene

    agreed, before, scene = frozen(main())
    assert agreed.holds
    assert (before.seen, before.losses) == (5, 0)
    state = scene.shadows.states["auto"]
    assert state.promise.seen == state.disagreement.seen
    assert state.promise.losses == state.disagreement.losses
    assert "promise is broken" in scene.state.reasons[0] or "loss has risen" in scene.state.reasons[0]
