"""Refused requests are told from the limits of a tier."""

from __future__ import annotations

import pytest

from tierwise.runs.refusals import is_refusal, is_task_limit, reason


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "engine_refused", "logprobs is not supported with tools + stream"),
        (400, "invalid_value", "messages[0].role must be one of system, user, assistant, tool, not 'observation'"),
        (400, "", "Unrecognized request argument supplied: seed"),
        (422, "", "extra fields not permitted"),
        (401, "", "Incorrect API key provided"),
        (403, "", "forbidden"),
        (404, "model_not_found", "the model `fast` does not exist"),
        (405, "", "Method Not Allowed"),
        (301, "", "moved to https://example.com/v1"),
        (402, "", "insufficient credits"),
        (502, "engine_misconfigured", "the server rejects the key"),
        (None, "engine_refused", "response_format is not supported"),
    ],
)
def test_a_request_that_the_server_rejects_is_refused(status, code, message):
    assert is_refusal(status, code, message)
    assert not is_task_limit(status, code, message)


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (400, "context_length_exceeded", "the prompt has 9000 tokens"),
        (413, "body_too_large", "33 MiB"),
        (504, "budget_exhausted", "no answer within 2 s"),
        (400, "content_filter", "filtered"),
        (400, "engine_refused", "The response was filtered due to the prompt triggering our content management policy"),
        (400, "", "code: content_policy_violation"),
        (None, "engine_refused", "blocked by content moderation"),
    ],
)
def test_a_limit_that_a_task_reaches_is_not_a_refusal(status, code, message):
    assert is_task_limit(status, code, message)
    assert not is_refusal(status, code, message)


@pytest.mark.parametrize(
    ("status", "code"), [(429, "engine_overloaded"), (408, ""), (500, ""), (502, "engine_broken"), (None, "garbled")]
)
def test_a_failure_that_may_pass_is_neither(status, code):
    assert not is_refusal(status, code, "later")
    assert not is_task_limit(status, code, "later")


def test_messages_that_differ_only_in_numbers_ids_and_quoted_text_have_the_same_reason():
    first = reason(400, "", "request 3f2a9b7c41 of 17 tokens: field 'seed' is unknown")
    assert first == reason(400, "", "request 99ab01cd2e of 8,000 tokens: field 'logprobs' is unknown")
    assert first != reason(400, "", "no such model")
