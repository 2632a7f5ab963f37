"""A running pass: its output and token count so far."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import replace

from tierwise.engines.engine import PassOn, blocks_of
from tierwise.ledger.prices import PriceBook
from tierwise.ledger.records import Trace
from tierwise.run.recovery import LOST, is_lost
from tierwise.run.tier import Tier
from tierwise.spec.call import Call, Chunk, Outcome, Pass, Recorder
from tierwise.spec.clock import now


class RunningPass:
    """Follows one call on a tier's deployment until it becomes a `Pass`."""

    __slots__ = (
        "_after",
        "_began",
        "_call",
        "_first_token",
        "_mark",
        "_prices",
        "_recorder",
        "_retry_of",
        "_tier",
        "dollars_per_second",
        "error",
        "is_unaffordable",
        "lacking",
        "number",
        "on_cut",
        "on_look",
        "outcome",
        "relayed",
        "was_watched_out",
    )

    def __init__(
        self, call: Call, tier: Tier, trace: Trace, *, number: int, retry_of: int | None, prices: PriceBook
    ) -> None:
        self.outcome: Outcome = "aborted"
        self.on_cut: Callable[[], None] | None = None
        """Ends it; None while it does not run."""
        self.on_look: Callable[[], None] | None = None
        """Looks at the dollars again; None if they do not grow with time."""
        self.error = ""
        self.is_unaffordable = False
        """Whether a budget of dollars ended it."""
        self.lacking = 0
        """Tokens that its budget lacked for its next chunk."""
        self.was_watched_out = False
        """Whether the policy cut it."""
        self.number = number
        self._call, self._tier, self._retry_of, self._prices = call, tier, retry_of, prices
        self.dollars_per_second = prices.per_second(tier.deployment.name)
        self._began = now()
        self._after = self._began - trace.began
        self._recorder = Recorder()
        self.relayed = self._recorder.add_all
        """As `add_all`, for chunks after the first output."""
        self._first_token: float | None = None
        self._mark = tier.deployment.occupancy.enter(self._began)

    @property
    def is_streamed(self) -> bool:
        """Whether its answer comes in pieces."""
        return self._call.streamed and not self._call.prompt.is_answered_whole

    @property
    def deployment(self) -> str:
        return self._tier.deployment.name

    def blocks(
        self, cap: int | None, thinking: int | None = None, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """The engine's chunks.

        Args:
            cap: limits the completion tokens; None for no limit.
            thinking: lowers the limit of thinking that the request has, if it has one; None to leave it.
            at_once: as of `engine.SendsBlocks`.
            pass_on: as of `engine.SendsBlocks`.
        """
        call = self._call if cap is None else replace(self._call, prompt=self._call.prompt.bounded(cap))
        asked = call.prompt.fields.get("thinking_tokens")
        if thinking is not None and isinstance(asked, int) and asked > thinking:
            call = replace(call, prompt=call.prompt.setting(thinking_tokens=max(1, thinking)))
        if call.prompt.headers:
            call = replace(call, prompt=replace(call.prompt, headers=call.prompt.headers_of_pass(self.number)))
        return blocks_of(self._tier.deployment.engine, call, at_once=at_once, pass_on=pass_on)

    def add(self, chunk: Chunk) -> tuple[int, int]:
        """Add a chunk. Returns the completion tokens that it added, and how many of these are thinking."""
        if self._first_token is None and chunk.is_output:
            self._first_token = now() - self._began
        thought = self._recorder.metered_reasoning
        added = self._recorder.add(chunk)
        return added, self._recorder.metered_reasoning - thought

    def add_all(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Add chunks that came together. Returns each in the form for a client."""
        if self._first_token is None and any(chunk.is_output for chunk in chunks):
            self._first_token = now() - self._began
        return self._recorder.add_all(chunks)

    def dollars(self, moment: float) -> float:
        """What it has cost so far."""
        busy = self._tier.deployment.occupancy.shared(moment) - self._mark
        return self._prices.charge(self.deployment, self._recorder.usage, busy)

    def cut(self) -> None:
        """End it at once."""
        if self.on_cut is not None:
            self.on_cut()

    def look(self) -> bool:
        """Plan anew when the dollars may be used up, because some were spent. Returns whether it looks at them."""
        if self.on_look is not None:
            self.on_look()
        return self.on_look is not None

    def is_at(self, cap: int | None) -> bool:
        """Whether it has produced as many tokens as it may, so that its engine ends it."""
        return cap is not None and cap in (self._recorder.metered_tokens, self._recorder.completion_tokens)

    def is_beyond(self, cap: int | None) -> bool:
        """Whether its engine has ignored its limit."""
        return cap is not None and self._recorder.metered_tokens > cap

    @property
    def shown(self) -> Chunk:
        """The last chunk in the form for a client; its finish reason comes with the end of the pass."""
        return self._recorder.shown

    def rest(self) -> Chunk:
        """What a client is still to be shown of the output."""
        return self._recorder.end()

    @property
    def finish(self) -> str | None:
        """The engine's finish reason; None until it came."""
        return self._recorder.finish

    @property
    def is_complete(self) -> bool:
        return self._recorder.finish is not None

    def end(self) -> Pass:
        """The finished pass, for the trace."""
        ended = now()
        completion, usage = self._recorder.completion("length"), self._recorder.usage
        if (
            self.outcome == "finished"
            and not self._call.is_prefill
            and self._call.prompt.raw is None
            and is_lost(completion, usage)
        ):
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
