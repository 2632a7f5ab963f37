"""Upstream faults of `faults.py`, after reports about real servers, in the format of `tests/cases/upstream.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Event = dict[str, Any]

END: tuple[Event, ...] = (
    {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}},
)
CALL = [{"name": "weather", "arguments": '{"city": "Oslo"}'}]
BOTH = [*CALL, {"name": "clock", "arguments": '{"zone": "CET"}'}]
FAILED = {"fails": True, "code": ["engine_broken", "engine_garbled"]}
MISCONFIGURED = {
    "status": 502,
    "code": "engine_misconfigured",
    "passes": 1,
    "ready_afterwards": True,
    "should_retry": False,
}
HI = {"content": "Hi there", "finish_reason": "stop", "finish_chunks": 1}


def say(delta: Mapping[str, Any] | str, finish: Any = None, **more: Any) -> Event:
    """One event."""
    found = {"content": delta} if isinstance(delta, str) else dict(delta)
    return {"choices": [{"index": 0, "delta": found, "finish_reason": finish, **more}]}


def call(**fields: Any) -> Event:
    return say({"tool_calls": [fields]})


def hi(*between: Event, end: Sequence[Event] = END) -> list[Event]:
    """An answer in two pieces, with something between them."""
    return [say("Hi"), *between, say(" there"), *end]


def with_usage(usage: Any) -> list[Event]:
    return [*hi(end=END[:1]), {"choices": [], "usage": usage}]


def raw(text: str) -> Event:
    return {"raw": text}


def case(kind: str, name: str, upstream: Sequence[Event], **expect: Any) -> dict[str, Any]:
    return {"kind": kind, "case": name, "upstream": list(upstream), "expect": expect}


def _tool_calls() -> Iterator[dict[str, Any]]:
    sun = {"name": "weather", "arguments": '{"city": "Oslo"}'}
    clock = {"name": "clock", "arguments": '{"zone": "CET"}'}
    right = {"tool_calls": CALL, "finish_reason": "tool_calls", "finish_chunks": 1}
    both = {**right, "tool_calls": BOTH}
    done = [say({}, "tool_calls"), END[1]]
    first = {"index": 0, "id": "call_a", "type": "function", "function": {"name": "weather", "arguments": ""}}
    for nothing in (None, ""):
        later = {
            "index": 0,
            "id": nothing,
            "type": nothing,
            "function": {"name": nothing, "arguments": sun["arguments"]},
        }
        yield case(
            "tool calls", f"id, type and name are {nothing!r} later", [call(**first), call(**later), *done], **right
        )
    pieces = [call(index=0, function={"arguments": letter}) for letter in sun["arguments"]]
    yield case("tool calls", "one letter at a time", [call(**first), *pieces, *done], **right)
    yield case("tool calls", "no id at all", [call(index=0, function=sun), *done], **right)
    yield case("tool calls", "a number as id", [call(index=0, id=7, function=sun), *done], **right)
    yield case("tool calls", "no index", [call(id="a", function=sun), call(id="b", function=clock), *done], **both)
    yield case("tool calls", "null as index", [call(index=None, id="a", function=sun), *done], **right)
    yield case("tool calls", "a float as index", [call(index=0.0, id="a", function=sun), *done], **right)
    yield case("tool calls", "no index and no id", [call(function=sun), call(function=clock), *done], **both)
    yield case("tool calls", "indices that begin at 1", [call(index=1, id="a", function=sun), *done], **right)
    yield case(
        "tool calls",
        "two in one delta",
        [say({"tool_calls": [{**first, "function": sun}, {"index": 1, "id": "b", "function": clock}]}), *done],
        **both,
    )
    yield case(
        "tool calls", "an object instead of a list", [say({"tool_calls": {**first, "function": sun}}), *done], **right
    )
    given = {"name": "weather", "arguments": {"city": "Oslo"}}
    yield case(
        "tool calls",
        "arguments as an object",
        [call(index=0, id="a", function=given), *done],
        tool_calls=[{"name": "weather", "arguments": '{"city":"Oslo"}'}],
    )
    yield case(
        "tool calls",
        "in the finish chunk",
        [say({"tool_calls": [{**first, "function": sun}]}, "tool_calls"), END[1]],
        **right,
    )
    yield case(
        "tool calls", "after the finish reason", [say({}, "stop"), call(index=0, id="a", function=sun), END[1]], **right
    )
    yield case("tool calls", "beside null", [say({"tool_calls": None, "content": "Hi there"}), *END], **HI)
    yield case("tool calls", "beside an empty list", [say({"tool_calls": [], "content": "Hi there"}), *END], **HI)
    yield case(
        "tool calls",
        "cut by max_tokens",
        [call(**first), say({}, "length"), END[1]],
        tool_calls=[{**sun, "arguments": ""}],
        finish_reason="length",
    )
    yield case(
        "tool calls",
        "the old field, its name repeated",
        [
            *(say({"function_call": {"name": "weather", "arguments": part}}) for part in ('{"city": ', '"Oslo"}')),
            say({}, "stop"),
            END[1],
        ],
        function_call=sun,
        finish_reason="function_call",
    )
    body = {
        "choices": [
            {
                "index": 0,
                "message": {"content": None, "tool_calls": [{"id": "a", "function": sun}]},
                "finish_reason": "stop",
            }
        ]
    }
    yield case("tool calls", "in one JSON body", [{"json": body}], **right)


def _finish() -> Iterator[dict[str, Any]]:
    for reason in ("abort", "error", "cancelled", "insufficient_system_resource", {"type": "abort"}):
        yield case(
            "finish",
            f"{reason!r} is no answer",
            [say("Hi", reason), END[1]],
            fails=True,
            retried=True,
            code="engine_broken",
        )
    for reason, name in (
        ("STOP", "stop"),
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("content_filter", "content_filter"),
        ({"type": "stop"}, "stop"),
    ):
        yield case(
            "finish",
            f"{reason!r} as finish reason",
            [say("Hi there"), say({}, reason), END[1]],
            content="Hi there",
            finish_reason=name,
        )
    unreadable: list[Any] = [1, 0, 1.5, True, ["stop"]]
    for reason in unreadable:
        yield case(
            "finish",
            f"{reason!r} as finish reason",
            [say("Hi there"), say({}, reason), END[1]],
            content="Hi there",
            finish_reason="stop",
            passes=1,
        )
    yield case("finish", "0 with every chunk", [say("Hi", 0), say(" there", 0), *END], **HI)
    yield case("finish", "an empty text with every chunk", [say("Hi", ""), say(" there", ""), *END], **HI)
    yield case("finish", "the text null with every chunk", [say("Hi", "null"), say(" there", "null"), *END], **HI)
    yield case("finish", "in the chunk of the last word", [say("Hi"), say(" there", "stop"), END[1]], **HI)
    yield case("finish", "another reason after the first", [*hi(end=END[:1]), say({}, "length"), END[1]], **HI)
    yield case("finish", "no [DONE]", [*hi(), {"done": False}], **HI)
    yield case("finish", "no [DONE] and no usage", [*hi(end=END[:1]), {"done": False}], content="Hi there", exact=False)
    yield case("finish", "no end at all", [say("Hi"), {"done": False}], **FAILED)
    yield case("finish", "[DONE] without reason and usage", [say("Hi")], **FAILED)
    yield case(
        "finish", "usage before the last word, [DONE] without a reason", [say("Hi"), END[1], say(" th")], **FAILED
    )
    yield case(
        "finish",
        "a cut connection after the reason",
        [*hi(end=END[:1]), {"cut": True}],
        content="Hi there",
        exact=False,
    )
    yield case(
        "finish",
        "comments without end after the reason",
        [*hi(end=END[:1]), {"drip": ": ping\n\n" * 20, "every": 0.1}],
        content="Hi there",
        answered_within_seconds=3,
    )
    yield case(
        "finish",
        "usage after half a second",
        [*hi(end=END[:1]), {"pause": 0.5}, END[1]],
        content="Hi there",
        exact=True,
    )
    yield case("finish", "words after [DONE]", [*hi(), raw("data: [DONE]\n\n"), say("!")], **HI)
    yield case("finish", "an empty answer", [*END], content="", finish_reason="stop")


def _usage() -> Iterator[dict[str, Any]]:
    inexact = {**HI, "exact": False, "in_ledger": True, "completion_tokens_at_least": 1}
    odd: list[Any] = [None, "many", 7, [], [7, 2], {}, True]
    for usage in odd:
        yield case("usage", f"{usage!r} instead of an object", with_usage(usage), **inexact)
    counts: list[Any] = [None, -1, 2.5, "two", [], {}, 10**12, 10**399, 2**63, True, "9" * 400]
    for count in counts:
        name = str(count)[:20]
        yield case(
            "usage",
            f"{name} as both counts",
            with_usage({"prompt_tokens": count, "completion_tokens": count}),
            **inexact,
        )
        yield case(
            "usage",
            f"{name} as prompt",
            with_usage({"prompt_tokens": count, "completion_tokens": 2}),
            **{**inexact, "completion_tokens": 2},
        )
    yield case(
        "usage",
        "counts as texts",
        with_usage({"prompt_tokens": "7", "completion_tokens": "2"}),
        **HI,
        prompt_tokens=7,
        completion_tokens=2,
        exact=True,
    )
    yield case(
        "usage",
        "more cached than asked",
        with_usage({"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 9}}),
        **HI,
        exact=False,
    )
    others: list[Any] = [[], "none", {"cached_tokens": "x"}, {"cached_tokens": -1}, {"cached_tokens": None}]
    for details in others:
        usage = {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "prompt_tokens_details": details,
            "completion_tokens_details": details,
        }
        yield case("usage", f"details are {details!r}", with_usage(usage), **HI, prompt_tokens=7)
    good = END[1]["usage"]
    for other in (
        good,
        {"prompt_tokens": 0, "completion_tokens": 0},
        None,
        {"prompt_tokens": 7, "completion_tokens": 1},
    ):
        yield case(
            "usage",
            f"given again as {other!r}",
            [*hi(), {"choices": [], "usage": other}],
            **HI,
            prompt_tokens=7,
            completion_tokens=2,
        )
    yield case(
        "usage",
        "NaN",
        [*hi(end=END[:1]), raw('data: {"choices": [], "usage": {"prompt_tokens": NaN, "completion_tokens": 2}}\n\n')],
        **inexact,
    )
    yield case(
        "usage",
        "an infinity",
        [*hi(end=END[:1]), raw('data: {"choices": [], "usage": {"prompt_tokens": 1e999, "completion_tokens": 2}}\n\n')],
        **inexact,
    )
    yield case(
        "usage",
        "a number of 5,000 digits",
        [*hi(end=END[:1]), raw(f'data: {{"choices": [], "usage": {{"prompt_tokens": {"9" * 5000}}}}}\n\n')],
        **inexact,
    )


def _events() -> Iterator[dict[str, Any]]:
    for words in (
        ": keep-alive",
        "ping",
        "[PING]",
        "keep-alive",
        "null",
        '""',
        "{}",
        '{"type": "ping"}',
        "OPENROUTER PROCESSING",
    ):
        yield case("events", f"a data line that says {words}", hi(raw(f"data: {words}\n\n")), **HI)
    yield case("events", "a keep-alive without a blank line after it", hi(raw("data: ping\n")), **HI)
    yield case("events", "an event named ping", hi(raw("event: ping\ndata: {}\n\n")), **HI)
    yield case("events", "a comment", hi(raw(": ping\n\n")), **HI)
    yield case("events", "carriage returns", hi(raw(": ping\r\n\r\n")), **HI)
    yield case("events", "a choice of another index", hi({"choices": [{"index": 1, "delta": {"content": "No"}}]}), **HI)
    yield case(
        "events",
        "two choices in an event",
        hi({"choices": [{"index": 1, "delta": {"content": "No"}}, {"index": 0, "delta": {}}]}),
        **HI,
    )
    yield case("events", "choices are null", hi({"choices": None}), **HI)
    yield case("events", "a delta is null", hi({"choices": [{"index": 0, "delta": None}]}), **HI)
    yield case("events", "log-probabilities that are none", hi(say("", logprobs="none"), say("", logprobs=[])), **HI)
    yield case(
        "events",
        "log-probabilities that are not finite",
        hi(
            raw(
                'data: {"choices": [{"index": 0, "delta": {}, "logprobs": '
                '{"content": [{"token": "x", "logprob": -Infinity}]}}]}\n\n'
            )
        ),
        **HI,
    )
    yield case(
        "events",
        "the role with every delta",
        [say({"role": "assistant", "content": word}) for word in ("Hi", " there")] + [*END],
        **HI,
    )
    yield case(
        "events",
        "half a character",
        [
            raw('data: {"choices": [{"delta": {"content": "\\ud83e"}}]}\n\n'),
            raw('data: {"choices": [{"delta": {"content": "\\udd8a"}}]}\n\n'),
            *END,
        ],
        content="🦊",
    )
    yield case(
        "events",
        "half a character without the other",
        [raw('data: {"choices": [{"delta": {"content": "a\\ud83e"}}]}\n\n'), *END],
        content="a\ufffd",
    )
    yield case(
        "events",
        "half a character in a log-probability",
        hi(
            raw('data: {"choices": [{"delta": {}, "logprobs": {"content": [{"token": "\\ud83e", "logprob": 0}]}}]}\n\n')
        ),
        **HI,
    )
    yield case(
        "events",
        "thinking as a part of the content",
        [say({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), *hi()],
        **HI,
        reasoning="hm",
    )
    yield case(
        "events",
        "thinking under both names",
        [say({"reasoning": "hm", "reasoning_content": "hm"}), *hi()],
        **HI,
        reasoning="hm",
    )
    yield case("events", "content as a number", [say({"content": 7}), *hi()], **HI)
    yield case(
        "events",
        "a message instead of a delta",
        [{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi there"}}]}, *END],
        **HI,
    )
    yield case("events", "a mark of byte order", [raw("\ufeff"), *hi()], **HI)
    yield case("events", "an event of three lines", hi(raw('data: {"choices":\ndata: []\ndata: }\n\n')), **HI)
    yield case("events", "an event that is cut", [say("Hi"), raw('data: {"choices": [{"del\n\n'), *END], **FAILED)
    yield case(
        "events",
        "an event that is no chunk",
        [say("Hi"), say({}), raw('data: {"choices": [{"delta": "text"}]}\n\n'), *END],
        **FAILED,
    )
    yield case("events", "nothing but words", [raw("hello\nworld\n"), {"done": False}], **FAILED)
    yield case("events", "nothing but keep-alives", [raw(": ping\n\n" * 3), {"done": False}], **FAILED)
    error = {"message": "out of memory", "code": 500}
    errors: dict[str, Event] = {
        "an error event": {"error": error},
        "an error as text": {"error": "out of memory"},
        "an error with a code of 400 digits": {"error": {"message": "out of memory", "code": 10**399}},
        "an object error": {"object": "error", "message": "out of memory"},
        "a message without choices": {"message": "out of memory", "code": 500},
        "a detail without choices": {"detail": "out of memory"},
        "an event named error": raw('event: error\ndata: {"reason": "out of memory"}\n\n'),
        "an event named error, as text": raw("event: error\ndata: out of memory\n\n"),
        "llama.cpp's old field": raw('error: {"code": 500, "message": "out of memory"}\n\n'),
    }
    for name, event in errors.items():
        yield case(
            "events",
            f"{name} before the first word",
            [event],
            fails=True,
            code="engine_broken",
            says="out of memory",
            retried=True,
        )
        yield case(
            "events",
            f"{name} after a word",
            [say("Hi"), event, *END],
            fails=True,
            code="engine_broken",
            says="out of memory",
        )
    yield case(
        "events",
        "an overloaded error event",
        [{"error": {"message": "busy", "type": "overloaded_error"}}],
        status=429,
        code="engine_overloaded",
    )
    yield case(
        "events", "an error event about the key", [{"error": {"message": "bad key", "code": 401}}], **MISCONFIGURED
    )


def _bodies() -> Iterator[dict[str, Any]]:
    message = {"index": 0, "message": {"role": "assistant", "content": "Hi there"}, "finish_reason": "stop"}
    body = {"choices": [message], "usage": END[1]["usage"]}
    text = json.dumps(body)
    whole = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{}"
    for kind in ("application/json", "text/event-stream", "text/plain", "application/octet-stream"):
        yield case(
            "bodies", f"JSON as {kind}", [{"response": whole.format(kind, len(text), text)}], **HI, prompt_tokens=7
        )
    pretty = json.dumps(body, indent=2)
    yield case(
        "bodies", "JSON on many lines", [{"response": whole.format("application/json", len(pretty), pretty)}], **HI
    )
    lines = "\n".join(json.dumps(event) for event in hi())
    yield case(
        "bodies", "one event a line", [{"response": whole.format("application/x-ndjson", len(lines), lines)}], **HI
    )
    yield case(
        "bodies",
        "JSON without a finish reason",
        [{"json": {"choices": [{**message, "finish_reason": None}]}}],
        content="Hi there",
        finish_reason="stop",
    )
    yield case(
        "bodies",
        "JSON that was aborted",
        [{"json": {"choices": [{**message, "finish_reason": "abort"}]}}],
        fails=True,
        retried=True,
    )
    yield case(
        "bodies",
        "JSON with content in parts",
        [{"json": {"choices": [{**message, "message": {"content": [{"type": "text", "text": "Hi there"}]}}]}}],
        **HI,
    )
    yield case(
        "bodies", "an error in JSON with status 200", [{"json": {"error": {"message": "no", "code": 429}}}], status=429
    )
    yield case("bodies", "JSON without choices", [{"json": {"choices": []}}], **FAILED)
    yield case(
        "bodies", "JSON that is cut", [{"response": whole.format("application/json", len(text), text[:40])}], **FAILED
    )
    page = "<html>sign in</html>"
    yield case("bodies", "a page", [{"response": whole.format("text/html", len(page), page)}], **FAILED)
    yield case("bodies", "nothing", [{"response": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"}], **FAILED)


def _statuses() -> Iterator[dict[str, Any]]:
    body = {"error": {"message": "no"}}
    for status in (401, 402, 403, 404, 405, 409, 410):
        yield case("status", str(status), [{"status": status, "body": body}], **MISCONFIGURED)
    for status in (301, 302, 307, 308):
        yield case(
            "status", str(status), [{"status": status, "headers": {"Location": "http://far/v1"}}], **MISCONFIGURED
        )
    for message in (
        "Incorrect API key provided: sk-upstream-secret",
        "The model `default` does not exist",
        "unsupported parameter: stream_options",
    ):
        secret = {"never_shown": "sk-upstream-secret"}
        yield case(
            "status",
            f"400: {message}",
            [{"status": 400, "body": {"error": {"message": message}}}],
            **MISCONFIGURED,
            **secret,
        )
    for status in (400, 413, 415, 422):
        yield case(
            "status",
            str(status),
            [{"status": status, "body": body}],
            status=400,
            code="engine_refused",
            passes=1,
            ready_afterwards=True,
        )
    yield case(
        "status",
        "400 for the length",
        [{"status": 400, "body": {"error": {"message": "prompt is too long"}}}],
        code="context_length_exceeded",
    )
    for status in (500, 501, 502, 418, 520):
        yield case(
            "status", str(status), [{"status": status, "body": body}], status=502, code="engine_broken", retried=True
        )
    for status in (408, 504):
        yield case(
            "status", str(status), [{"status": status, "body": body}], status=504, code="engine_timed_out", passes=1
        )
    waits = {
        "2": "kept",
        "0.5": "kept",
        "9" * 400: "kept",
        "soon": "dropped",
        "-1": "dropped",
        "nan": "dropped",
        "inf": "dropped",
    }
    for status in (429, 503, 529):
        for wait, fate in waits.items():
            given = {"status": status, "headers": {"Retry-After": wait}, "body": body}
            yield case(
                "status",
                f"{status}, Retry-After {wait[:9]}",
                [given],
                status=429,
                retry_after=fate,
                in_ledger=True,
                passes=1,
            )
    yield case(
        "status",
        "429, retry-after-ms",
        [{"status": 429, "headers": {"retry-after-ms": "1500"}, "body": body}],
        status=429,
        retry_after="kept",
    )
    for place, given in {
        "in the body": {"status": 500, "body": {"error": {"message": "key sk-upstream-secret"}}},
        "in a redirect": {"status": 302, "headers": {"Location": "http://far/?key=sk-upstream-secret"}},
        "in a long page": {"status": 500, "body": "x" * 490 + "sk-upstream-secret"},
        "in garbage": raw("data: {sk-upstream-secret\n\n"),
        "in words": raw("sk-upstream-secret\n"),
        "in an error event": {"error": {"message": "key sk-upstream-secret"}},
    }.items():
        yield case("status", f"our key {place}", [given, {"done": False}], fails=True, never_shown="sk-upstream-secr")


def _connections() -> Iterator[dict[str, Any]]:
    yield case("connection", "cut before the headers", [{"response": ""}], **FAILED)
    yield case("connection", "cut before the first word", [{"cut": True}], **FAILED)
    yield case("connection", "cut after a word", [say("Hi"), {"cut": True}], **FAILED)
    yield case("connection", "words that are no HTTP", [{"response": "SSH-2.0-OpenSSH_9.9\r\n\r\n"}], **FAILED)
    yield case(
        "connection",
        "a broken chunk",
        [{"response": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}],
        **FAILED,
    )
    yield case(
        "connection",
        "a short body",
        [{"response": 'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\ndata: {"choices": []}\n\n'}],
        **FAILED,
    )
    late = {"fails": True, "code": ["engine_timed_out", "budget_exhausted"], "answered_within_seconds": 8}
    yield case("connection", "silence before the first word", [{"hold_open_seconds": 12}], **late) | {"slow": True}
    yield case("connection", "a drip before the first word", [{"drip": ": ping\n\n" * 3, "every": 0.6}], **late) | {
        "slow": True
    }
    cut = {"content": "Hi", "finish_reason": "length", "answered_within_seconds": 8}
    yield case(
        "connection", "a drip after a word", [say("Hi"), {"drip": ": ping\n\n" * 3, "every": 0.6}, *END], **cut
    ) | {"slow": True}
    yield case(
        "connection", "a dripping error", [{"response": "HTTP/1.1 500 No\r\nContent-Length: 90\r\n\r\nno"}], **FAILED
    )


CASES = [*_tool_calls(), *_finish(), *_usage(), *_events(), *_bodies(), *_statuses(), *_connections()]
"""Beside those of `tests/cases/upstream.jsonl`."""
