"""The engine protocol and the deployment around an engine: all that other modules know about what runs a model."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, runtime_checkable

from tierwise.engines.occupancy import Occupancy
from tierwise.engines.refused_fields import RefusedFields
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from tierwise.engines.metrics import MetricsPage
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.deployed import LoadedWeights
    from tierwise.spec.json import Fields
    from tierwise.spec.prompt import Prompt

State = Literal["stopped", "starting", "ready", "silent", "restarting", "failed"]
"""Silent: the process is alive but does not answer, so it may be busy or hung."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The current state of an engine."""

    state: State
    reason: str = ""
    """Why it is not ready, quoted from its log if possible; for a ready engine, how its last passes failed."""
    last_lines: tuple[str, ...] = ()
    """The last lines that its process wrote, if it is not ready."""
    restarts: int = 0
    resident_bytes: int | None = None
    """Current memory of its processes; None if Tierwise did not launch it."""
    peak_bytes: int | None = None
    """Sum of the peak memory of each process; None as above."""
    start_seconds: float | None = None
    """From process start to the first successful health check; None as above, and before that check."""
    command: str = ""
    """The command line it was launched with."""
    page: MetricsPage | None = None
    """Where it publishes its metrics; None if it has no known metrics page."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it reports about itself once ready: `version`, `kernels`, `attention`, `dtype`, `device` …"""


class Engine(Protocol):
    """Runs a model."""

    async def start(self) -> None:
        """Start the engine and wait until it is ready. Raises Broken with the engine's own reason if that fails."""

    async def stop(self) -> None:
        """Stop everything. Idempotent; may be called at any time."""

    def health(self) -> Health: ...

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Run one pass. Closing the generator aborts it in the engine. Usage in the chunks is cumulative.

        Raises:
            EngineError: Overloaded, TimedOut, TooLong, Refused, Broken or Garbled.
        """


PassOn: TypeAlias = "Callable[[Sequence[Chunk]], bool]"
"""Takes chunks, and returns whether it wants more. It must not wait, and must not raise."""


@runtime_checkable
class SendsBlocks(Protocol):
    """An engine that passes on together what came together, so that a pass with many chunks takes less work."""

    def blocks(
        self, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """As `Engine.stream`, with the chunks that came together as one sequence.

        Args:
            call: the pass.
            at_once: whether nobody looks at a chunk before the pass ends. After the first output the engine may hold
                back what comes. If the wait for it is cancelled, it gives what has come, and then raises.
            pass_on: may be given chunks with nothing but output as soon as they are there, instead of those who
                iterate, so that nobody has to be woken for them. When it wants no more, an empty block follows.
        """


async def one_by_one(blocks: AsyncGenerator[Sequence[Chunk], None]) -> AsyncGenerator[Chunk, None]:
    """The chunks of blocks, as `Engine.stream` gives them."""
    async with aclosing(blocks):
        async for chunks in blocks:
            for chunk in chunks:
                yield chunk


async def _singly(stream: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Sequence[Chunk], None]:
    async with aclosing(stream):
        async for chunk in stream:
            yield (chunk,)


def blocks_of(
    engine: Engine, call: Call, *, at_once: bool = False, pass_on: PassOn | None = None
) -> AsyncGenerator[Sequence[Chunk], None]:
    """The chunks of a pass on any engine, in blocks; the arguments are those of `SendsBlocks.blocks`."""
    if _sends_blocks(type(engine)):
        return cast("SendsBlocks", engine).blocks(call, at_once=at_once, pass_on=pass_on)
    return _singly(engine.stream(call))


@cache
def _sends_blocks(kind: type[Engine]) -> bool:
    """Whether engines of a class do. Found once, because Python 3.11 takes 10 µs to compare one with a protocol."""
    return issubclass(kind, SendsBlocks)


@runtime_checkable
class AnswersWhole(Protocol):
    """An engine that can also answer without streaming, for data that it does not report in a stream."""

    async def whole(self, call: Call) -> bytes:
        """Return the body of a non-streamed chat completion. Raises the errors of `Engine.stream`."""


@runtime_checkable
class CountsTokens(Protocol):
    """An engine that may be asked how many tokens a prompt has."""

    async def count_tokens(self, prompt: Prompt) -> int:
        """The prompt tokens, without running a pass. Raises Refused if it cannot count, and as `Engine.stream`."""


@runtime_checkable
class ReportsCapabilities(Protocol):
    """An engine whose capabilities depend on what it loaded, and are known once it runs."""

    @property
    def capabilities(self) -> Capabilities:
        """What it reported; all None before that."""


@runtime_checkable
class TellsChanges(Protocol):
    """An engine that says when it may have become another: it was restarted, or its server answers as another."""

    when_changed: Callable[[str], Awaitable[None]] | None
    """Called before the next pass with what changed, as the predicate of a sentence about the deployment; empty after a
    restart, when its facts are known again."""


@runtime_checkable
class SharesPrompts(Protocol):
    """An engine that can compute a prompt once for several passes, if it is told before they start."""

    def prefill(self, call: Call, passes: int) -> Call | None:
        """The call that must end before several passes with one prompt start, so that none of them computes it.

        Args:
            call: one of the passes.
            passes: how many will follow.

        Returns:
            None if that would not save anything: the prompt is short or saved already, or the engine shares prompts
            by itself or not at all.
        """


@runtime_checkable
class SwitchesThinking(Protocol):
    """An engine whose thinking can be turned off per request."""

    @property
    def thinking_off(self) -> Fields | None:
        """The request fields that turn thinking off; None if no switch is known."""


@runtime_checkable
class ControlsThinking(Protocol):
    """An engine that can end the thinking of a pass while it runs."""

    async def end_thinking(self, completion_id: str) -> bool:
        """End the thinking of a pass, given the id in its chunks. Returns whether the engine has accepted that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A checkpoint on an engine with launch levers: one supervised process or one remote URL."""

    name: str
    engine: Engine
    kind: str = ""
    """The engine's name in the config file."""
    weights: LoadedWeights | None = None
    """The checkpoint that it loads; None for a server that is already running."""
    slots: int = 64
    """Maximum number of concurrent passes."""
    context: int | None = None
    """Context window in tokens, prompt plus answer; None if only the server knows it."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    """Known capabilities."""
    refused: RefusedFields = field(default_factory=RefusedFields)
    """Request fields that it has rejected since the start."""
    occupancy: Occupancy = field(default_factory=Occupancy)
    changes: list[str] = field(default_factory=list)
    """What the engine said of itself since it was started that makes it another, as `TellsChanges`."""

    def current_capabilities(self) -> Capabilities:
        """What it can do with a request, including what the running engine reported."""
        if isinstance(self.engine, ReportsCapabilities):
            return self.capabilities.updated(self.engine.capabilities)
        return self.capabilities

    @property
    def thinking_off(self) -> Fields | None:
        """The request fields that turn thinking off; None if no switch is known."""
        return self.engine.thinking_off if isinstance(self.engine, SwitchesThinking) else None
