"""Policies, verifiers and engines from other packages, found through entry points.

A package registers a class under a name: `[project.entry-points."tierwise.policies"]`, `fusion = "my_package:Fusion"`.
An engine is registered by its row. A plugin that cannot be used affects nothing else; the reason is reported where its
name is used. If the environment variable TIERWISE_DISABLE_PLUGINS is set, none is loaded.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Problem: TypeAlias = Callable[[str, Any], str]
"""Takes an entry point's name and the loaded object. Returns why the object cannot be used; empty if it can."""

UNIONS = {"engine": "tierwise.engines"}
"""Groups whose members a config file selects by the value of a key: from the key to the group."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One entry point."""

    group: str
    """`tierwise.policies`, `tierwise.verifiers` or `tierwise.engines`."""
    name: str
    """Its name in a config file."""
    package: str
    """The distribution that provides it, with its version."""
    member: Any
    """The class, or the row of an engine; None if it cannot be used."""
    problem: str = ""
    """Why not."""


_FOUND: dict[str, list[Plugin]] = {}


def plugins(group: str, taken: Collection[str], problem: Problem) -> dict[str, Any]:
    """The usable members of a group, by name, in alphabetical order.

    Args:
        group: the entry-point group.
        taken: names that are already in use.
        problem: checks a loaded object.
    """
    entries = sorted(entry_points(group=group), key=lambda entry: entry.name)
    times = Counter(entry.name for entry in entries)
    found = [_plugin(entry, taken, times[entry.name], problem) for entry in entries]
    _FOUND[group] = found
    return {one.name: one.member for one in found if one.member is not None}


def on_first_use(module: dict[str, Any], **builders: Callable[[], Any]) -> Callable[[str], Any]:
    """A module's `__getattr__`: builds each of these attributes when it is first used.

    For tables that include plugins. A plugin imports modules of Tierwise, and must not be loaded before it is complete.

    Args:
        module: the module's `globals()`.
        builders: by the attribute's name.
    """

    def attribute(name: str) -> Any:
        if name not in builders:
            raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")
        module[name] = builders[name]()
        return module[name]

    return attribute


def found() -> list[Plugin]:
    """Every plugin of the tables in use, including those that cannot be used."""
    return [one for group in sorted(_FOUND) for one in _FOUND[group]]


def why_not(group: str, name: str) -> str:
    """Why a plugin of this name cannot be used, and which package provides it; empty if there is none."""
    refused = (one for one in _FOUND.get(group, ()) if one.name == name and one.member is None)
    return "; ".join(f"{one.package} provides {name!r}, which cannot be used: {one.problem}" for one in refused)


def _plugin(entry: EntryPoint, taken: Collection[str], times: int, problem: Problem) -> Plugin:
    package = "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    member, why = None, ""
    if os.environ.get("TIERWISE_DISABLE_PLUGINS"):
        why = "plugins are disabled; unset $TIERWISE_DISABLE_PLUGINS"
    elif entry.name in taken:
        why = "the name is taken by a built-in of Tierwise; choose another"
    elif times > 1:
        why = f"{times} packages provide this name; uninstall all but one"
    else:
        try:
            member = entry.load()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's import may raise anything
            why = f"{entry.value} cannot be imported: {type(error).__name__}: {error}"
        else:
            why = problem(entry.name, member)
    return Plugin(group=entry.group, name=entry.name, package=package, member=None if why else member, problem=why)


def unreadable(member: object) -> str:
    """Why a config file cannot contain this class; empty if it can."""
    if not (isinstance(member, type) and issubclass(member, msgspec.Struct)):
        return f"{member!r} is not a subclass of msgspec.Struct, so a config file cannot be read into it"
    if not member.__struct_config__.frozen:
        return f"{member.__name__} is not frozen; declare it with frozen=True, because it holds settings and no state"
    try:
        msgspec.convert({}, member)
    except msgspec.ValidationError:
        pass  # it has required fields
    except Exception as error:  # noqa: BLE001 - an annotation may raise anything when it is evaluated
        return f"the fields of {member.__name__} cannot be read from a file: {type(error).__name__}: {error}"
    return ""


def lacking(member: type[Any], names: Collection[str]) -> str:
    """The attributes of a protocol that a class lacks; empty if it has all."""
    missing = [name for name in names if not hasattr(member, name)]
    return f"{member.__name__} lacks {', '.join(missing)}" if missing else ""
