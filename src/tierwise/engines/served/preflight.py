"""Finds settings that cannot work with the checkpoint and the installed server, before anything is launched.

The server itself reports what only it can know (memory, kernels, combinations of settings) at the end of its log.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Protocol, TypeVar

from tierwise.catalog.architecture import read
from tierwise.engines.prompting import has_chat_form
from tierwise.engines.served.overrides import at
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.served.settings import ServerEngineSettings
    from tierwise.engines.settings import LaunchContext, Problem


class InstalledServer(Protocol):
    """An installed server: what is checked for all server engines."""

    @property
    def version(self) -> str: ...

    def may_run(self, architecture: str) -> bool: ...

    def has_flag(self, flag: str) -> bool: ...


Installed = TypeVar("Installed", bound=InstalledServer)


def preflight(
    settings: ServerEngineSettings,
    context: LaunchContext,
    find: Callable[[str], Installed],
    *,
    advice: str,
    check_server: Callable[[Installed], Iterable[Problem]],
    check_checkpoint: Callable[[Installed, Architecture], Iterable[Problem]],
) -> Iterable[Problem]:
    """All settings that cannot work here; empty for a server that is already running.

    Args:
        settings: of the deployment.
        context: with the checkpoint, if it is on this machine.
        find: returns the server in an interpreter's environment.
        advice: how to get an interpreter that has it.
        check_server: returns what this version does not support.
        check_checkpoint: returns what this version cannot do with this checkpoint.
    """
    if settings.url is not None:
        return
    place = shutil.which(context.program(settings.python or ""))
    if place is None:
        yield "python", f"there is no interpreter {settings.python!r}; {advice}"
        return
    try:
        installed = find(place)
    except SpecError as error:
        yield "python", str(error)
        return
    yield from check_server(installed)
    if context.model is None:
        return
    try:
        architecture = read(context.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from check_checkpoint(installed, architecture)
    yield from _check_experts(settings, architecture)


def check_levers(
    settings: ServerEngineSettings,
    installed: InstalledServer,
    check_value: Callable[[str, str], Iterable[Problem]],
) -> Iterable[Problem]:
    """Levers with a flag or value that this version does not have.

    Args:
        settings: of the deployment.
        installed: the server.
        check_value: checks a text value; called with the lever's name and the value.
    """
    engine = settings.ENGINE
    for lever in engine.levers:
        value = getattr(settings, lever.name, None)
        if lever.scope == "request" or value in (None, {}) or (value is False and not engine.negatives):
            continue
        if lever.sets.startswith("--") and not installed.has_flag(lever.sets):
            yield (
                lever.name,
                f"{engine.title} {installed.version} has no {lever.sets}; remove this setting, or use another version",
            )
        elif isinstance(value, str):
            yield from check_value(lever.name, value)


def check_code(
    settings: ServerEngineSettings, installed: InstalledServer, architecture: Architecture
) -> Iterable[Problem]:
    """Python code in the checkpoint that the settings do not allow to run."""
    missing = missing_code(installed, architecture)
    if missing and architecture.needs_remote_code and not settings.trust_remote_code:
        yield (
            "trust_remote_code",
            (
                f"{settings.ENGINE.title} {installed.version} has no {missing[0]}, and the checkpoint contains its "
                "own Python code for it; review the code and set `trust_remote_code: true`, or use another engine"
            ),
        )


def missing_code(installed: InstalledServer, architecture: Architecture) -> list[str]:
    """The model classes of a checkpoint that the server does not support."""
    return [name for name in architecture.architectures if not installed.may_run(name)]


def check_prompts(settings: ServerEngineSettings, architecture: Architecture, *, tokenizer: str) -> Iterable[Problem]:
    """What is missing to tokenize messages. The flag `tokenizer` names another folder for the tokenizer."""
    if not architecture.has_tokenizer and tokenizer not in settings.extra_args:
        yield "checkpoint", "it has no tokenizer; copy tokenizer.json and tokenizer_config.json into its folder"
    if not has_chat_form(architecture) and "--chat-template" not in settings.extra_args:
        yield (
            "checkpoint",
            (
                "it has no chat template, so it cannot answer chats; add chat_template.jinja to its folder, or set "
                "`extra_args: [--chat-template, FILE]`"
            ),
        )


def _check_experts(settings: ServerEngineSettings, architecture: Architecture) -> Iterable[Problem]:
    wanted, key = settings.active_experts, architecture.active_experts_key
    if architecture.experts is None:
        for name in ("active_experts", "expert_parallel", "eplb", "experts_sampled"):
            if getattr(settings, name) not in (None, False, 0.0):
                yield (
                    name,
                    f"this checkpoint ({architecture.model_type}) is dense and has no experts; remove this",
                )
    elif wanted is None:
        return
    elif why := architecture.why_not_active(wanted):
        yield "active_experts", why
    elif not key:
        yield (
            "active_experts",
            "its config.json has no known key for it; set the right key under `hf_overrides`",
        )
    elif (given := at(settings.hf_overrides, key)) not in (None, wanted):
        yield "active_experts", f"`hf_overrides` sets {key} to {given}; remove one of the two"
