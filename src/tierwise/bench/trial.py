"""One trial from its request to its record: ask the endpoint, grade the answer, say which class the outcome is of."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.bench.records import Outcome, Record
from tierwise.spec.ask import Verdict
from tierwise.spec.errors import TierwiseError

if TYPE_CHECKING:
    from tierwise.bench.client import Client, Failure, Reply
    from tierwise.bench.schedule import Trial

_NOT_FOR_THIS_TIER = frozenset(
    {"context_length_exceeded", "engine_refused", "budget_exhausted", "invalid_value", "body_too_large"}
)
"""Codes of requests that reached the tier and that it cannot answer, however often one asks."""


async def attempt(trial: Trial, client: Client, run: str) -> Record:
    """Measure one trial; whatever goes wrong is on the record."""
    variant, action = trial.variant, action_id(trial, run)
    began = time.time()
    reply = await client.act(request(trial, action))
    outcome, why = await _grade(trial, reply)
    failure, tokens = reply.failure, reply.tokens
    account = None if tokens is None else tokens.tierwise
    return Record(
        action=action,
        task=trial.task.id,
        tags=trial.task.tags,
        tier=variant.tier,
        mode=variant.mode,
        seed=trial.seed,
        outcome=outcome,
        why=why,
        code=failure.code if failure is not None else "",
        status=failure.status if failure is not None else None,
        attempts=reply.attempts,
        answer=_said(reply),
        finish=reply.completion.finish,
        began=began,
        first_output=reply.first_output,
        seconds=reply.seconds,
        prompt_tokens=None if tokens is None else tokens.prompt_tokens,
        cached_tokens=None if tokens is None else tokens.cached_tokens,
        completion_tokens=None if tokens is None else tokens.completion_tokens,
        dollars=None if account is None else account.dollars,
        chosen_because=account.why[0] if account is not None and account.why else "",
        agreement=account.agreement[0] if account is not None and account.agreement else None,
        passes=None if account is None else account.passes,
    )


def action_id(trial: Trial, run: str) -> str:
    """What the ledger calls this action; at most 200 characters, which is what the endpoint takes."""
    return f"{run}/{trial.task.id}/{trial.variant.tier}/{trial.variant.mode}"


def request(trial: Trial, action: str) -> dict[str, Any]:
    """What is posted. The task's check is not in it: the tier sees what a user's tier would see."""
    ours: dict[str, Any] = {"action": action}
    if trial.variant.mode == "average":
        ours["budget"] = {"passes": 1}
    if trial.task.verifier is not None:
        ours["verifier"] = msgspec.to_builtins(trial.task.verifier)
    return {
        **trial.task.request(),
        "model": trial.variant.tier,
        "seed": trial.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
        "tierwise": ours,
    }


async def _grade(trial: Trial, reply: Reply) -> tuple[Outcome, str]:
    if reply.failure is not None:
        return _blame(reply.failure), reply.failure.message
    try:
        verdict: Verdict = await trial.task.check.member.verify(reply.completion)
    except TierwiseError as error:  # the sandbox could not be made: nobody knows whether the answer is right
        return "error", f"could not be graded: {error}"
    return ("pass" if verdict.ok else "fail"), verdict.why


def _blame(failure: Failure) -> Outcome:
    is_refused = failure.status in (400, 413, 422) or failure.code in _NOT_FOR_THIS_TIER
    return "no_answer" if is_refused else "error"


def _said(reply: Reply) -> str:
    """The answer as a reader of the report wants it."""
    said = reply.completion
    return said.text or (msgspec.json.encode(said.tool_calls).decode() if said.tool_calls else "")
