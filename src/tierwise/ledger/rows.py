"""The rows that the ledger stores for an action and its passes, checks and decisions, in journals and tables.

The tables are derived from these. This module does not import SQLAlchemy, because journal, gateway and command line use
it.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from math import floor, isfinite
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from tierwise.ledger.prices import MOST_TOKENS, Cost, PriceBook
from tierwise.ledger.records import Check, Decision, Ending, Record
from tierwise.spec.call import Call, Completion, Outcome, Pass, Usage

LONGEST_TEXT = 2000
"""Maximum characters of a stored message: an engine's error may be a whole page."""

MOST_CONTENT = 4 * 2**20
"""Maximum bytes of a request and its answers together; larger content, such as images, is not stored."""

VERSION_1_CANDIDATES = frozenset({"draft", "vote", "refine"})
"""Roles of candidates in data from before passes had the field `candidate`."""

Count = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""A 64-bit integer, as in databases. Clients and engines may send larger ones."""


class ActionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One user request."""

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
    session: str | None = None
    """The caller's id for the session that it belongs to; None without one, and in data of an earlier version."""
    limits: str | None = None
    """The bounds of its budgets that were used up, separated by commas; None without one, and in data of an earlier
    version."""
    key: str | None = None
    """Id of the key that asked; None without a stored key, and in data of an earlier version."""
    team: str | None = None
    """The key's team; None as above."""
    tags: str | None = None
    """The key's tags, separated by commas; None as above."""

    @property
    def date(self) -> str:
        """The day of its start in UTC, `2026-01-31`."""
        return day(floor(self.started_at) // 86_400)


class PassFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a pass that the ledger, an answer's `usage` and benchmark records share.

    A field is read from the first of the pass's usage, the pass, its call and its completion that has its name. A new
    field needs a line here, one in `tierwise.proto`, and a step in `migrations.py`. It has a default for data of older
    ledgers, journals, records and endpoints.
    """

    number: Count = 0
    """Index of the pass within the action, from 0, in start order."""
    role: str
    candidate: bool | None = None
    """Whether it answers the user's prompt; None in data of an earlier version."""
    tier: str = ""
    outcome: Outcome
    draw: Count = 0
    """Index of the independent draw."""
    after: tuple[Count, ...] = ()
    """Numbers of the passes whose output it sees."""
    finish: str = ""
    """The engine's finish reason; empty for aborted and failed passes."""
    started: float | None = None
    """Seconds after the action began."""
    first_token: float | None = None
    """Seconds after the start of the pass; None if no token came."""
    seconds: float

    @property
    def answers_prompt(self) -> bool:
        """Whether its answer may become the action's."""
        return self.role in VERSION_1_CANDIDATES if self.candidate is None else self.candidate


class PassRow(PassFacts, frozen=True, kw_only=True):
    """One call to an engine, as stored: `PassFacts` and the ledger's own fields."""

    started: float
    deployment: str
    seed: Count
    retry_of: Count | None
    busy_seconds: float
    prompt: Count
    cached: Count
    completion: Count
    reasoning: Count
    exact: bool
    """False if tokens were counted from the stream because the engine did not report them."""
    error: str
    dollars_tokens: float
    dollars_time: float

    def __post_init__(self) -> None:
        if self.candidate is None:
            msgspec.structs.force_setattr(self, "candidate", self.answers_prompt)

    @property
    def is_cancelled(self) -> bool:
        """Whether it was stopped because of the budget or because it was no longer needed."""
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
        """The same pass with another price book."""
        cost = prices.price(self.deployment, self.usage, self.busy_seconds)
        return msgspec.structs.replace(self, dollars_tokens=cost.tokens, dollars_time=cost.time)


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A policy decided how an action goes on."""

    position: Count
    """Index of the decision within the action, from 0, in order."""
    tier: str
    """Whose policy."""
    reason: str
    signal: str
    """What it looked at; empty where it looked at nothing that was measured."""
    level: float | None
    """The value of the signal; None if there is none or it is not finite."""
    after: tuple[Count, ...]
    """Numbers of the passes that it looked at."""
    at: float
    """Seconds after the action began."""


class CheckRow(msgspec.Struct, frozen=True, kw_only=True):
    """A verifier looked at a candidate."""

    position: Count
    """Index of the check within the action, from 0, in the order in which they ended."""
    number: Count | None
    """The pass that it judged; None for an answer that no single pass gave."""
    kind: str
    ok: bool
    score: float | None
    """None if the verifier gave no finite number."""
    why: str
    seconds: float


class ContentRow(msgspec.Struct, frozen=True, kw_only=True):
    """Request and answers, in a ledger that keeps content."""

    request: str
    """JSON: the request's fields except `model` and `seed`, with its verifier under `tierwise`."""
    answers: str
    """JSON: the assistant messages, one per choice; none if the action failed."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One action with all its rows: one line of a journal."""

    action: ActionRow
    passes: tuple[PassRow, ...]
    checks: tuple[CheckRow, ...]
    decisions: tuple[DecisionRow, ...] = ()
    content: ContentRow | None = None


def entry(record: Record, prices: PriceBook, *, with_content: bool = False) -> Entry:
    """The rows of a record. Request and answers are included only if `with_content`."""
    trace = record.trace
    passes: list[Pass] = []
    checks: list[Check] = []
    decisions: list[Decision] = []
    for event in trace.events:
        match event:
            case Pass():
                passes.append(event)
            case Check():
                checks.append(event)
            case Decision():
                decisions.append(event)
    if len(passes) > 1:
        passes.sort(key=_number)
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
            session=_brief(trace.session) or None,
            limits=",".join(trace.limits) or None,
            key=trace.key or None,
            team=trace.team or None,
            tags=",".join(trace.tags) or None,
        ),
        passes=tuple([_pass_row(done, prices) for done in passes]),
        checks=tuple([_check_row(position, check) for position, check in enumerate(checks)]),
        decisions=tuple([_decision_row(position, decision) for position, decision in enumerate(decisions)]),
        content=_content_row(record) if with_content else None,
    )


def _content_row(record: Record) -> ContentRow | None:
    """None for an action without a prompt, with content that is too large, or that UTF-8 cannot encode: `write` must
    never raise.
    """
    if record.prompt is None:
        return None
    request: dict[str, object] = {"messages": record.prompt.messages, **record.prompt.fields}
    if record.prompt.raw is not None:
        request["prompt"] = record.prompt.raw
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


def facts(done: Pass) -> dict[str, Any]:
    """The fields of `PassFacts` for a pass."""
    return _mended(dict(zip(_FACTS, _facts_of(done), strict=True)), _FACTS_TIMED)


def _pass_row(done: Pass, prices: PriceBook) -> PassRow:
    cost = prices.cost(done)
    found = _mended(dict(zip(_FIELDS, _fields_of(done), strict=True)), _TIMED)
    for name in _COUNTED:
        if not 0 <= found[name] <= MOST_TOKENS:
            found[name] = min(max(found[name], 0), MOST_TOKENS)
    if done.error:
        found["error"] = _brief(done.error)
    return PassRow(**found, dollars_tokens=cost.tokens, dollars_time=cost.time)


def _mended(found: dict[str, Any], timed: tuple[str, ...]) -> dict[str, Any]:
    """Shorten texts, bound times, and drop the finish reason of a pass that has none."""
    for name in timed:
        if (value := found[name]) is not None and not isfinite(value):
            found[name] = 0.0
    found["role"] = _brief(found["role"])
    found["finish"] = _brief(found["finish"]) if found["outcome"] in _ENDED_BY_ITSELF else ""
    return found


def _source(name: str) -> str:
    """The attribute path of a field, starting at the pass."""
    places = {"usage": Usage, "": Pass, "call": Call, "completion": Completion}
    place = next(place for place, kind in places.items() if hasattr(kind, name))
    return f"{place}.{name}".lstrip(".")


_COUNTED = ("prompt", "cached", "completion", "reasoning")
_FACTS_TIMED = ("started", "first_token", "seconds")
_TIMED = (*_FACTS_TIMED, "busy_seconds")
_ENDED_BY_ITSELF = frozenset({"finished", "cut", "lost_to_thinking"})
_number = attrgetter("number")
_EPOCH = date(1970, 1, 1)
_FACTS = PassFacts.__struct_fields__
_FIELDS = tuple(name for name in PassRow.__struct_fields__ if not name.startswith("dollars_"))
_facts_of = attrgetter(*map(_source, _FACTS))
_fields_of = attrgetter(*map(_source, _FIELDS))


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


def _decision_row(position: int, decision: Decision) -> DecisionRow:
    return DecisionRow(
        position=position,
        tier=decision.tier,
        reason=_brief(decision.reason),
        signal=_brief(decision.signal),
        level=decision.level,
        after=decision.after,
        at=decision.at,
    )


@lru_cache(maxsize=16)
def day(number: int) -> str:
    """The date of a day since 1970, `2026-01-31`."""
    return (_EPOCH + timedelta(days=number)).isoformat()


def _brief(text: str) -> str:
    """A text as stored: shortened, with lone surrogates (not valid in UTF-8) and NUL (not accepted by PostgreSQL)
    replaced by `?`.
    """
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "?")
    return text if text.isascii() else text.encode(errors="replace").decode()
