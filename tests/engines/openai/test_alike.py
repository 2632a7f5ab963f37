"""Events that differ in nothing but the text are read without parsing, and say exactly what the parser says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tierwise.engines.openai.alike import AlikeEvents
from tierwise.engines.openai.wire import read_event
from tierwise.spec.call import Chunk

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


def said(chunks: list[Chunk] | None) -> list[tuple[Any, str, str, int]] | None:
    return None if chunks is None else [(one.delta, one.completion_id, one.model, one.tokens) for one in chunks]


@pytest.mark.parametrize(
    "texts",
    [[" two"], ["a"], ["{}: [],"], ["é", "日本", "😀"], ["one", " two"], ["\u2028x"], ["data: {"], ["x", "", "y"]],
)
def test_what_is_read_is_what_the_parser_reads(texts):
    events = [event(text) for text in texts]
    alike = noted(event("one"))
    read = alike.read(block(*events))
    parsed = [chunk for one in events if isinstance(chunk := read_event(one), Chunk) and chunk.is_output]
    assert read is None or said(read) == said(parsed)
    assert (read is None) == any(not text.isprintable() for text in texts)


@pytest.mark.parametrize(
    "other",
    [
        block(event('a "quoted" word')),
        block(event("a\\b")),
        block(event("line\nline")),
        block(event("\x7f")),
        block(event("é", ascii_only=True)),
        block(event("x", usage={"prompt_tokens": 1, "completion_tokens": 1})),
        block(event("x")).replace(b"c-1", b"c-2"),
        block(event("x")).replace(b'"index": 0', b'"index": 1'),
        block(event("x")).replace(b"null", b'"stop"'),
        block(event("x"))[:-1],
        block(event("x"))[:40],
        block(event("x"))[40:],
        block(event("x")) + b"data: [DONE]\n\n",
        block(event("x"), event("y", usage=None)),
        b": beat\n\n" + block(event("x")),
        block(event("x")).replace(b'"x"', b'"\xff"'),
        block(event("x")).replace(b'"x"', b'"x", "content": "y"'),
        block(event("x")).replace(b'"x"', b'"'),
        b"",
    ],
)
def test_any_other_block_is_left_to_the_parser(other):
    assert not noted(event("one")).read(other)


@pytest.mark.parametrize(
    "first",
    [
        event(""),
        event('"'),
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
