"""The description of an engine: everything that shared code needs from it. No shared code names an engine.

A new engine is a package beside the others that exports its row, and a line in `engines/__init__.py`.
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
    from tierwise.spec.call import Call

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A program or package that an engine runs, as `tierwise doctor` shows it."""

    name: str
    seen: str
    """The version or path of what is installed, or that it is missing."""
    is_missing: bool = False
    advice: str = ""
    """What to do; empty if nothing."""


def _no_problems(settings: Settings, context: LaunchContext) -> Iterable[Problem]:  # noqa: ARG001 - a preflight's signature
    return ()


def _no_notes(settings: Settings, context: LaunchContext) -> Iterable[str]:  # noqa: ARG001 - the signature of `EngineRow.notes`
    return ()


def _no_components() -> Iterable[Component]:
    return ()


def _never(settings: Settings) -> bool:  # noqa: ARG001 - the signature of `shares_prompts` and `grades`
    return False


def _unknown(settings: Settings) -> Capabilities:  # noqa: ARG001 - the signature of `EngineRow.capabilities`
    return Capabilities()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow(Generic[S]):
    """One engine: its settings, and the functions that check, launch and describe a deployment."""

    settings: type[S]
    """The class of a deployment's settings in the config file."""
    title: str
    """The engine's name as its developers spell it."""
    levers: tuple[Lever, ...] = ()
    """Its rows in the table of levers."""
    preflight: Callable[[S, LaunchContext], Iterable[Problem]] = _no_problems
    """Returns all settings that cannot work with the checkpoint or the programs on this machine. Starts nothing."""
    notes: Callable[[S, LaunchContext], Iterable[str]] = _no_notes
    """What a user should know about a deployment that works: what the checkpoint lacks. Starts nothing."""
    command: Callable[[S, LaunchContext], str]
    """Returns the exact command line that will run, or the URL of a server that is already running."""
    build: Callable[[S, str, LaunchContext], Engine]
    """Returns the engine of the named deployment, not started. Raises SpecError if something that it needs is not on
    this machine."""
    facts: Callable[[S, LaunchContext], Awaitable[Mapping[str, str]]] | None = None
    """Returns what `Health.facts` would contain, without starting the engine; None if only a running one reports it."""
    capabilities: Callable[[S], Capabilities] = _unknown
    """Returns the capabilities of a deployment."""
    shares_prompts: Callable[[S], bool] = _never
    """Returns whether passes with the same prompt compute it once; false where that is not known."""
    prefill_pays: Callable[[Call, int, float], bool] | None = None
    """Returns whether it pays that a pass of one token computes the prompt of a call before this many passes start,
    which find a share of it in a cache anyway; None if passes share a prompt without one."""
    grades: Callable[[S], bool] = _never
    """Returns whether a deployment serves a reward model, which grades answers and gives none."""
    metrics: MetricNames | None = None
    """The metrics in its metrics page and its log; None if neither is read."""
    inherits: tuple[str, ...] = ()
    """Names and patterns of the environment variables that its processes inherit, beyond those of every engine
    (`process/environment.py`)."""
    packages: tuple[str, ...] = ()
    """The Python packages that affect its answers, its own first."""
    components: Callable[[], Iterable[Component]] = _no_components
    """Returns the programs and packages that it runs, installed or missing."""
    recipe: EngineRecipe | None = None
    """Writes recipes for model families; None if there are none."""

    @property
    def name(self) -> str:
        """The value of `engine` in the config file."""
        return str(self.settings.__struct_config__.tag)  # type: ignore[attr-defined] # of every msgspec struct

    def has_lever(self, name: str) -> bool:
        """Whether its deployments have a setting with this name."""
        return any(lever.name == name and lever.scope == "launch" for lever in self.levers)
