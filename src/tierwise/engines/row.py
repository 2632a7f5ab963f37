"""An engine as one row of a table: all that code shared by engines may ask. No shared code names an engine.

A new engine is a room beside the others that exports its row, and a line in `engines/__init__.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from tierwise.engines.settings import Settings
from tierwise.spec.capabilities import Capabilities

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from tierwise.catalog.engine_recipe import EngineRecipe
    from tierwise.engines.engine import Engine
    from tierwise.engines.lever import Lever
    from tierwise.engines.metrics import MetricNames
    from tierwise.engines.settings import LaunchContext, Problem

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A program or package that an engine runs, as `tierwise doctor` shows it."""

    name: str
    seen: str
    """The version or path of what is installed, or that it is missing."""
    is_missing: bool = False
    advice: str = ""
    """What to do, where something is to be done."""


def _no_problems(settings: Settings, context: LaunchContext) -> Iterable[Problem]:  # noqa: ARG001 - a preflight's signature
    return ()


def _no_components() -> Iterable[Component]:
    return ()


def _unknown(settings: Settings) -> Capabilities:  # noqa: ARG001 - the signature of `EngineRow.capabilities`
    return Capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow(Generic[S]):
    """What one engine answers for itself."""

    settings: type[S]
    """How a deployment on it is written in the config file."""
    title: str
    """Its name as its makers write it."""
    levers: tuple[Lever, ...] = ()
    """Its rows of the levers' table; none where everything is set elsewhere."""
    preflight: Callable[[S, LaunchContext], Iterable[Problem]] = _no_problems
    """Every setting that cannot work with the checkpoint or the programs on this machine. Starts nothing."""
    command: Callable[[S, LaunchContext], str]
    """The exact command line that will run, or the server that runs already."""
    build: Callable[[S, str, LaunchContext], Engine]
    """The engine of a deployment of that name, not started. Raises SpecError where something that it needs is not on
    this machine."""
    facts: Callable[[S, LaunchContext], Awaitable[Mapping[str, str]]] | None = None
    """What it is on this machine, as `Health.facts` has it, without starting it; None where only a running one can
    report that."""
    capabilities: Callable[[S], Capabilities] = _unknown
    """What a deployment can do with a request."""
    metrics: MetricNames | None = None
    """The names on its metrics page and in its log; None where we read neither."""
    packages: tuple[str, ...] = ()
    """The Python packages that decide what it answers, its own first."""
    components: Callable[[], Iterable[Component]] = _no_components
    """Which of what it runs is on this machine."""
    recipe: EngineRecipe | None = None
    """How a recipe for a family is written for it; None where there are no recipes."""

    @property
    def name(self) -> str:
        """In the config file."""
        return str(self.settings.__struct_config__.tag)  # type: ignore[attr-defined] # of every msgspec struct

    def has_lever(self, name: str) -> bool:
        """Whether its deployments have a setting of that name."""
        return any(lever.name == name and lever.scope == "launch" for lever in self.levers)
