"""The protocol of an engine and the deployment around it: all that other modules know about what runs a model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from tierwise.engines.occupancy import Occupancy
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable, Mapping

    from tierwise.engines.lever import Lever
    from tierwise.engines.scrape import Page
    from tierwise.spec.call import Call, Chunk
    from tierwise.spec.deployed import LoadedWeights
    from tierwise.spec.sampling import Sampling

State = Literal["stopped", "starting", "ready", "silent", "restarting", "failed"]
"""Silent: its process lives and does not answer, so that nobody knows yet whether it is busy or hangs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How an engine is doing now."""

    state: State
    reason: str = ""
    """Why it is not ready, with its own last words; of a ready one, what is held against it."""
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
    page: Page | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where an engine is put to work."""

    base: Path
    """The config file's folder, which relative paths start from."""
    logs: Path
    """The folder for its log."""
    model: Path | None = None
    """The checkpoint on this machine, a file or a folder, for an engine that loads one."""

    def program(self, name: str) -> str:
        """A program as it is started: a path starts from the config file's folder, a mere name is looked up on PATH."""
        # Not by Path, which takes the "./" away that makes a path of a name.
        return os.path.join(self.base, os.path.expanduser(name)) if os.sep in name else name  # noqa: PTH111, PTH118


class Settings(Protocol):
    """How a deployment is written in the config file; each engine has its own, and answers for itself."""

    @property
    def slots(self) -> int:
        """How many passes run side by side."""

    @property
    def context(self) -> int | None:
        """Tokens of prompt and answer that one pass may hold; None where only the server knows."""

    @property
    def loads(self) -> str | None:
        """The checkpoint that it loads; None where somebody else has loaded one."""

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        """Every setting that cannot work, as its name and why."""

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        """Request levers of a tier that this deployment cannot be told, as their names and what to do instead."""

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        """What cannot work with the checkpoint or the programs as they lie on this machine, as setting and why."""

    def command(self, site: Site) -> str:
        """The exact command line that will run, or where the server is that runs already."""

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        """Its rows of the levers' table."""

    def build(self, name: str, site: Site) -> Engine:
        """The engine, not started. Raises SpecError when something that it needs is not on this machine."""


@runtime_checkable
class Whole(Protocol):
    """An engine that gives an answer in one piece too, for what it tells in no other way."""

    async def whole(self, call: Call) -> bytes:
        """The body of a chat completion that is not streamed. Raises as `Engine.stream` does."""


@runtime_checkable
class Telling(Protocol):
    """Settings of an engine that can say what it is on this machine without being started."""

    async def facts(self, site: Site) -> Mapping[str, str]:
        """As `Health.facts` has them, as far as they are known before it runs."""


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
    occupancy: Occupancy = field(default_factory=Occupancy)
