"""Whether the request allows the tool calls of an answer: the tool is offered, and its arguments match its schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tierwise.spec.call import Completion
from tierwise.spec.json import Fields, Json
from tierwise.verifiers.pooled import judge, read_verifier

MOST_CALLS = 32
"""Calls of one answer that are checked; more are not checked."""


async def wrong_call(completion: Completion, fields: Fields) -> str:
    """Why a tool call of an answer cannot be carried out; empty if nothing is wrong with any.

    A tool whose schema is missing or is no JSON Schema allows any arguments that are JSON. Tools that are no functions
    (`type: custom`) take free text.

    Args:
        completion: the answer.
        fields: of the request, with `tools` or `functions`.
    """
    offered = dict(_offered(fields))
    for call in completion.tool_calls[:MOST_CALLS]:
        function = call.get("function")
        if not isinstance(function, Mapping):
            continue
        name = function.get("name")
        if not isinstance(name, str) or not name:
            return "a tool call has no name"
        if name not in offered:
            return f"it calls {name[:80]!r}, which is not offered"
        if why := await _wrong_arguments(function.get("arguments"), offered[name]):
            return f"arguments of {name[:80]}: {why}"
    return ""


async def _wrong_arguments(arguments: Json, schema: Json) -> str:
    if not isinstance(arguments, str):
        return "" if isinstance(arguments, dict) else "not JSON"
    try:
        verifier = await read_verifier({"json_schema": {"schema": schema if isinstance(schema, dict) else {}}})
    except ValueError:
        return ""  # the client's own schema is odd; the client knows what it means
    verdict = await judge(verifier, Completion(text=arguments or "{}"))
    return "" if verdict.ok else verdict.why


def _offered(fields: Fields) -> Iterator[tuple[str, Any]]:
    """The name and the schema of each function of a request."""
    tools, functions = fields.get("tools"), fields.get("functions")
    for tool in tools if isinstance(tools, list) else ():
        inner = tool.get("function") if isinstance(tool, Mapping) else None
        if isinstance(inner, Mapping) and isinstance(name := inner.get("name"), str):
            yield name, inner.get("parameters")
    for function in functions if isinstance(functions, list) else ():
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str):
            yield name, function.get("parameters")
