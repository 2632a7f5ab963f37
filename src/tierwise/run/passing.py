"""A running pass: its output and token count so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

from tierwise.ledger.records import Trace
from tierwise.run.recovery import LOST, is_lost
from tierwise.run.tier import Tier
from tierwise.spec.call import Call, Chunk, Outcome, Pass, Recorder
from tierwise.spec.clock import now


class RunningPass:
    """Follows one call on a tier's deployment until it becomes a `Pass`."""

    def __init__(self, call: Call, tier: Tier, trace: Trace, *, number: int, retry_of: int | None) -> None:
        self.outcome: Outcome = "aborted"
        self.error = ""
        self.was_watched_out = False
        """Whether the policy cut it."""
        self.number = number
        self._call, self._tier, self._retry_of = call, tier, retry_of
        self._began = now()
        self._after = self._began - trace.began
        self._recorder = Recorder()
        self._first_token: float | None = None
        self._mark = tier.deployment.occupancy.enter(self._began)

    def stream(self, cap: int | None) -> AsyncGenerator[Chunk, None]:
        """The engine's chunks; `cap` limits the completion tokens."""
        call = self._call if cap is None else replace(self._call, prompt=self._call.prompt.bounded(cap))
        if call.prompt.headers:
            call = replace(call, prompt=replace(call.prompt, headers=call.prompt.headers_of_pass(self.number)))
        return self._tier.deployment.engine.stream(call)

    def add(self, chunk: Chunk) -> int:
        """Add a chunk. Returns the completion tokens that it added."""
        if self._first_token is None and chunk.is_output:
            self._first_token = now() - self._began
        return self._recorder.add(chunk)

    @property
    def shown(self) -> Chunk:
        """The last chunk in the form for a client; its finish reason comes with the end of the pass."""
        return self._recorder.shown

    def rest(self) -> Chunk:
        """What a client is still to be shown of the output."""
        return self._recorder.end()

    @property
    def completion_tokens(self) -> int:
        return self._recorder.completion_tokens

    @property
    def is_complete(self) -> bool:
        return self._recorder.finish is not None

    def end(self) -> Pass:
        """The finished pass, for the trace."""
        ended = now()
        completion, usage = self._recorder.completion("length"), self._recorder.usage
        if self.outcome == "finished" and not self._call.is_prefill and is_lost(completion, usage):
            self.outcome = LOST
        return Pass(
            number=self.number,
            tier=self._tier.name,
            deployment=self._tier.deployment.name,
            call=self._call,
            outcome=self.outcome,
            completion=completion,
            usage=usage,
            started=self._after,
            first_token=self._first_token,
            seconds=ended - self._began,
            busy_seconds=self._tier.deployment.occupancy.leave(self._mark, ended),
            error=self.error,
            retry_of=self._retry_of,
            routing=self._recorder.routing,
        )


def with_prompt_count(done: Pass, others: Iterable[Pass]) -> Pass:
    """A pass that answered but ended before the engine counted its prompt, with the count of another pass.

    Most servers report usage only at the end of a stream, so an aborted pass has no count of its own. A pass that sent
    the same prompt to the same deployment has the same one. How much of it was cached stays unknown.
    """
    if done.usage.prompt or done.first_token is None:
        return done
    counts = (
        other.usage.prompt
        for other in others
        if other.usage.prompt and other.deployment == done.deployment and other.call.prompt == done.call.prompt
    )
    return replace(done, usage=replace(done.usage, prompt=next(counts, 0)))
