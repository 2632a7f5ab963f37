"""A user who leaves: everything that runs for him is aborted at once, counted, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from endpoints import Endpoint, tier_of, until
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.testing import Reply, ScriptedEngine

ENDLESS = " ".join(["word"] * 2000)


def seconds_to_abort(endpoint: Endpoint, engine: ScriptedEngine, running: int, *, read: bool, **fields: Any) -> float:
    """Ask, wait until so many passes run, hang up; how long until none runs any more?"""
    line = endpoint.dial(**fields)
    until(lambda: engine.running == running)
    if read:
        line.recv(65536)
    started = len(engine.calls)
    line.close()
    took = until(lambda: engine.running == 0)
    time.sleep(0.02)
    assert len(engine.calls) == started, "nothing may start for a user who is gone"
    return took


@pytest.mark.parametrize(
    ("policy", "running", "fields"),
    [
        (None, 1, {"stream": False}),
        (None, 1, {"stream": True}),
        (None, 4, {"stream": False, "n": 4}),
        (None, 4, {"stream": True, "n": 4}),
        (Majority(n=5), 5, {"stream": False}),
        (Majority(n=5), 5, {"stream": True}),
        (Majority(n=3), 9, {"stream": True, "n": 3}),
        (BestOfN(n=4), 4, {"stream": True}),
        (Refine(), 1, {"stream": True}),
    ],
    ids=str,
)
@pytest.mark.parametrize("step", [0.01, 5.0], ids=["words come", "no word yet"])
def test_all_passes_are_aborted_within_100_ms(serve, policy, running, fields, step):
    engine = ScriptedEngine(ENDLESS, step=step)
    endpoint = serve(tier_of(policy, engine))
    read = bool(fields["stream"]) and step < 1 and policy is None
    took = [seconds_to_abort(endpoint, engine, running, read=read, **fields) for _ in range(3)]
    assert min(took) < 0.1  # the others may have waited for a processor
    until(lambda: len(endpoint.records) == 3)
    assert {record.ending for record in endpoint.records} == {"disconnected"}
    assert all(done.outcome == "aborted" for record in endpoint.records for done in record.trace.passes)
    assert all(len(record.trace.passes) == running for record in endpoint.records)
    assert sum(record.trace.usage.completion for record in endpoint.records) == engine.produced.completion


def test_votes_that_wait_for_a_slot_never_start(serve):
    engine = ScriptedEngine(ENDLESS)
    endpoint = serve(tier_of(Majority(n=5), engine, slots=2))
    seconds_to_abort(endpoint, engine, 2, read=False, stream=True)
    time.sleep(0.1)
    assert len(engine.calls) == 2


def test_the_next_tier_of_a_climb_never_starts(serve):
    cheap, strong = ScriptedEngine(ENDLESS), ScriptedEngine("4")
    endpoint = serve(
        tier_of(engine=cheap, name="cheap"), tier_of(engine=strong, name="strong"), routes={"auto": ("cheap", "strong")}
    )
    seconds_to_abort(endpoint, cheap, 1, read=False, model="auto", tierwise={"verifier": {"number": {"equals": 4}}})
    time.sleep(0.05)
    assert strong.calls == []


def test_a_user_who_leaves_while_a_slow_answer_waits_for_him(serve):
    engine = ScriptedEngine(" ".join(["x" * 32_768] * 2000), step=0)
    endpoint = serve(tier_of(engine=engine))
    line = endpoint.dial(stream=True)
    until(lambda: engine.produced.completion > 10)
    seen = -1
    while seen != (seen := engine.produced.completion):
        time.sleep(0.1)
    line.close()
    assert until(lambda: engine.running == 0) < 0.5
    until(lambda: endpoint.records)
    assert endpoint.records[0].ending == "disconnected"


def test_a_user_who_leaves_with_the_answer_in_hand_was_answered(serve):
    endpoint = serve(tier_of())
    for stream in (False, True):
        with endpoint.dial(stream=stream) as line:
            raw = b""
            while not raw.endswith((b"}", b"0\r\n\r\n")):
                raw += line.recv(65536)
    assert [record.ending for record in endpoint.records] == ["answered", "answered"]


def test_half_of_the_users_leave_and_the_others_get_their_answers(serve):
    engine = ScriptedEngine("a b c d e f g h", step=0.03)
    endpoint = serve(tier_of(Majority(n=3), engine, slots=128))
    lines = [endpoint.dial(stream=bool(number % 4)) for number in range(40)]
    until(lambda: engine.running == 120)
    for line in lines[::2]:
        line.close()
    for line in lines[1::2]:
        raw = b""
        while not raw.endswith((b"}", b"0\r\n\r\n")):
            raw += line.recv(65536)
        assert b"a b c d e f g h" in raw
        line.close()
    until(lambda: len(endpoint.records) == 40)
    endings = [record.ending for record in endpoint.records]
    assert (endings.count("answered"), endings.count("disconnected")) == (20, 20)
    assert sum(record.trace.usage.completion for record in endpoint.records) == engine.produced.completion


def test_300_hang_ups_leave_nothing_behind(serve):
    engine = ScriptedEngine(Reply(text=ENDLESS, step=0.01))
    endpoint = serve(tier_of(engine=engine), tier_of(Majority(n=3), engine, name="vote"))
    endpoint.chat("vote", max_tokens=1)
    tasks = endpoint.call(lambda: len(asyncio.all_tasks()))
    for number in range(300):
        line = endpoint.dial(("tier", "vote")[number % 2], stream=number % 3 == 0, n=1 + number % 4 // 3)
        if number % 5 == 0:
            time.sleep(0.01)
        line.close()
    until(lambda: endpoint.metric("tierwise_actions_running") == 0)
    until(lambda: engine.running == 0)
    assert endpoint.call(lambda: len(asyncio.all_tasks())) == tasks
    assert (
        endpoint.call(lambda: sum(tier.deployment.occupancy.running for tier in endpoint.service.router.tiers.values()))
        == 0
    )
    assert sum(record.trace.usage.completion for record in endpoint.records) == engine.produced.completion
    assert {record.ending for record in endpoint.records[1:]} == {"disconnected"}
    gc.collect()
    assert endpoint.chat(max_tokens=1).status == 200
