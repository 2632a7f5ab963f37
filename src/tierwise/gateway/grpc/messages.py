"""Converts requests and answers between the messages of `tierwise.proto` and our types."""

from __future__ import annotations

from typing import Any

import msgspec

from tierwise.gateway.account import UsageReport
from tierwise.gateway.decoding import check_body
from tierwise.gateway.grpc import tierwise_pb2 as pb
from tierwise.gateway.lifecycle import RequestContext
from tierwise.gateway.wire import ParsedRequest, read_aside
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.rows import facts
from tierwise.spec.ask import Answer
from tierwise.spec.call import Chunk, Pass, Usage
from tierwise.spec.errors import SpecError

_PLAIN = frozenset({"role", "content", "reasoning", "reasoning_content"})
"""Keys with a field of their own in messages and deltas."""

_PASS = frozenset(pb.Pass.DESCRIPTOR.fields_by_name)

_encode = msgspec.json.Encoder().encode


async def parsed_of(request: pb.ChatRequest, *, stream: bool) -> ParsedRequest:
    """Parse and validate a request in the same way as one over HTTP.

    Raises:
        SpecError: a field is invalid; it is named as in OpenAI's API.
    """
    fields = _object(request.fields_json, "fields_json")
    for name in ("model", "messages", "stream"):
        if name in fields:
            raise SpecError(f"fields_json.{name}: has its own field or method in the API; remove it", field=name)
    body: dict[str, Any] = {**fields, "model": request.model, "stream": stream}
    body["messages"] = [_message(message, number) for number, message in enumerate(request.messages)]
    for name in ("max_tokens", "temperature", "seed", "n"):
        if request.HasField(name):
            body[name] = getattr(request, name)
    encoded = _encode(body)
    check_body(encoded)
    return await read_aside(encoded)


def _message(message: pb.Message, number: int) -> dict[str, Any]:
    if message.json:
        return _object(message.json, f"messages[{number}].json")
    return {"role": message.role, "content": message.content}


def _object(text: str, field: str) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise SpecError(f"{field}: not JSON: {error}", field=field) from error
    if not isinstance(found, dict):
        raise SpecError(f"{field}: must be a JSON object", field=field)
    return found


def response_of(context: RequestContext, prices: PriceBook) -> pb.ChatResponse:
    """A complete answer."""
    choices = [_choice(index, answer, context) for index, answer in enumerate(context.answers)]
    return pb.ChatResponse(
        id=context.trace.action, model=context.parsed.model, choices=choices, account=account_of(context, prices)
    )


def _choice(index: int, answer: Answer, context: RequestContext) -> pb.Choice:
    said = answer.completion
    whole = said.message()
    message = pb.Message(role="assistant", content=said.text, reasoning=said.reasoning, json=_rest(whole))
    logprobs = ""
    if context.parsed.wants_logprobs and said.logprobs:
        logprobs = _encode({"content": [dict(token) for token in said.logprobs]}).decode()
    return pb.Choice(index=index, message=message, finish_reason=said.finish, logprobs_json=logprobs)


def event_of(index: int, chunk: Chunk, *, wants_logprobs: bool) -> pb.ChatEvent:
    """A stream event for one choice."""
    fields = chunk.delta
    delta = pb.Delta(index=index, finish_reason=chunk.finish or "", json=_rest(fields))
    if isinstance(content := fields.get("content"), str):
        delta.content = content
    if isinstance(thought := fields.get("reasoning_content") or fields.get("reasoning"), str):
        delta.reasoning = thought
    if wants_logprobs and chunk.logprobs is not None:
        delta.logprobs_json = _encode(chunk.logprobs).decode()
    return pb.ChatEvent(delta=delta)


def _rest(fields: Any) -> str:
    """A message or delta as JSON if it has more than text; else empty."""
    return _encode(fields).decode() if any(fields[name] for name in fields.keys() - _PLAIN) else ""


def account_of(context: RequestContext, prices: PriceBook) -> pb.Account:
    """The account of an action so far."""
    account = UsageReport.of(context, prices)
    return pb.Account(
        action=account.action,
        tier=account.tier,
        reason=account.reason,
        why=[answer.why for answer in account.answers],
        usage=_usage(account.usage),
        dollars=account.dollars,
        passes=[_pass(done, prices) for done in account.passes],
        notes=account.notes,
        limits=account.limits,
    )


def _pass(done: Pass, prices: PriceBook) -> pb.Pass:
    known = {name: value for name, value in facts(done).items() if name in _PASS}
    return pb.Pass(**known, usage=_usage(done.usage), dollars=prices.cost(done).dollars)


def _usage(usage: Usage) -> pb.Usage:
    return pb.Usage(
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        reasoning_tokens=usage.reasoning,
        exact=usage.exact,
    )
