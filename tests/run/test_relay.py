"""Output is shown as it comes, without waking the task of its action, in the same order and with the same account."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.ledger.records import Trace
from tierwise.policies import Single
from tierwise.run import Action, discard
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk
from tierwise.spec.errors import Broken, PolicyError, TimedOut
from tierwise.testing.fakes import RecordingSink, ask_user, new_trace, tier
from tierwise.testing.server import FakeServer, HttpReply, HttpRequest

WORDS = " ".join(f"word{number}" for number in range(40))


class Relay(RecordingSink):
    """Records how chunks came. It has room for so many at a time."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__(chunks=[])
        self.room = self.left = room
        self.waits, self.passed_on = 0, 0

    def pass_on(self, chunks: Sequence[Chunk]) -> bool:
        assert self.left > 0, "nothing is passed on before it has caught up"
        self.chunks.extend(chunks)
        self.passed_on += len(chunks)
        self.left -= len(chunks)
        return self.left > 0

    async def caught_up(self) -> None:
        await asyncio.sleep(0.005)
        self.left = self.room
        self.waits += 1


class Breaks(Relay):
    def pass_on(self, chunks: Sequence[Chunk]) -> bool:
        raise ValueError("no room for it")


def act(
    sink: RecordingSink, *replies: HttpReply, budget: Budget | None = None, silent_seconds: float = 5.0
) -> tuple[Answer | BaseException, Trace, FakeServer]:
    """The answer to a prompt, or the error; its trace; and the server that was asked."""

    async def main() -> tuple[Answer | BaseException, Trace, FakeServer]:
        async with FakeServer(*replies) as server:
            engine = HttpEngine(server.url, ChatClient("far", "m", silent_seconds=silent_seconds))
            trace = new_trace()
            try:
                answer: Answer | BaseException = await Action(tier(Single(), engine, budget=budget), trace).solve(
                    ask_user("a story"), sink
                )
            except Exception as error:  # noqa: BLE001 - looked at by the test
                answer = error
            await engine.stop()
            return answer, trace, server

    return asyncio.run(main())


@pytest.mark.parametrize("step", [0.0, 0.001], ids=["at once", "paced"])
@pytest.mark.parametrize("room", [1000, 3], ids=["quick", "slow"])
def test_a_stream_that_is_passed_on_is_the_answer(step, room):
    sink = Relay(room)
    answer, trace, server = act(sink, HttpReply(text=WORDS, step=step))
    assert isinstance(answer, Answer)
    assert sink.text == answer.completion.text == WORDS
    assert sink.passed_on > (20 if step else 2)
    assert [chunk.finish for chunk in sink.chunks if chunk.finish] == ["stop"]
    assert sink.chunks[-1].finish == "stop"
    assert trace.passes[0].usage.completion == server.produced.completion == 40
    if step:
        assert (sink.waits > 3) == (room == 3)


def test_half_a_character_at_the_start_is_not_shown():
    def event(text: bytes, more: bytes = b"") -> bytes:
        choice = b'{"index":0,"delta":{"content":%b}%b}' % (text, more)
        return b'data: {"id":"1","object":"chat.completion.chunk","model":"m","choices":[%b]}\n\n' % choice

    raw = [event(rb'"\ud83d"'), event(rb'"\ude00"'), event(b'"."'), event(b'""', b',"finish_reason":"stop"')]
    sink = Relay()
    answer, _, _ = act(sink, HttpReply(raw=raw))
    assert isinstance(answer, Answer)
    assert sink.text == answer.completion.text == "😀."
    assert sink.chunks[0].delta == {"role": "assistant", "content": "😀"}


@pytest.mark.parametrize("step", [0.0, 0.001], ids=["at once", "paced"])
def test_texts_of_all_kinds_are_passed_on_as_they_are(step):
    text = " ".join(['a "quoted" word', "a\nline", "C:\\new", "é 日本 😀", "\u2028", "{}", '","', "data:", "\ttab"] * 4)
    sink = Relay()
    answer, trace, server = act(sink, HttpReply(text=text, step=step))
    assert isinstance(answer, Answer)
    assert sink.text == answer.completion.text == text
    assert trace.passes[0].usage.completion == server.produced.completion


def test_an_error_of_the_sink_is_raised_in_the_action():
    answer, trace, _ = act(Breaks(), HttpReply(text=WORDS, step=0.001))
    assert isinstance(answer, PolicyError)
    assert "no room for it" in str(answer)
    assert trace.passes[0].outcome == "failed"
    assert trace.passes[0].usage.completion > 1


def test_a_server_that_breaks_off_fails_the_pass_after_what_was_shown():
    sink = Relay()
    answer, trace, _ = act(sink, HttpReply(text=WORDS, step=0.001, dies_after=20))
    assert isinstance(answer, Broken)
    assert answer.was_shown
    assert sink.text.split() == WORDS.split()[: trace.passes[0].usage.completion] != []


def test_silence_ends_a_pass_that_is_passed_on():
    answer, _, _ = act(Relay(), HttpReply(text=WORDS, step=0.001, silent_after=20), silent_seconds=0.4)
    assert isinstance(answer, TimedOut)


def test_large_events_are_shown_too():
    sink = Relay()
    text = " ".join(["a" * 70_000] * 6)
    answer, _, _ = act(sink, HttpReply(text=text, step=0.001))
    assert isinstance(answer, Answer)
    assert sink.text == answer.completion.text == text


def test_a_deadline_cuts_what_is_passed_on():
    sink = Relay()
    answer, trace, _ = act(sink, HttpReply(text=WORDS, step=0.02), budget=Budget(seconds=0.3))
    assert isinstance(answer, Answer)
    assert sink.text == answer.completion.text
    assert (trace.passes[0].outcome, trace.limits) == ("cut", ["seconds"])
    assert 1 < trace.passes[0].usage.completion < 40


@pytest.mark.parametrize("sink", [discard, Relay()], ids=["whole", "stream"])
def test_an_engine_that_ignores_the_limit_of_a_key_is_cut(sink):
    class Purse:
        refusal = None

        async def put_aside(self, *_: object) -> tuple[int, int]:
            return 0, 5

        def settle(self, *_: object) -> None:
            pass

    class Deaf(FakeServer):
        def reply_to(self, number: int, request: HttpRequest) -> HttpReply:
            assert request.body.pop("max_tokens") == 5
            return super().reply_to(number, request)

    async def main() -> None:
        async with Deaf(HttpReply(text=WORDS, step=0.01)) as server:
            engine, trace = HttpEngine(server.url, ChatClient("far", "m")), new_trace()
            action = Action(tier(Single(), engine), trace)
            action.purse = Purse()
            answer = await action.solve(ask_user("a story"), sink)
            assert answer.completion.text.split() == WORDS.split()[: trace.usage.completion]
            assert 6 <= trace.usage.completion < 12
            assert trace.passes[0].outcome == "cut"
            assert "went on after its limit of 5 tokens" in str(trace.events)
            await engine.stop()

    asyncio.run(main())
