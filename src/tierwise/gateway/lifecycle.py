"""The lifecycle of a request, for all protocols: routed, run, counted and recorded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from tierwise.gateway import admission
from tierwise.gateway.addressing import addressed, require_single
from tierwise.gateway.failures import status_of
from tierwise.gateway.headers import CERTIFICATE, DECISION
from tierwise.keys.caller import CALLER
from tierwise.keys.ceilings import PASSES
from tierwise.keys.estimates import Estimates
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Decision, Ending, Record, Trace
from tierwise.router.certified import CertifiedRoute
from tierwise.run import Action, Sink, discard
from tierwise.run.acceptable import CHANGED, notes_of
from tierwise.shadowing import Answered
from tierwise.spec.ask import Answer
from tierwise.spec.budget import Budget
from tierwise.spec.call import Chunk
from tierwise.spec.clock import now
from tierwise.spec.errors import PolicyError, SpecError, TierwiseError
from tierwise.spec.json import Json
from tierwise.spec.printable import printable

if TYPE_CHECKING:
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.wire import ParsedRequest
    from tierwise.keys.limiter import Grant
    from tierwise.keys.records import Caller
    from tierwise.service import Service

_LOG = logging.getLogger("tierwise")
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_LONGEST_NOTE = 500  # characters of a header

ShowChunks: TypeAlias = Callable[[int, Sequence[Chunk]], Awaitable[None]]
"""Sends chunks of a choice that came together, given the choice's index. None of them: waits for a slow reader."""
PassOnChunks: TypeAlias = Callable[[int, Sequence[Chunk]], bool]
"""The same without waiting: false if the reader is slow, so that what shows chunks has to be awaited with none."""


class RequestLifecycle:
    """Receives and answers requests for one service, and records each action once."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service = service
        self._metrics = metrics
        self._estimates = Estimates(service.prices)
        if (shadows := service.shadows) is not None:
            shadows.record, shadows.count = self._store, metrics.shadowed

    def receive(self, trace: Trace, asked: ParsedRequest, headers: Mapping[str, str] = _NO_HEADERS) -> RequestContext:
        """Route a request.

        Args:
            trace: of its action.
            asked: the request.
            headers: response headers that are known already.

        Raises:
            NoSuchModel: the model does not exist.
            ModelForbidden: the caller's key may not use it.
        """
        trace.session = asked.session
        for note in asked.notes:
            trace.events.append(Decision(tier=asked.model, reason=note, signal=CHANGED, at=now() - trace.began))
        router = self._service.router
        asked = addressed(asked, router)
        tier = router.route(asked.model)
        if asked.raws:
            require_single(router.tiers[asked.model])
        if (caller := CALLER.get()) is not None or asked.ceilings is not None:
            asked = admission.received(caller, trace, asked, router, self._service.prices)
        if (shadows := self._service.shadows) is not None:
            tier = shadows.tier_for(tier, asked.prompt)
        action = Action(
            tier,
            trace,
            tiers=router.serving,
            budget=asked.budget,
            verifier=asked.verifier,
            judges=asked.judges,
            choices=asked.choices,
            prices=self._service.prices,
        )
        return RequestContext(
            trace=trace,
            headers={**headers, "x-tierwise-action": trace.action},
            parsed=asked,
            action=action,
            certified=router.certified.state(asked.model),
            caller=caller,
        )

    async def answer(
        self,
        context: RequestContext,
        show: ShowChunks | None = None,
        *,
        is_stopped: Callable[[], bool],
        pass_on: PassOnChunks | None = None,
        complete: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Answer every choice. However it ends, the action is recorded once, before this returns or raises.

        So a last byte that is sent after this is sent after the action is in the ledger.

        Args:
            context: the request; receives the answers.
            show: streams chunks of a choice; without it the answers are only collected.
            pass_on: streams chunks without waiting, after the first that `show` sent.
            is_stopped: called on cancellation: whether the server is stopping, rather than the client having
                disconnected.
            complete: called with all answers there, before the action is recorded: what it raises fails the action.

        Raises:
            LimitError: a limit of the caller's key or team is reached; then nothing ran, and nothing is recorded.
            TierwiseError: the request failed.
        """
        if context.caller is not None or context.parsed.ceilings is not None:
            await self._admit(context)
        numbers = range(context.parsed.choices)
        self._metrics.begun(context.trace.session)
        try:
            sinks = [discard if show is None else _sink(context, number, show, pass_on) for number in numbers]
            context.answers = await _all_choices(context, sinks)
            if show is None:
                context.first.seen()
            if complete is not None:
                await complete()
            context.ending = "answered"
        except asyncio.CancelledError:
            if is_stopped():
                context.ending, context.error = "failed", "the server was stopped"
            raise
        except TierwiseError as error:
            context.fail(error)
            if isinstance(error, PolicyError):
                _LOG.error("action %s failed with an internal error", context.trace.action, exc_info=error)
            raise
        except Exception as error:  # a bug: the user gets it in OpenAI's format
            _LOG.error("action %s failed with an internal error", context.trace.action, exc_info=error)
            failure = PolicyError(f"internal error in Tierwise: {error!r}; see its log")
            context.fail(failure)
            raise failure from error
        finally:
            if context.grant is not None:
                context.grant.settle(context.trace)
            self._keep(context.record())
        if (shadows := self._service.shadows) is not None:
            shadows.offer(_answered(context))

    async def _admit(self, context: RequestContext) -> None:
        """Reserve what the action needs of every limit of its caller and session."""
        if (desk := self._service.desk) is None:
            raise SpecError(f"{PASSES}: this endpoint has no ledger, in which sessions are counted", field=PASSES)
        ceilings = context.parsed.ceilings
        if ceilings is None and not desk.limiter.is_bounded(context.caller, context.parsed.model):
            return
        need = admission.need_of(context.parsed, self._service.router, self._estimates)
        try:
            context.grant = grant = await desk.limiter.admit(context.caller, need, ceilings, self._estimates)
        except TierwiseError as error:
            self._metrics.refused(status_of(error).http)
            raise
        context.action.purse = grant.purse
        if grant.passes is not None and ceilings is not None:
            context.action.tighten(grant.passes)
            said = f"the session {ceilings.session} has as much left as {grant.passes:,} passes may need"
            context.trace.events.append(
                Decision(tier=context.parsed.model, reason=said, signal=CHANGED, at=context.seconds())
            )
        context.headers.update(grant.headers)

    def remember_bug(self, trace: Trace, error: TierwiseError) -> None:
        """Record a request in which Tierwise broke before it could be run."""
        self._metrics.begun(trace.session)
        self._keep(
            Record(
                trace=trace,
                model="",
                tier="",
                reason="",
                ending="failed",
                seconds=now() - trace.began,
                first_output=None,
                error=str(error),
            )
        )

    def _keep(self, record: Record) -> None:
        """Record a user's action, which has ended."""
        self._store(record)
        self._metrics.finished(record.trace.session)

    def _store(self, record: Record) -> None:
        """Record an action in the ledger, then count it in the metrics. Neither can cost the answer."""
        try:
            if self._service.ledger is not None:
                self._service.ledger.write(record, self._service.prices)
        except Exception as error:  # noqa: BLE001 - `write` must never raise, but answers must not depend on it
            self._metrics.alarm()
            _LOG.error("LEDGER: action %s is not recorded: %r", record.trace.action, error)
        try:
            self._metrics.ended(record, self._service.prices)
        except Exception as error:  # noqa: BLE001 - as above
            _LOG.error("action %s is missing in the metrics: %r", record.trace.action, error)


class FirstOutput:
    """When the user got the first output of an action."""

    __slots__ = ("_trace", "seconds")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self.seconds: float | None = None
        """After the start of the action; None if there was none."""

    def seen(self) -> None:
        """The user gets output now."""
        if self.seconds is None:
            self.seconds = now() - self._trace.began


class ChunkSink:
    """Streams one choice to the caller. `show` implements the protocol, and blocks for a slow reader.

    It does not know the request, which knows it: each would keep the other until a garbage collection.
    """

    __slots__ = ("_first", "_number", "_show")

    def __init__(self, first: FirstOutput, number: int, show: ShowChunks) -> None:
        self._first = first
        self._number = number
        self._show = show

    async def __call__(self, chunks: Sequence[Chunk]) -> bool:
        if self._first.seconds is None and any(chunk.is_output for chunk in chunks):
            self._first.seen()
        await self._show(self._number, chunks)
        return True


class RelayingSink(ChunkSink):
    """A sink that also takes chunks without waiting."""

    __slots__ = ("pass_on",)

    def __init__(self, first: FirstOutput, number: int, show: ShowChunks, pass_on: PassOnChunks) -> None:
        super().__init__(first, number, show)
        self.pass_on = partial(pass_on, number)
        """As of `run.output.SinkRelay`."""

    async def caught_up(self) -> None:
        """As of `run.output.SinkRelay`."""
        await self._show(self._number, ())


def _sink(context: RequestContext, number: int, show: ShowChunks, pass_on: PassOnChunks | None) -> ChunkSink:
    first = context.first
    return ChunkSink(first, number, show) if pass_on is None else RelayingSink(first, number, show, pass_on)


async def _all_choices(context: RequestContext, shows: Sequence[Sink]) -> list[Answer]:
    """Answer all choices concurrently; the first failure cancels the others."""
    solve, prompt_of = context.action.solve, context.parsed.prompt_of
    try:
        if len(shows) == 1:  # the common case, without the overhead of a TaskGroup
            return [await solve(prompt_of(0), shows[0])]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(solve(prompt_of(choice), show)) for choice, show in enumerate(shows)]
        return [task.result() for task in tasks]
    except TierwiseError:
        raise
    except Exception as error:  # an exception group or a bug: the user gets it in OpenAI's format
        found = _first(error)
        if isinstance(found, TierwiseError):
            raise found from None
        raise PolicyError(f"internal error in Tierwise: {found!r}; see its log") from error


def _answered(context: RequestContext) -> Answered:
    """An action that was answered, for shadowing."""
    parsed, trace, purse = context.parsed, context.trace, context.action.purse
    return Answered(
        route=parsed.model,
        action=trace.action,
        prompt=parsed.prompt_of(0),
        answer=context.answers[0],
        passes=trace.passes,
        verifier=parsed.verifier,
        key=trace.key,
        team=trace.team,
        is_bounded=parsed.judges
        or parsed.budget != Budget()
        or bool(trace.limits)
        or (purse is not None and purse.refusal is not None),
    )


def _first(error: Exception) -> Exception:
    return _first(error.exceptions[0]) if isinstance(error, ExceptionGroup) else error


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """The state of one request while it is answered."""

    trace: Trace
    headers: dict[str, str]
    parsed: ParsedRequest
    action: Action
    certified: CertifiedRoute | None = None
    """The state of the route's certificate when the request came; None without a certificate."""
    caller: Caller | None = None
    """Who asks, with a stored key."""
    grant: Grant | None = None
    """What was reserved of the caller's limits."""
    preparing: float = field(init=False)
    """Seconds until the request was ready to run."""
    answers: list[Answer] = field(default_factory=list)
    ending: Ending = "disconnected"
    error: str = ""
    first: FirstOutput = field(init=False)

    def __post_init__(self) -> None:
        self.preparing = self.seconds()
        self.first = FirstOutput(self.trace)

    def fail(self, error: TierwiseError) -> None:
        self.ending, self.error = "failed", f"{type(error).__name__}: {error}"

    def seconds(self) -> float:
        return now() - self.trace.began

    def progress(self) -> str:
        ended = len(self.trace.passes)
        return f"{ended} of {self.trace.started} passes done" if self.trace.started else "waiting"

    def headers_now(self, prices: PriceBook | None) -> dict[str, str]:
        """The response headers at this moment. A stream's headers are sent before passes and cost are known."""
        trace, model = self.trace, self.parsed.model
        headers = dict(self.headers)
        if trace.decisions:
            headers.update(self._decided())
        if self.certified is not None:
            headers.update(certificate_header(self.certified))
        headers["x-tierwise-model"] = model
        headers["x-tierwise-tier"] = self.action.tier or model
        headers["x-tierwise-overhead-ms"] = f"{self.overhead() * 1000:.2f}"
        if prices is not None:
            headers["x-tierwise-passes"] = str(len(trace.passes))
            headers["x-tierwise-dollars"] = f"{prices.total(trace.passes).dollars:.9f}"
        return headers

    def _decided(self) -> dict[str, str]:
        """What the client should know about how its request was changed, as far as it is known, and how a route came to
        the tier that answers, which is unknown while nothing is decided, as in a stream's headers.
        """
        decision = self.action.decision if self.answers else ""
        said = {"x-tierwise-note": "; ".join(notes_of(self.trace)), DECISION: decision}
        return {name: printable(text, ascii_only=True)[:_LONGEST_NOTE] for name, text in said.items() if text}

    def overhead(self) -> float:
        """Seconds of this action in which no pass ran; while passes run, the seconds before the first."""
        passes = self.trace.passes
        if len(passes) < self.trace.started:
            return self.preparing
        if len(passes) == 1:
            return max(0.0, self.seconds() - passes[0].seconds)
        covered, reached = 0.0, 0.0
        for done in sorted(passes, key=lambda one: one.started):
            end = done.started + done.seconds
            covered += max(0.0, end - max(done.started, reached))
            reached = max(reached, end)
        return max(0.0, self.seconds() - covered)

    def record(self) -> Record:
        """The action as a ledger record."""
        return Record(
            trace=self.trace,
            model=self.parsed.model,
            tier=self.action.tier,
            reason=self.action.reason,
            ending=self.ending,
            seconds=self.seconds(),
            first_output=self.first.seconds,
            stream=self.parsed.stream,
            finish=self.answers[0].completion.finish if self.answers else "",
            why=self.answers[0].why if self.answers else "",
            error=self.error,
            caller=self.parsed.caller,
            prompt=self.parsed.prompt,
            answers=tuple(answer.completion for answer in self.answers),
            verifier=self.parsed.verifier,
        )


def certificate_of(route: CertifiedRoute) -> dict[str, Json]:
    """The state of a route's certificate, in `usage.tierwise` and at `/v1/models`."""
    return {
        "state": route.state,
        "sha256": route.certificate,
        "safe": route.safe,
        "reasons": list(route.reasons),
    }


def certificate_header(route: CertifiedRoute | None) -> dict[str, str]:
    """The header, over gRPC the metadata, that labels every answer of a route with a certificate."""
    return {} if route is None else {CERTIFICATE: printable(route.label, ascii_only=True)[:_LONGEST_NOTE]}
