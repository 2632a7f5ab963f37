"""Events that differ in nothing but the text are read without parsing, and say exactly what the parser says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tierwise.engines.openai.alike import AlikeEvents
from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.wire import read_batch, read_event
from tierwise.spec.call import Chunk, Recorder

FIELDS: dict[str, Any] = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def event(text: str, *, ascii_only: bool = False, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return json.dumps({**FIELDS, "choices": [choice], **more}, ensure_ascii=ascii_only).encode()


def block(*events: bytes) -> bytes:
    return b"".join(b"data: %b\n\n" % one for one in events)


def noted(first: bytes) -> AlikeEvents:
    alike, chunk = AlikeEvents(), read_event(first)
    assert isinstance(chunk, Chunk)
    assert alike.read(block(first)) is None
    alike.note(first, chunk)
    return alike


@pytest.mark.parametrize(
    "texts",
    [
        [" two"],
        ["{}: [],"],
        ["é", "日本", "😀"],
        ["x", "", "y"],
        ['a "quoted" word', "a\\b", "\\"],
        ["line\nline", "\x7f\u2028\x00"],
        ['"', "'", '","'],
        ["data: {", '"content":"x"'],
    ],
)
@pytest.mark.parametrize("ascii_only", [False, True])
@pytest.mark.parametrize("first", ["one", 'a "quoted" word'])
def test_what_is_read_is_what_the_parser_reads(texts, ascii_only, first):
    events = [event(text, ascii_only=ascii_only) for text in texts]
    alike = noted(event(first))
    parsed = [chunk for one in events if isinstance(chunk := read_event(one), Chunk) and chunk.is_output]
    read = alike.read(block(*events))
    assert read == parsed
    assert [(one.completion_id, one.model) for one in read] == [(one.completion_id, one.model) for one in parsed]


@pytest.mark.parametrize(
    "other",
    [
        block(event("\ud83d", ascii_only=True)),
        block(event("x")) + b"data: [DONE]\n\n",
        block(event("x"), event("y", usage=None)),
        block(event("x"), event("y", usage=None), event("z")),
        block(event("")).replace(b'""', b'"'),
        block(event("x")).replace(b'"x"', b'"a\nb"'),
        block(event("x")).replace(b'"x"', b'"a\\"'),
        block(event("x", usage={"prompt_tokens": 1, "completion_tokens": 1})),
        block(event("x")).replace(b"c-1", b"c-2"),
        block(event("x")).replace(b'"index": 0', b'"index": 1'),
        block(event("x")).replace(b"null", b'"stop"'),
        block(event("x"))[:-1],
        block(event("x"))[:40],
        block(event("x"))[40:],
        b": beat\n\n" + block(event("x")),
        block(event("x")).replace(b'"x"', b'"\xff"'),
        block(event("x")).replace(b'"x"', b'"x", "content": "y"'),
        block(event("x")).replace(b'"x"', b'"'),
        b"",
    ],
)
def test_any_other_block_is_left_to_the_parser(other):
    assert noted(event("one")).read(other) is None


@pytest.mark.parametrize(
    "first",
    [
        event(""),
        event("one", usage={"prompt_tokens": 1, "completion_tokens": 1}),
        event("one", system_fingerprint="fp"),
        event("one").replace(b'"content"', b'"reasoning_content"'),
        event("one").replace(b'"delta"', b'"x": {"content": "one"}, "delta"'),
        event("one").replace(b'"content": ', b'"\\u0063ontent": '),
    ],
)
def test_an_event_that_is_no_plain_text_is_no_pattern(first):
    alike = noted(first)
    assert alike.read(block(first)) is None
    assert alike.read(block(event("two"))) is None


def test_a_server_whose_events_are_never_alike_is_left_alone():
    alike = AlikeEvents()
    for number in range(10):
        chunk = read_event(one := event("one", created=number))
        assert isinstance(chunk, Chunk)
        alike.note(one, chunk)
    assert alike.read(block(event("two", created=9))) is None
    assert alike.read(block(event("two", created=2)))


def role() -> bytes:
    return event("").replace(b'"content"', b'"role": "assistant", "content"')


def finish() -> bytes:
    return event("").replace(b'{"content": ""}', b"{}").replace(b"null", b'"stop"')


USAGE = json.dumps({**FIELDS, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}).encode()


def recorded(chunks: list[Chunk]) -> tuple[Any, ...]:
    recorder = Recorder()
    recorder.add_all(chunks)
    return recorder.completion(), recorder.usage, recorder.metered_tokens


@pytest.mark.parametrize(
    "events",
    [
        [role(), *[event(f" w{number}") for number in range(9)], finish(), USAGE],
        [role(), *[event(f" w{number}") for number in range(9)], finish()],
        [event(text) for text in ("a", "", '"q"', "é", "", "\\", "z", "", "")],
        [role(), event("a"), *[event("")] * 8, finish()],
        [event(f"{number}") for number in range(20)],
        [
            role(),
            *[event(f"{number}") for number in range(6)],
            event("x", usage=None),
            event("y"),
            event("z"),
            finish(),
        ],
        [role(), event("a", system_fingerprint="f"), *[event(f"{number}") for number in range(9)], finish(), USAGE],
        [role(), *[event(f"{number}") for number in range(8)], event("last").replace(b"null", b'"length"'), USAGE],
        [role(), event("a"), *[event("b", logprobs=None)] * 3, *[event("c")] * 9, finish(), USAGE],
        [event("a", usage={"prompt_tokens": 1, "completion_tokens": number}) for number in range(1, 12)],
    ],
)
def test_a_batch_with_a_run_of_texts_says_what_its_events_say(events):
    batch = EventParser().batch(block(*events))
    assert batch is not None
    parsed = [chunk for one in events if isinstance(chunk := read_event(one), Chunk)]
    found = read_batch(batch, joins=True)
    assert found is not None
    assert recorded(found) == recorded(parsed)


def test_a_run_of_texts_is_one_chunk_and_counts_its_events():
    batch = EventParser().batch(block(role(), *[event(f" w{number}") for number in range(9)], finish(), USAGE))
    assert batch is not None
    found = read_batch(batch, joins=True)
    assert found is not None
    assert [one.tokens for one in found if one.is_output] == [9]
    assert found[1].delta == {"content": " w0 w1 w2 w3 w4 w5 w6 w7 w8"}
