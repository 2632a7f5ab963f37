"""Whatever stands at any place of a request for a response, it is read or refused by name."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from tierwise.gateway.apis.responses import Responses, ResponseStore
from tierwise.spec.errors import SpecError
from tierwise.spec.stored import StoredResponses

BODY: dict[str, Any] = {
    "model": "tier",
    "instructions": "be brief",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "a"}]},
        {
            "role": "user",
            "content": [
                {"type": "input_image", "image_url": "https://a/b", "detail": "low"},
                {"type": "input_file", "file_data": "AAAA", "filename": "a"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "a"}],
            "content": [{"type": "reasoning_text", "text": "a"}],
            "encrypted_content": "tierwise:YQ==",
        },
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "a", "annotations": []}, {"type": "refusal", "refusal": "b"}],
        },
        {"type": "function_call", "call_id": "a", "name": "b", "namespace": "c", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_text", "text": "a"}]},
        {"type": "custom_tool_call", "call_id": "a", "name": "b", "input": "c"},
        {"type": "custom_tool_call_output", "call_id": "a", "output": "b"},
    ],
    "tools": [
        {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True},
        {"type": "custom", "name": "g", "description": "d", "format": {"type": "text"}},
        {"type": "namespace", "name": "n", "description": "d", "tools": [{"type": "function", "name": "f"}]},
        {"type": "web_search", "filters": {}},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
    "parallel_tool_calls": True,
    "text": {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}, "strict": True},
    },
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 4,
    "max_tool_calls": 4,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_logprobs": 2,
    "include": ["message.output_text.logprobs", "reasoning.encrypted_content"],
    "service_tier": "auto",
    "metadata": {"a": "b"},
    "client_metadata": {"a": "b"},
    "user": "a",
    "safety_identifier": "a",
    "prompt_cache_key": "a",
    "store": True,
    "stream": True,
    "stream_options": {"include_obfuscation": False},
    "truncation": "disabled",
    "background": False,
    "tierwise": {"budget": {"passes": 3}},
}
WRONG: tuple[Any, ...] = (None, -1.5, 1e300, "", {}, [None], {"type": "x"}, True)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(path: tuple[Any, ...], value: Any) -> Any:
    body: Any = copy.deepcopy(BODY)
    at = body
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return body


async def _read(bodies: Iterable[Any]) -> list[SpecError | None]:
    api = Responses(ResponseStore(StoredResponses(), clock=float))
    found: list[SpecError | None] = []
    for body in bodies:
        try:
            await api.read(json.dumps(body).encode())
            found.append(None)
        except SpecError as error:
            found.append(error)
    return found


def read(bodies: Iterable[Any]) -> list[SpecError | None]:
    """The errors of bodies; None for those that are read."""
    return asyncio.run(_read(bodies))


def test_all_of_it_is_read():
    assert read([BODY]) == [None]


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_wrong_value_anywhere_is_refused_by_name(wrong):
    paths = [path for path in places(BODY) if path]
    errors = read(changed(path, wrong) for path in paths)
    assert any(errors)
    for path, error in zip(paths, errors, strict=True):
        if error is not None:
            root = str(path[0])
            assert error.field.startswith(root) or root in ("tools", "tool_choice", "text"), (path, error.field)


def test_an_unknown_field_anywhere_is_refused_by_name():
    free = {"schema", "parameters", "metadata", "client_metadata", "input_audio"}
    paths = []
    for path in places(BODY):
        at: Any = BODY
        for key in path:
            at = at[key]
        if isinstance(at, dict) and not free.intersection(path) and path[:2] != ("tools", 3):
            paths.append(path)
    for path, error in zip(paths, read(changed((*path, "future"), 1) for path in paths), strict=True):
        assert error is not None, path
        assert "future" in str(error), (path, error)
        assert "allowed" in str(error) or path[0] == "tierwise"
