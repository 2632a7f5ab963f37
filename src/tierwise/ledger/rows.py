"""What the ledger stores of an action, of each of its passes and of each check, as it stands in journals and tables.

Apart from the tables, so that the journal and the command line can say these words without SQLAlchemy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from tierwise.ledger.prices import Cost
from tierwise.ledger.records import Check, Ending
from tierwise.spec.call import Outcome, Pass, Usage

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Record

LONGEST_TEXT = 2000
"""Characters kept of a message: an engine may put a whole page into its error."""

MOST_CONTENT = 4 * 2**20
"""Bytes of a request and its answers together, beyond which they are not kept: images make them large."""

Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""What a database calls an integer. Clients and engines may send longer ones."""


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One user-visible request."""

    id: str
    started_at: float
    """Seconds since 1970."""
    model: str
    """The name that the caller asked for: a tier or a route."""
    tier: str
    """The tier that answered, or that failed last; empty when none was reached."""
    reason: str
    ending: Ending
    stream: bool
    seconds: float
    first_output: float | None
    finish: str
    why: str
    error: str
    caller: str

    @property
    def day(self) -> str:
        """The day in UTC on which it began, `2026-01-31`."""
        return datetime.fromtimestamp(self.started_at, UTC).date().isoformat()


class PassRow(msgspec.Struct, frozen=True, kw_only=True):
    """One call to an engine."""

    number: Count
    role: str
    tier: str
    deployment: str
    draw: Count
    seed: Count
    after: tuple[Count, ...]
    retry_of: Count | None
    outcome: Outcome
    finish: str
    """Why the engine stopped; empty for a pass that was aborted or that failed."""
    started: float
    """Seconds after the action began."""
    first_token: float | None
    """Seconds after the pass started; None when no token came."""
    seconds: float
    busy_seconds: float
    prompt: Count
    cached: Count
    completion: Count
    reasoning: Count
    exact: bool
    """False when tokens were counted from the stream because the engine never told."""
    error: str
    dollars_tokens: float
    dollars_time: float

    @property
    def is_cancelled(self) -> bool:
        """Whether we stopped it, for the budget's sake or because nobody needed it any more."""
        return self.outcome in {"cut", "aborted"}

    @property
    def usage(self) -> Usage:
        return Usage(
            prompt=self.prompt,
            cached=self.cached,
            completion=self.completion,
            reasoning=self.reasoning,
            exact=self.exact,
        )

    @property
    def cost(self) -> Cost:
        return Cost(tokens=self.dollars_tokens, time=self.dollars_time)

    def priced(self, prices: PriceBook) -> PassRow:
        """The same pass under another price book."""
        cost = prices.price(self.deployment, self.usage, self.busy_seconds)
        return msgspec.structs.replace(self, dollars_tokens=cost.tokens, dollars_time=cost.time)


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """A verifier looked at a candidate."""

    position: Count
    """Counts the checks of an action from 0 in the order in which they ended."""
    number: Count | None
    """The pass that it judged; None for an answer that no single pass gave."""
    kind: str
    ok: bool
    score: float | None
    """None where the verifier gave no finite number."""
    why: str
    seconds: float


class ContentRow(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered, where the ledger was told to keep that."""

    request: str
    """JSON: the request's fields but for `model` and `seed`, its verifier under `tierwise`."""
    answers: str
    """JSON: the assistant messages, one for each choice; none when the action failed."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action with all that it caused: one line of a journal."""

    action: ActionRow
    passes: tuple[PassRow, ...]
    checks: tuple[CheckRow, ...]
    content: ContentRow | None = None


def entry(record: Record, prices: PriceBook, *, with_content: bool = False) -> Entry:
    """What is kept of a record. What users and models said is among it only when that is asked for."""
    trace = record.trace
    checks = (event for event in trace.events if isinstance(event, Check))
    return Entry(
        action=ActionRow(
            id=trace.action,
            started_at=trace.started_at,
            model=_brief(record.model),
            tier=record.tier,
            reason=_brief(record.reason),
            ending=record.ending,
            stream=record.stream,
            seconds=record.seconds,
            first_output=record.first_output,
            finish=_brief(record.finish),
            why=_brief(record.why),
            error=_brief(record.error),
            caller=_brief(record.caller),
        ),
        passes=tuple(_pass_row(done, prices) for done in trace.passes),
        checks=tuple(_check_row(position, check) for position, check in enumerate(checks)),
        content=_content_row(record) if with_content else None,
    )


def _content_row(record: Record) -> ContentRow | None:
    """None for an action without a prompt, with so long a one that keeping it would hold up its answer, or with one
    that UTF-8 cannot hold: `write` promises never to raise.
    """
    if record.prompt is None:
        return None
    request: dict[str, object] = {"messages": record.prompt.messages, **record.prompt.fields}
    try:
        if record.verifier is not None:
            request["tierwise"] = {"verifier": {record.verifier.kind: msgspec.to_builtins(record.verifier)}}
        asked = msgspec.json.encode(request)
        said = msgspec.json.encode([answer.message() for answer in record.answers])
    except (TypeError, ValueError, RecursionError, msgspec.MsgspecError):
        return None
    if len(asked) + len(said) > MOST_CONTENT:
        return None
    return ContentRow(request=asked.decode(), answers=said.decode())


def _pass_row(done: Pass, prices: PriceBook) -> PassRow:
    cost = prices.cost(done)
    has_ended_by_itself = done.outcome in {"finished", "cut"}
    return PassRow(
        number=done.number,
        role=done.call.role,
        tier=done.tier,
        deployment=done.deployment,
        draw=done.call.draw,
        seed=done.call.seed,
        after=done.call.after,
        retry_of=done.retry_of,
        outcome=done.outcome,
        finish=_brief(done.completion.finish) if has_ended_by_itself else "",
        started=done.started,
        first_token=done.first_token,
        seconds=done.seconds,
        busy_seconds=done.busy_seconds,
        prompt=done.usage.prompt,
        cached=done.usage.cached,
        completion=done.usage.completion,
        reasoning=done.usage.reasoning,
        exact=done.usage.exact,
        error=_brief(done.error),
        dollars_tokens=cost.tokens,
        dollars_time=cost.time,
    )


def _check_row(position: int, check: Check) -> CheckRow:
    return CheckRow(
        position=position,
        number=check.number,
        kind=check.kind,
        ok=check.verdict.ok,
        score=check.verdict.score,
        why=_brief(check.verdict.why),
        seconds=check.seconds,
    )


def _brief(text: str) -> str:
    """As much of a foreign text as is kept, in characters that UTF-8 has; half a surrogate pair becomes `?`."""
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    return text if text.isascii() else text.encode(errors="replace").decode()
