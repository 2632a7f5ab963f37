"""Tool calls against what the request offers."""

from __future__ import annotations

import asyncio

import pytest

from tierwise.spec.call import Completion
from tierwise.verifiers.tool_calls import wrong_call

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]}


@pytest.mark.parametrize(
    ("function", "fields", "why"),
    [
        ({"name": "f", "arguments": '{"n": 1}'}, TOOLS, ""),
        ({"name": "f", "arguments": '{"n": "1"}'}, TOOLS, "arguments of f: $.n: '1' is not of type 'integer'"),
        ({"name": "f", "arguments": ""}, TOOLS, "arguments of f: $: 'n' is a required property"),
        ({"name": "f", "arguments": '{"n": 1'}, TOOLS, "arguments of f: not JSON"),
        ({"name": "f", "arguments": None}, TOOLS, "arguments of f: not JSON"),
        ({"name": "g", "arguments": "{}"}, TOOLS, "it calls 'g', which is not offered"),
        ({"name": "", "arguments": "{}"}, TOOLS, "a tool call has no name"),
        ({"name": "f", "arguments": '{"n": 1}'}, {"functions": [{"name": "f", "parameters": SCHEMA}]}, ""),
        ({"name": "f", "arguments": ""}, {"functions": [{"name": "f"}]}, ""),
        ({"name": "f", "arguments": "{}"}, {"functions": [{"name": "f", "parameters": {"type": "oddity"}}]}, ""),
        ({"name": "f", "arguments": "{}"}, {"tools": "odd", "functions": [None]}, "it calls 'f', which is not offered"),
    ],
)
def test_a_call_is_compared_with_its_schema(function, fields, why):
    found = asyncio.run(wrong_call(Completion(tool_calls=({"function": function},)), fields))
    assert found.replace("<root>", "$") == why


def test_a_call_that_is_no_function_is_not_checked():
    assert asyncio.run(wrong_call(Completion(tool_calls=({"type": "custom", "custom": {"input": "x"}},)), TOOLS)) == ""
