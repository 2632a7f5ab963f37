"""What a user sees, and when."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator

import pytest

from endpoints import Endpoint, head_of, tier_of, until
from tierwise.gateway import reply
from tierwise.policies import BestOfN, Majority, Refine
from tierwise.spec.call import Call, Chunk
from tierwise.spec.errors import Broken
from tierwise.testing import Reply, ScriptedEngine

SLOW = "a b c d e f g h i j"


def moments(answer) -> list[float]:
    return [event.seconds for event in answer.events if not event.is_comment]


def test_a_single_pass_streams_as_it_comes(serve):
    answer = serve(tier_of(engine=ScriptedEngine(SLOW, step=0.05))).chat(stream=True)
    first, *_, last = moments(answer)
    assert last - first > 0.4  # it was not held back until it was whole
    assert answer.text == SLOW


def test_the_last_stage_of_refine_streams_as_it_comes(serve):
    engine = ScriptedEngine("draft", "critique", Reply(text=SLOW, step=0.05), step=0.01)
    answer = serve(tier_of(Refine(), engine)).chat(stream=True)
    assert moments(answer)[-1] - moments(answer)[0] > 0.4
    assert answer.text == SLOW


def test_a_vote_is_out_as_soon_as_it_is_settled(serve):
    engine = ScriptedEngine("4", "4", "4", Reply(text="5", step=10), Reply(text="5", step=10), step=0.05)
    answer = serve(tier_of(Majority(n=5), engine)).chat(stream=True)
    assert answer.text == "4"
    assert moments(answer)[-1] < 1
    assert engine.running == 0


@pytest.mark.parametrize("policy", [Majority(n=3), BestOfN(n=2), Refine()], ids=["vote", "best", "refine"])
def test_first_bytes_go_out_within_200_ms_while_a_policy_has_nothing_to_show(serve, policy):
    endpoint = serve(tier_of(policy, ScriptedEngine("late", step=0.25)))
    answers = [endpoint.chat(stream=True) for _ in range(2)]
    assert min(answer.first_bytes for answer in answers) < 0.2
    assert all(answer.text == "late" for answer in answers)


def test_headers_wait_for_the_first_content_of_a_pass_that_is_shown(serve):
    answer = serve(tier_of(engine=ScriptedEngine("late", step=0.4))).chat(stream=True)
    assert answer.first_bytes > 0.35
    assert not any(event.is_comment for event in answer.events)
    assert answer.text == "late"


def test_headers_wait_no_longer_than_they_are_told(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine("late", step=0.4)), first_bytes=0.05)
    answer = min((endpoint.chat(stream=True) for _ in range(2)), key=lambda one: one.first_bytes)
    assert answer.first_bytes < 0.3
    assert answer.events[0].text == ": 0 of 1 passes done"
    assert answer.text == "late"


class SpeaksFirst(ScriptedEngine):
    """Sends the role by itself, and breaks after that the first time."""

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        self.calls.append(call)
        yield Chunk(delta={"role": "assistant", "content": ""})
        if len(self.calls) == 1:
            raise Broken("gone")
        yield Chunk(delta={"content": "here again"})
        yield Chunk(finish="stop")


def test_a_stream_says_who_speaks_once_although_its_first_pass_broke(serve):
    answer = serve(tier_of(engine=SpeaksFirst())).chat(stream=True)
    deltas = [choice["delta"] for chunk in answer.chunks for choice in chunk["choices"]]
    assert deltas == [{"role": "assistant", "content": "here again"}, {}]


def test_no_buffer_on_the_way_may_hold_events_back(serve):
    answer = serve(tier_of()).chat(stream=True)
    assert answer.headers["x-accel-buffering"] == "no"


def test_the_comment_says_how_far_it_is(serve, monkeypatch):
    monkeypatch.setattr(reply, "KEEP_ALIVE_SECONDS", 0.1)
    engine = ScriptedEngine("4", Reply(text="5", step=0.3), Reply(text="6", step=0.5), step=0.01)
    answer = serve(tier_of(Majority(n=3), engine)).chat(stream=True)
    comments = [event.text for event in answer.events if event.is_comment]
    assert comments[0] == ": 1 of 3 passes done"
    assert ": 2 of 3 passes done" in comments


def test_there_are_no_comments_while_something_is_said(serve, monkeypatch):
    monkeypatch.setattr(reply, "KEEP_ALIVE_SECONDS", 0.1)
    answer = serve(tier_of(engine=ScriptedEngine(SLOW, step=0.05))).chat(stream=True)
    assert not any(event.is_comment for event in answer.events)


def test_the_first_chunk_of_an_answer_that_is_shown_at_once_says_who_speaks(serve):
    answer = serve(tier_of(Majority(n=3), ScriptedEngine("4"))).chat(stream=True)
    assert answer.chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": "4"}
    assert answer.chunks[-1]["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}


def test_events_are_server_sent_events_of_one_line_each(serve):
    endpoint = serve(tier_of(engine=ScriptedEngine("line\nbreak\r\n\u2028 and\u0085 more\n\n")))
    with endpoint.dial(stream=True) as line:
        raw = b""
        while b"[DONE]" not in raw:
            raw += line.recv(65536)
    head, _, _ = raw.partition(b"\r\n\r\n")
    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-cache" in head
    answer = endpoint.chat(stream=True)
    assert answer.text == "line\nbreak\r\n\u2028 and\u0085 more\n\n"


def test_headers_say_what_is_known_when_they_leave(serve):
    endpoint = serve(tier_of(Majority(n=3), ScriptedEngine("4")))
    whole, streamed = endpoint.chat(), endpoint.chat(stream=True)
    for answer in (whole, streamed):
        assert answer.headers["x-tierwise-action"].startswith("act_")
        assert answer.headers["x-tierwise-tier"] == "tier"
        assert float(answer.headers["x-tierwise-overhead-ms"]) >= 0
    assert int(whole.headers["x-tierwise-passes"]) >= 2
    assert float(whole.headers["x-tierwise-dollars"]) > 0
    assert streamed.headers["x-tierwise-action"] == streamed.chunks[0]["id"]


def test_overhead_is_the_time_in_which_no_pass_runs(serve):
    endpoint = serve(tier_of(Refine(), ScriptedEngine("a b c", step=0.05)))
    whole, streamed = endpoint.chat(), endpoint.chat(stream=True)
    for answer in (whole, streamed):
        assert 0 < float(answer.headers["x-tierwise-overhead-ms"]) < 100


def test_a_climb_shows_only_the_answer_that_counts(serve):
    cheap, strong = ScriptedEngine("wrong"), ScriptedEngine("4")
    endpoint = serve(
        tier_of(engine=cheap, name="cheap"), tier_of(engine=strong, name="strong"), routes={"auto": ("cheap", "strong")}
    )
    asked = {"tierwise": {"verifier": {"number": {"equals": 4}}}}
    whole, streamed = endpoint.chat("auto", **asked), endpoint.chat("auto", stream=True, **asked)
    assert (whole.text, streamed.text) == ("4", "4")
    assert whole.headers["x-tierwise-tier"] == "strong"
    assert whole.json["usage"]["tierwise"]["reason"] == "auto: strong after cheap: verifier"
    assert [one["tier"] for one in whole.json["usage"]["tierwise"]["passes"]] == ["cheap", "strong"]


def test_choices_of_a_stream_come_side_by_side(serve):
    answer = serve(tier_of(engine=ScriptedEngine(SLOW, step=0.02))).chat(stream=True, n=4)
    indexes = [chunk["choices"][0]["index"] for chunk in answer.chunks]
    assert Counter(indexes) == dict.fromkeys(range(4), 11)
    assert indexes.index(3) < 8


def test_a_stream_that_ends_keeps_its_connection(serve):
    endpoint = serve(tier_of())
    with endpoint.dial(stream=True) as line:
        for _ in range(3):
            raw = b""
            while not raw.endswith(b"0\r\n\r\n"):
                raw += line.recv(65536)
            assert raw.count(b"[DONE]") == 1
            body = b'{"model": "tier", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
            line.sendall(head_of(len(body)) + body)


# ── users who read slowly ───────────────────────────────────────────────
def dial_and_read_nothing(endpoint: Endpoint, **fields) -> socket.socket:
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(20)
    line.connect(("127.0.0.1", endpoint.port))
    body = b'{"model": "tier", "stream": true, "messages": [{"role": "user", "content": "x"}]}'
    line.sendall(head_of(len(body)) + body)
    return line


def test_a_slow_reader_slows_the_engine_down_and_gets_everything(serve):
    words = 1500
    engine = ScriptedEngine(" ".join(["x" * 32_768] * words), step=0)
    endpoint = serve(tier_of(engine=engine))
    with dial_and_read_nothing(endpoint) as line:
        until(lambda: engine.produced.completion > 10)
        seen = -1
        while seen != (seen := engine.produced.completion):
            time.sleep(0.2)
        assert seen < words / 2, "the engine must wait for the user"
        size = 0
        while block := line.recv(2**20):
            size += len(block)
            if block.endswith(b"0\r\n\r\n"):
                break
    assert size > words * 32_768
    assert engine.produced.completion == words
    assert endpoint.records[0].ending == "answered"


def test_a_slow_reader_holds_nobody_else_up(serve):
    slow, quick = ScriptedEngine(" ".join(["x" * 32_768] * 1000), step=0), ScriptedEngine("hi")
    endpoint = serve(tier_of(engine=slow), tier_of(engine=quick, name="quick"))
    with dial_and_read_nothing(endpoint):
        until(lambda: slow.produced.completion > 100)
        time.sleep(0.2)
        assert min(endpoint.chat("quick").first_bytes for _ in range(3)) < 0.1
    until(lambda: slow.running == 0)


class Waiting(ScriptedEngine):
    """Dies when the user is too slow to notice."""

    def reply_to(self, number: int, call: Call) -> Reply:
        return Reply(text=" ".join(["x" * 32_768] * 100), error=Broken("gone"), step=0)


def test_an_error_waits_for_a_slow_reader_too(serve):
    endpoint = serve(tier_of(engine=Waiting()))
    with dial_and_read_nothing(endpoint) as line:
        time.sleep(0.3)
        raw = b""
        while not raw.endswith(b"0\r\n\r\n"):
            raw += line.recv(2**20)
    assert b"engine_broken" in raw.rpartition(b"data: ")[2]
    assert b"[DONE]" not in raw
