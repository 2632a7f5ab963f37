"""Users come first: what a shadow waits for, and what stops it."""

from __future__ import annotations

import asyncio

import pytest

from observed_routes import Scene, until
from tierwise.engines.metrics import MetricNames, MetricsPage, scrape_now
from tierwise.policies import Majority
from tierwise.shadowing import room as module
from tierwise.shadowing import waiting
from tierwise.shadowing.room import LONGEST_PAUSE, Pace
from tierwise.testing import Reply, ScriptedEngine, frozen
from tierwise.testing.server import FakeServer, HttpReply
from tierwise.verifiers.number import Number

LONG = Reply(text="4", step=10.0)


class Queues:
    """What the engines say of their queues, in place of their metrics pages."""

    def __init__(self, monkeypatch) -> None:
        self.large: dict[str, float] | None = {}
        self.looks = 0

        async def said(pages):
            self.looks += 1
            return {"large": self.large} if pages else {}

        monkeypatch.setattr(module, "scrape_now", said)


class Told(ScriptedEngine):
    """Has a metrics page, and a state."""

    state = "ready"

    def health(self):
        found = super().health()
        page = MetricsPage(url="http://127.0.0.1:1/metrics", names=MetricNames(samples={}))
        return type(found)(state=self.state, page=page)


@pytest.fixture
def queues(monkeypatch):
    return Queues(monkeypatch)


async def beside(scene: Scene, place, seconds: float) -> None:
    """A user's pass of that length."""
    loop = asyncio.get_running_loop()
    mark = place.occupancy.enter(loop.time())
    await asyncio.sleep(seconds)
    place.occupancy.leave(mark, loop.time())


def test_no_shadow_begins_while_requests_wait_in_the_engine_or_it_does_not_say(queues):
    async def main():
        scene = Scene(dear=Told("4"))
        asked = []
        queues.large = {"requests_waiting": 1.0}
        await scene.ask()
        for queues.large in ({"requests_waiting": 1.0}, None, {}):
            asked.append(len(scene.dear.calls))
            await asyncio.sleep(60)
        await scene.settle()
        return scene, asked

    scene, asked = frozen(main())
    assert asked == [0, 0, 0]
    assert scene.outcomes() == {"agreed": 1}


def test_no_shadow_begins_while_its_engine_is_not_ready(queues):
    async def main():
        scene = Scene(dear=Told("4"))
        scene.dear.state = "restarting"
        await scene.ask()
        await asyncio.sleep(60)
        asked, scene.dear.state = len(scene.dear.calls), "ready"
        await scene.settle()
        return scene, asked

    scene, asked = frozen(main())
    assert asked == 0
    assert scene.outcomes() == {"agreed": 1}


def test_a_queue_that_fills_stops_a_running_shadow_within_a_second_and_it_runs_again_later(queues):
    async def main():
        scene = Scene(dear=Told(LONG, LONG))
        await scene.ask()
        await until(lambda: scene.dear.running)
        await asyncio.sleep(3)
        queues.large = {"requests_waiting": 2.0}
        await asyncio.sleep(module.QUEUE_SECONDS + 0.01)
        running = scene.dear.running
        queues.large = {"requests_waiting": 0.0}
        await scene.settle()
        return scene, running

    scene, running = frozen(main())
    assert running == 0
    assert scene.outcomes() == {"agreed": 1, "yielded": 1}
    first, second = scene.records
    assert (first.ending, first.error) == ("yielded", "stopped: requests wait in large")
    assert [done.outcome for done in first.trace.passes] == ["aborted"]  # on the bill, as far as it came
    assert second.ending == "answered"


def test_a_shadow_does_not_take_its_own_waiting_request_for_a_users(queues):
    """The engine counts it as waiting for one look, until it has taken it in; then somebody's waits for good."""

    async def main():
        scene = Scene(dear=Told(LONG, LONG))
        await scene.ask()
        await until(lambda: scene.dear.running)
        queues.large = {"requests_waiting": 1.0}
        await asyncio.sleep(module.QUEUE_SECONDS + 0.01)
        queues.large = {"requests_waiting": 0.0}
        await asyncio.sleep(module.QUEUE_SECONDS)
        own = scene.dear.running
        queues.large = {"requests_waiting": 1.0}
        await asyncio.sleep(2 * module.QUEUE_SECONDS)
        others = scene.dear.running
        queues.large = {}
        await scene.settle()
        return own, others

    assert frozen(main()) == (1, 0)


def test_an_engine_that_does_not_answer_while_a_shadow_runs_stops_nothing(queues):
    """It may compute the shadow's own long prompt."""

    async def main():
        scene = Scene(dear=Told(LONG))
        await scene.ask()
        await until(lambda: scene.dear.running)
        queues.large = None
        await scene.settle()
        return scene

    assert frozen(main()).outcomes() == {"agreed": 1}


@pytest.mark.parametrize(
    ("wait_for", "outcomes"), [("free_slot", {"agreed": 1}), ("idle", {"agreed": 1, "yielded": 1})]
)
def test_where_engines_share_a_machine_a_users_pass_in_any_of_them_stops_a_shadow(wait_for, outcomes):
    async def main():
        scene = Scene(dear=ScriptedEngine(LONG, LONG), wait_for=wait_for)
        await scene.ask()
        await until(lambda: scene.dear.running)
        await beside(scene, scene.small, 5.0)
        await scene.settle()
        return scene

    scene = frozen(main())
    assert scene.outcomes() == outcomes
    if wait_for == "idle":
        assert scene.records[0].error == "stopped: a user's pass runs in small"


def test_where_engines_share_a_machine_no_shadow_begins_beside_a_users_pass_also_in_its_own():
    async def main():
        scene = Scene(wait_for="idle")
        asked = []
        for place in (scene.small, scene.large):
            user = asyncio.create_task(beside(scene, place, 60.0))
            await asyncio.sleep(0)
            before = len(scene.dear.calls)
            await scene.ask()
            await asyncio.sleep(59)
            asked.append(len(scene.dear.calls) - before)
            await user
            await scene.settle()
        return scene, asked

    scene, asked = frozen(main())
    assert asked == [0, 0]
    assert scene.outcomes() == {"agreed": 2}


def test_a_shadows_own_panel_is_not_a_user():
    async def main():
        scene = Scene(wait_for="idle", reference=Majority(n=5), slots=3)
        await scene.ask()
        await scene.settle()
        return scene

    assert frozen(main()).outcomes() == {"agreed": 1}


def test_a_user_that_takes_the_last_slot_between_two_passes_of_a_shadow_stops_it():
    async def main():
        scene = Scene(slots=1)
        room = module.Room.of("max", scene.router.serving, is_alone=False)
        said = []
        with room.watched(said.append):
            scene.large.occupancy.enter(0.0)
        return said

    assert frozen(main()) == ["users need every slot of large"]


def test_an_answer_that_always_has_to_yield_is_kept_for_long_and_then_counts_as_none_that_differs(monkeypatch):
    monkeypatch.setattr(waiting, "LONGEST_SECONDS", 900.0)

    async def main():
        scene = Scene(slots=1, dear=ScriptedEngine(Reply(text="5", step=3600.0)))
        await scene.ask(verifier=Number(equals=4))
        began = asyncio.get_running_loop().time()
        while scene.shadows.is_busy:
            await until(lambda: scene.large.occupancy.running or not scene.shadows.is_busy)
            await beside(scene, scene.large, 1.0)
        return scene, asyncio.get_running_loop().time() - began

    scene, seconds = frozen(main())
    found = scene.outcomes()
    assert found.pop("yielded") > 100  # about every five seconds
    assert found == {"lost": 1}
    assert 900 < seconds < 910
    state = scene.shadows.states["auto"]
    assert (state.lost, state.recent) == (1, ())
    assert (state.disagreement.seen, state.disagreement.losses) == (1, 0.0)
    assert (state.promise.seen, state.promise.losses) == (1, 0.0)
    assert scene.shadows.report("auto")["lost"] == 1


def test_who_is_observed_does_not_depend_on_the_answer_also_where_the_reference_gave_it(monkeypatch):
    """While users have all slots, actions that cost nothing to observe wait, and are dropped, like the others."""
    monkeypatch.setattr(waiting, "MOST_WAITING", 10)

    class Mixed(ScriptedEngine):
        def reply_to(self, number, call):
            return Reply(text="4" if number % 2 else "I am not sure, it may well be four")

    async def main():
        scene = Scene(slots=1, cheap=Mixed(step=0.0))
        scene.large.occupancy.enter(0.0)
        for _ in range(200):
            await scene.ask()
        found = scene.outcomes()
        own = sum(one.is_own for one in scene.shadows._queue)
        await scene.shadows.stop()
        return found, own

    found, own = frozen(main())
    assert found == {"dropped": 190}
    assert 0 < own < 10


def test_a_running_shadow_that_the_end_stops_is_lost_and_one_that_never_ran_is_dropped():
    async def main():
        scene = Scene(dear=ScriptedEngine(Reply(text="5", step=100.0)))
        await scene.ask()
        await scene.ask()
        await asyncio.sleep(1)
        await scene.shadows.stop()
        return scene

    scene = frozen(main())
    assert scene.outcomes() == {"dropped": 1, "lost": 1}
    assert scene.shadows.states["auto"].disagreement.losses == 0


def test_after_a_shadow_that_yielded_the_engines_have_to_be_quiet_for_longer():
    pace, now, begun = Pace(), 0.0, []
    for _ in range(6):
        since = now
        while not pace.is_over(now, is_quiet=True):
            now += 0.25
        begun.append(now - since)
        pace.yielded()
    assert begun == [0.0, 0.5, 1.0, 2.0, 4.0, LONGEST_PAUSE]
    assert not pace.is_over(now, is_quiet=False)
    for _ in range(5):
        pace.ended()
    assert pace.is_over(now, is_quiet=True)


def test_a_page_that_is_missing_is_told_from_one_that_does_not_answer():
    async def main():
        names = MetricNames(samples={"requests_waiting": ("waiting",)})
        async with FakeServer(HttpReply(body=b"waiting 3")) as told, FakeServer(HttpReply(status=404)) as missing:
            pages = {
                "told": MetricsPage(url=told.url, names=names),
                "missing": MetricsPage(url=missing.url, names=names),
                "gone": MetricsPage(url="http://127.0.0.1:1/metrics", names=names),
            }
            return await scrape_now(pages)

    assert asyncio.run(main()) == {"told": {"requests_waiting": 3.0}, "missing": {}, "gone": None}
