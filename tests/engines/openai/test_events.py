"""Blocks of whole events are split at once, with what splitting them line by line finds."""

from __future__ import annotations

import random

from tierwise.engines.openai.events import EventParser

PARTS = [
    *(b"data: ", b"data:", b'{"a":1}', b"{", b"}", b"\n", b"\n\n", b"\r\n", b"[DONE]", b": ping", b" ", b","),
    *(b"event: error\n", b"id: 4\n", b'data: {"x": "y"}\n\n', b'data: {"x": "y"} \n\n', b'data: {"z":\n'),
]
WHOLE = b'data: {"choices":[]}\n\n'


class LineByLine(EventParser):
    def _simple(self, block):
        return None


def read(parser, blocks):
    found = [event for block in blocks for event in parser.feed(block)] + parser.rest()
    return found, parser.is_done, parser.has_any, parser.foreign, parser.document, parser.held


def test_whatever_comes_is_read_as_line_by_line():
    draw = random.Random(4)
    for _ in range(5000):
        sizes = [draw.randint(1, 5) for _ in range(draw.randint(1, 4))]
        blocks = [b"".join(draw.choice([WHOLE, *PARTS]) for _ in range(size)) for size in sizes]
        assert read(EventParser(), blocks) == read(LineByLine(), blocks), blocks


def test_a_block_of_whole_events_is_split():
    assert EventParser().feed(WHOLE * 3) == [b'{"choices":[]}'] * 3
