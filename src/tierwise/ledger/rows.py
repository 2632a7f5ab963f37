"""What the ledger stores of an action and of its passes, checks and decisions, as it stands in journals and tables.

Apart from the tables, which are made from these, so that journal, gateway and command line do without SQLAlchemy.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from tierwise.ledger.prices import Cost
from tierwise.ledger.records import Check, Decision, Ending
from tierwise.spec.call import Call, Completion, Outcome, Pass, Usage

if TYPE_CHECKING:
    from tierwise.ledger.prices import PriceBook
    from tierwise.ledger.records import Record

LONGEST_TEXT = 2000
"""Characters kept of a message: an engine may put a whole page into its error."""

MOST_CONTENT = 4 * 2**20
"""Bytes of a request and its answers together, beyond which they are not kept: images make them large."""

VERSION_1_CANDIDATES = frozenset({"draft", "vote", "refine"})
"""Roles of passes that answered the user's prompt, in what was written before a pass said so itself."""

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
    def date(self) -> str:
        """The day in UTC on which it began, `2026-01-31`."""
        return datetime.fromtimestamp(math.floor(self.started_at), UTC).date().isoformat()  # a fraction would round


class PassFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger, an answer's `usage` and the records of a benchmark all say of a pass: it is described here once.

    A field is read from the pass's usage, the pass itself, its call or its completion, whichever first has its name. A
    new field takes a line here, one in `tierwise.proto`, and a step in `migrations.py`. It has a default, which stands
    where an older ledger, journal, record or endpoint lacks it.
    """

    number: Count = 0
    """Counts the passes of an action from 0 in the order in which they started."""
    role: str
    candidate: bool | None = None
    """Whether it answers the user's prompt; None where an earlier version did not tell."""
    tier: str = ""
    outcome: Outcome
    draw: Count = 0
    """Which of the prompt's independent draws it was."""
    after: tuple[Count, ...] = ()
    """Numbers of the passes that it builds on."""
    finish: str = ""
    """Why the engine stopped; empty for a pass that was aborted or that failed."""
    started: float | None = None
    """Seconds after the action began."""
    first_token: float | None = None
    """Seconds after the pass started; None when no token came."""
    seconds: float

    @property
    def answers_prompt(self) -> bool:
        """Whether its answer may be the action's."""
        return self.role in VERSION_1_CANDIDATES if self.candidate is None else self.candidate


class PassRow(PassFacts, frozen=True, kw_only=True):
    """One call to an engine, as the ledger keeps it: what is above, and what only the ledger tells."""

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
    """False when tokens were counted from the stream because the engine never told."""
    error: str
    dollars_tokens: float
    dollars_time: float

    def __post_init__(self) -> None:
        if self.candidate is None:
            msgspec.structs.force_setattr(self, "candidate", self.answers_prompt)

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


class DecisionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A policy decided how an action goes on."""

    position: Count
    """Counts the decisions of an action from 0 in the order in which they were made."""
    tier: str
    """Whose policy."""
    reason: str
    signal: str
    """What it looked at; empty where it looked at nothing that was measured."""
    level: float | None
    """The value of the signal; None where there was none, or no finite one."""
    after: tuple[Count, ...]
    """Numbers of the passes that it looked at."""
    at: float
    """Seconds after the action began."""


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
    decisions: tuple[DecisionRow, ...] = ()
    content: ContentRow | None = None


def entry(record: Record, prices: PriceBook, *, with_content: bool = False) -> Entry:
    """What is kept of a record. What users and models said is among it only when that is asked for."""
    trace = record.trace
    checks = (event for event in trace.events if isinstance(event, Check))
    decisions = (event for event in trace.events if isinstance(event, Decision))
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
        decisions=tuple(_decision_row(position, decision) for position, decision in enumerate(decisions)),
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


def facts(done: Pass) -> dict[str, Any]:
    """What everybody is told of a pass: the fields of `PassFacts`."""
    return _mended(dict(zip(_FACTS, _facts_of(done), strict=True)))


def _pass_row(done: Pass, prices: PriceBook) -> PassRow:
    cost = prices.cost(done)
    found = _mended(dict(zip(_FIELDS, _fields_of(done), strict=True)))
    return PassRow(**found, dollars_tokens=cost.tokens, dollars_time=cost.time)


def _mended(found: dict[str, Any]) -> dict[str, Any]:
    """With texts of others in brief, and a reason to have ended only where there is one."""
    for name in ("role", "error"):
        if found.get(name):
            found[name] = _brief(found[name])
    found["finish"] = _brief(found["finish"]) if found["outcome"] in _ENDED_BY_ITSELF else ""
    return found


def _source(name: str) -> str:
    """Where a pass has a field, as a path that begins at the pass."""
    places = {"usage": Usage, "": Pass, "call": Call, "completion": Completion}
    place = next(place for place, kind in places.items() if hasattr(kind, name))
    return f"{place}.{name}".lstrip(".")


_ENDED_BY_ITSELF = frozenset({"finished", "cut"})
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


def _brief(text: str) -> str:
    """A text as it is kept: shortened, half a surrogate pair as `?` because UTF-8 has none, and NUL as `?` because
    PostgreSQL takes none.
    """
    if len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1] + "…"
    if "\0" in text:
        text = text.replace("\0", "?")
    return text if text.isascii() else text.encode(errors="replace").decode()
