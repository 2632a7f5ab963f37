"""The protocol of an engine, and the deployment around it: all that other modules know about what runs a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from tierwise.engines.occupancy import Occupancy
from tierwise.engines.refused_fields import RefusedFields
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from tierwise.engines.metrics import MetricsPage
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.deployed import LoadedWeights

State = Literal["stopped", "starting", "ready", "silent", "restarting", "failed"]
"""Silent: its process lives and does not answer, so that nobody knows yet whether it is busy or hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an engine is doing now."""

    state: State
    reason: str = ""
    """Why it is not ready, in the words of its own log; of a ready one, how its last passes failed."""
    last_lines: tuple[str, ...] = ()
    """The last that its process wrote, when it is not ready."""
    restarts: int = 0
    resident_bytes: int | None = None
    """Memory of its processes now; None for an engine that we did not launch."""
    peak_bytes: int | None = None
    """The most memory that they held at any time, each at its own; None as above."""
    start_seconds: float | None = None
    """From the start of its process to the first sign of health; None as above, and before that."""
    command: str = ""
    """What it was launched with."""
    page: MetricsPage | None = None
    """Where it shows its own counters; None where it has none that we know."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """What it says of itself once it is ready, each under the field's word for it: `version`, `kernels`, `attention`,
    `dtype`, `device` …"""


class Engine(Protocol):
    """Runs a model. Nothing else in the system does."""

    async def start(self) -> None:
        """Make it ready to answer. Raises Broken with the engine's own reason when it cannot be."""

    async def stop(self) -> None:
        """Leave nothing running. May be called at any time, and twice."""

    def health(self) -> Health: ...

    def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """One pass. Closing the generator aborts it in the engine; usage in the chunks is cumulative.

        Raises:
            EngineError: Overloaded, TimedOut, TooLong, Refused, Broken or Garbled.
        """


@runtime_checkable
class AnswersWhole(Protocol):
    """An engine that can also answer without a stream, for what it reports in no other way."""

    async def whole(self, call: Call) -> bytes:
        """The body of a chat completion that is not streamed. Raises as `Engine.stream` does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A checkpoint on an engine with its launch levers: one supervised process, or one remote URL."""

    name: str
    engine: Engine
    kind: str = ""
    """The engine's name in the config file."""
    weights: LoadedWeights | None = None
    """What it loads; None where somebody else has loaded it."""
    slots: int = 64
    """How many passes it runs side by side."""
    context: int | None = None
    """Tokens of prompt and answer that one pass may hold; None where only the server knows."""
    capabilities: Capabilities = field(default_factory=Capabilities)
    """What it can do with a request, as far as it is known."""
    refused: RefusedFields = field(default_factory=RefusedFields)
    """What it refused since the start."""
    occupancy: Occupancy = field(default_factory=Occupancy)
