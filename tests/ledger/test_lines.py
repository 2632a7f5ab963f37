"""A line of a journal is stored as it was written, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some
from scenes import PRICES, a_check, a_pass, a_record

from tierwise.ledger.lines import RejectedLine, line_of, parsed
from tierwise.ledger.rows import Entry, entry

ENTRY = entry(a_record(a_pass(), a_check(0), a_pass(1, error="über"), caller="ticket-17"), PRICES)
LINE = line_of(ENTRY)


def without_checksum(line: bytes) -> bytes:
    return b"{" + line.split(b",", 1)[1]


def test_a_line_is_read_back_whole():
    assert parsed(LINE) == parsed(LINE.rstrip(b"\n")) == ENTRY
    assert LINE.count(b"\n") == 1


def test_a_line_of_an_earlier_version_is_read_without_a_checksum():
    assert without_checksum(LINE).startswith(b'{"action":{')
    assert parsed(without_checksum(LINE)) == ENTRY


@given(place=some.integers(0, len(LINE) - 2), bit=some.integers(0, 7))
def test_a_flipped_bit_anywhere_is_noticed(place, bit):
    flipped = bytearray(LINE)
    flipped[place] ^= 1 << bit
    assert isinstance(parsed(bytes(flipped)), RejectedLine)


@given(some.integers(0, len(LINE) - 2))
def test_a_line_that_was_cut_is_torn(length):
    found = parsed(LINE[:length])
    assert isinstance(found, RejectedLine)
    assert "torn" in found.why


@given(some.binary(max_size=200))
def test_any_bytes_are_an_entry_or_are_rejected(line):
    assert isinstance(parsed(line), Entry | RejectedLine)


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"crc32":"00000000"}\n', b'{"crc32":"00000000",\n', b"null\n"])
def test_lines_that_hold_no_action_are_rejected(line):
    assert isinstance(parsed(line), RejectedLine)


def test_two_lines_that_ran_into_one_are_not_stored_as_one():
    other = line_of(entry(a_record(), PRICES))
    assert isinstance(parsed(LINE.rstrip(b"\n") + other), RejectedLine)
