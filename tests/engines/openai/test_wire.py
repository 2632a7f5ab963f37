"""What servers send, in all the shapes that we have seen it in."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tierwise.engines.openai.events import EventParser
from tierwise.engines.openai.failure import Failure, read_failure
from tierwise.engines.openai.wire import read_event
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Broken, EngineError, Misconfigured, Overloaded, Refused, TimedOut, TooLong


def read(**event: object) -> Chunk | Failure:
    return read_event(json.dumps(event).encode())


def kind_of(event: Chunk | Failure) -> type[EngineError]:
    assert isinstance(event, Failure)
    return type(event.blame("large"))


def test_a_chunk_keeps_its_delta_as_it_came():
    delta = {"content": "é", "reasoning_content": "hm", "tool_calls": [{"index": 0, "id": "1"}], "unknown": {"a": [1]}}
    assert read(choices=[{"delta": delta, "finish_reason": None}]) == Chunk(delta=delta)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{}]},
        {"choices": [{"delta": None, "finish_reason": "", "logprobs": None}], "usage": None, "error": None},
    ],
)
def test_an_event_that_says_nothing_is_an_empty_chunk(event):
    assert read(**event) == Chunk()


@pytest.mark.parametrize(
    ("usage", "read_as"),
    [
        ({"prompt_tokens": 5, "completion_tokens": 2}, Usage(prompt=5, completion=2)),
        ({"prompt_tokens": 5, "completion_tokens": None, "total_tokens": 5}, Usage(prompt=5)),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(prompt=5, cached=4, completion=2),
        ),
        ({"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(prompt=5, completion=2)),
        (
            {"prompt_tokens": 5, "completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 7}},
            Usage(prompt=5, completion=9, reasoning=7),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 9, "reasoning_tokens": 7},
            Usage(prompt=5, completion=9, reasoning=7),
        ),
    ],
    ids=["plain", "prefill only", "cached", "vllm without cached", "openai reasoning", "sglang reasoning"],
)
def test_usage_is_read_from_every_place_where_servers_put_it(usage, read_as):
    chunk = read(choices=[], usage=usage)
    assert isinstance(chunk, Chunk)
    assert chunk.usage == read_as


def test_llama_cpps_running_count_is_usage_and_its_final_usage_wins():
    timings = {"cache_n": 30, "prompt_n": 3, "predicted_n": 7, "predicted_ms": 1.5}
    running = read(choices=[{"delta": {"content": "a"}}], timings=timings)
    final = read(choices=[], timings=timings, usage={"prompt_tokens": 33, "completion_tokens": 8})
    assert isinstance(running, Chunk)
    assert isinstance(final, Chunk)
    assert running.usage == Usage(prompt=33, cached=30, completion=7)
    assert final.usage == Usage(prompt=33, completion=8)


@pytest.mark.parametrize(
    ("progress", "usage"),
    [
        ({"total": 900, "cache": 0, "processed": 0, "time_ms": 0}, Usage(prompt=900, exact=False)),
        ({"total": 5000, "cache": 100, "processed": 100}, Usage(prompt=4196, cached=100, exact=False)),
        ({"total": 5000, "cache": 100, "processed": 4196}, Usage(prompt=5000, cached=100, exact=False)),
        ({"total": 900, "cache": 24, "processed": 900}, Usage(prompt=900, cached=24)),
    ],
)
def test_a_prompt_under_way_counts_with_the_batches_that_llama_cpp_will_finish_anyhow(progress, usage):
    event = read(choices=[{"delta": {"role": "assistant", "content": None}}], prompt_progress=progress)
    assert event == Chunk(usage=usage)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, {"error": {"message": "slow down", "type": "rate_limit_error"}}, Overloaded),
        (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, Overloaded),
        (529, {"message": "all workers are busy"}, Overloaded),
        (408, "", TimedOut),
        (504, "<html>gateway time-out</html>", TimedOut),
        (400, {"error": {"message": "temperature must be positive"}}, Refused),
        (413, {"error": {"message": "the body is too big"}}, Refused),
        (422, {"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}, Refused),
        (400, {"error": {"message": "no", "code": "context_length_exceeded"}}, TooLong),
        (400, {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error"}}, TooLong),
        (500, {"error": {"message": "image input is not supported - hint: provide the mmproj"}}, Refused),
        (500, {"error": {"message": "CUDA out of memory"}}, Broken),
        (301, "", Misconfigured),
        (401, {"error": {"message": "wrong key"}}, Misconfigured),
        (402, {"error": {"message": "no credit"}}, Misconfigured),
        (403, {"error": {"message": "not for you"}}, Misconfigured),
        (404, {"error": {"message": "no such model"}}, Misconfigured),
        (409, {"error": {"message": "the deployment is stopped"}}, Misconfigured),
        (400, {"error": {"message": "API key not valid. Please pass a valid API key."}}, Misconfigured),
        (400, {"error": {"message": "The model `gpt-9` does not exist"}}, Misconfigured),
        (400, {"error": {"message": "Invalid model name passed in model=large", "code": "400"}}, Misconfigured),
        (400, {"error": {"message": "this model does not support images"}}, Refused),
        (501, {"error": {"message": "this server does not support tools"}}, Broken),
        (502, "", Broken),
        (418, b"\xff\xfe", Broken),
    ],
)
def test_every_status_has_its_region_on_the_map_of_errors(status, body, kind):
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    assert kind_of(read_failure(status, raw, {})) is kind


@pytest.mark.parametrize(
    "words",
    [
        "request (3031 tokens) exceeds the available context size (1024 tokens), try increasing it",
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens",
        "The decoder prompt (length 8357) is longer than the maximum model length of 8192.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "Requested token count exceeds the model's maximum context length of 4096 tokens.",
        "prompt is too long: 215000 tokens > 200000 maximum",
        "Input tokens exceed the configured limit of 272000 tokens. Please reduce the length of the messages.",
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens",
        "Input length 131393 exceeds the maximum allowed input length of 131040 tokens.",
        "prompt token count of 200000 exceeds the limit of 128000",
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4031 `inputs` tokens",
        "Input validation error: `inputs` must have less than 1024 tokens. Given: 1111",
    ],
    ids=[
        *("llama.cpp", "vllm", "vllm v1", "sglang", "sglang 2", "anthropic", "openai", "xai", "poolside", "copilot"),
        *("tgi", "tgi 2"),
    ],
)
def test_a_prompt_that_does_not_fit_is_recognised_in_every_servers_words(words):
    error = read_failure(400, json.dumps({"error": {"message": words}}).encode(), {}).blame("large")
    assert (type(error), str(error)) == (TooLong, words)


@pytest.mark.parametrize("words", ["tools[0].function.name: string too long", "max_tokens must be at most 4096"])
def test_other_things_that_are_too_large_are_refusals(words):
    assert kind_of(read_failure(400, json.dumps({"error": {"message": words}}).encode(), {})) is Refused


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error":{"message":"no"}}', "no"),
        (b'{"error":"no"}', "no"),
        (b'{"message":"no","object":"error"}', "no"),
        (b'{"detail":"no"}', "no"),
        (b'{"detail":[{"msg":"no"}]}', '[{"msg":"no"}]'),
        (b'{"error":{"reason":"no"}}', '{"reason":"no"}'),
        (b"<h1>no</h1>\n", "<h1>no</h1>"),
        (b"\xffno", "\ufffdno"),
        (b'{"a":"\xff"}', '{"a":"\ufffd"}'),
        (b"", "no reason given"),
        (b"[" * 100_000, "[" * 500),
    ],
)
def test_a_servers_own_words_are_found_in_every_shape_of_error(body, message):
    assert read_failure(500, body, {}).message == message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "2"}, 2),
        ({"Retry-After": " 0.5 "}, 0.5),
        ({"Retry-After-Ms": "1500", "Retry-After": "2"}, 1.5),
        ({"Retry-After": "99999999999999999999999999999999"}, 3600),
        ({"Retry-After": "9" * 400}, 3600),
        ({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}, 3600),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"Retry-After": "Wed, 21 Oct 9999999 07:28:00 GMT"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1e3"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": ""}, None),
        ({}, None),
    ],
    ids=str,
)
def test_retry_after_is_kept_in_each_of_its_forms_bounded_and_dropped_if_it_is_none(headers, seconds):
    assert read_failure(429, b"", headers).blame("large").retry_after == seconds


def test_retry_after_as_a_date_is_the_time_until_then():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    wait = read_failure(429, b"", {"Retry-After": date}).retry_after
    assert wait is not None
    assert 60 < wait <= 90


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"error": {"message": "no", "code": 429}}, Overloaded),
        ({"error": {"message": "no", "code": "429"}}, Overloaded),
        ({"error": {"message": "no", "type": "rate_limit_error", "code": None}}, Overloaded),
        ({"error": {"message": "no", "code": "rate_limit_exceeded"}}, Overloaded),
        ({"error": {"message": "no", "type": "overloaded_error"}}, Overloaded),
        ({"error": {"message": "no", "type": "timeout_error"}}, TimedOut),
        ({"error": {"message": "no", "type": "invalid_request_error"}}, Refused),
        ({"error": {"message": "no", "code": "context_length_exceeded"}}, TooLong),
        ({"error": {"message": "no", "code": "server_error"}, "choices": [{"finish_reason": "error"}]}, Broken),
        ({"error": {"message": "no", "code": True}}, Broken),
        ({"error": "no"}, Broken),
        ({"object": "error", "message": "no", "type": "BadRequestError", "code": 400}, Refused),
    ],
)
def test_an_error_inside_a_stream_is_of_the_kind_that_its_code_or_type_says(event, kind):
    failure = read(**event)
    assert kind_of(failure) is kind
    assert isinstance(failure, Failure)
    assert failure.message == "no"


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"hello",
        b"[]",
        b'{"choices":[{"delta":"text"}]}',
        b'{"usage":{"prompt_tokens":7},"choices":[{"delta":7}]}',
        b"\xff",
        b'{"error":"\xff"}',
        b'{"choices":' + b"[" * 100_000,
        b'{"choices":[{"delta":{"a":' + b"[" * 100_000,
    ],
    ids=range(9),
)
def test_what_is_not_a_chunk_is_a_value_error_and_nothing_else(event):
    with pytest.raises(ValueError):
        read_event(event)


NAMES = ["choices", "delta", "usage", "error", "timings", "object", "code", "type", "x"]
VALUES = st.recursive(
    st.none() | st.text() | st.integers(),
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner | st.lists(inner)),
)


@settings(max_examples=50)
@given(st.binary() | VALUES.map(msgspec.json.encode))
def test_no_event_whatever_it_holds_raises_anything_but_a_value_error(event):
    with contextlib.suppress(ValueError):
        read_event(event)


def events_of(*blocks: bytes) -> list[bytes]:
    events = EventParser()
    return [event for block in blocks for event in events.feed(block)] + events.rest()


def test_events_are_cut_at_blank_lines_and_the_last_word_is_no_event():
    assert events_of(b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n') == [b'{"a":1}', b'{"b":2}']


@pytest.mark.parametrize(
    "stream",
    [
        b'data: {"a":1}\r\n\r\ndata: {"b":2}\r\n\r\n',
        b'data: {"a":1}\r\rdata: {"b":2}\r\r',
        b'data:{"a":1}\n\ndata:{"b":2}\n\n',
        b': ping\n\ndata: {"a":1}\n\n: ping\nid: 7\nevent: message\nretry: 3\ndata: {"b":2}\n\n:\n',
        b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n',
        b'data: {"a":1}\n\ndata: {"b":2}',
        b'\n\n\ndata: {"a":1}\n\n\n\n\ndata: {"b":2}  \n\n',
        b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: {"choices": [{"del',
    ],
    ids=["crlf", "cr", "no blank after the colon", "other fields", "no blank lines", "no end", "blanks", "cut"],
)
def test_events_are_found_however_a_server_ends_its_lines(stream):
    assert events_of(stream) == [b'{"a":1}', b'{"b":2}']


def test_an_event_on_several_lines_is_one_event():
    assert events_of(b'data: {"a":\ndata:  {"b": [\ndata: ]}}\n\n') == [b'{"a":\n{"b": [\n]}}']


def test_an_old_llama_cpps_error_field_is_an_error_event():
    (event,) = events_of(b'error: {"code":400,"message":"exceeds the available context size"}\n\n')
    assert kind_of(read_event(event)) is TooLong


def test_a_line_without_end_is_given_up_before_it_fills_the_memory():
    with pytest.raises(ValueError, match="64 MiB"):
        events_of(*[b"x" * 1024 * 1024] * 65)


@given(
    st.lists(st.tuples(st.text(), st.sampled_from(["\n", "\r\n", "\r"]), st.booleans()), max_size=6),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_the_places_at_which_a_stream_is_cut_into_blocks_change_nothing(events, cuts):
    texts = [json.dumps({"text": text}, ensure_ascii=False) for text, _, _ in events]
    stream = "".join(
        f"{': hm' + end if commented else ''}data: {text}{end}{end}"
        for text, (_, end, commented) in zip(texts, events, strict=True)
    ).encode()
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    blocks = [stream[first:last] for first, last in pairwise(places)]
    assert events_of(*blocks) == events_of(stream) == [text.encode() for text in texts]
