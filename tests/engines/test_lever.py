"""The command line that follows from the rows of the levers' table."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tierwise.engines.lever import Lever, flags


class Settings(msgspec.Struct):
    lever: Any = None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, []),
        ({}, []),
        ({"a": {"b": 1}}, ["--lever", '{"a":{"b":1}}']),
        ([1, 2], ["--lever", "[1,2]"]),
        (True, ["--lever"]),
        (False, ["--no-lever"]),
        (0, ["--lever", "0"]),
        ("", ["--lever", ""]),
        (0.5, ["--lever", "0.5"]),
    ],
)
def test_a_lever_that_is_set_becomes_a_flag(value, said):
    row = Lever(name="lever", sets="--lever", scope="launch", values="any")
    assert flags(Settings(value), [row]) == said


@pytest.mark.parametrize(("scope", "sets"), [("request", "--lever"), ("launch", "an environment variable")])
def test_what_is_set_otherwise_is_no_flag(scope, sets):
    assert flags(Settings(1), [Lever(name="lever", sets=sets, scope=scope, values="any")]) == []
