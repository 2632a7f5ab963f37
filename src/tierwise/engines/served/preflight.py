"""What cannot work with the checkpoint and the server on this machine, found before anything is launched.

What only the server can know (memory, kernels, combinations of settings) it reports itself, at the end of its log.
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
    """What the files of an installed server say, as far as every engine is asked."""

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
    """Every setting that cannot work here; none for a server that runs already.

    Args:
        settings: of the deployment.
        context: with the checkpoint, if it is on this machine.
        find: looks up the server of an interpreter.
        advice: how to get an interpreter that has it.
        check_server: what this version of it does not know.
        check_checkpoint: what this version cannot do with this checkpoint.
    """
    if settings.url is not None:
        return
    place = shutil.which(context.program(settings.python or ""))
    if place is None:
        yield "python", f"there is no interpreter {settings.python!r} here; {advice}"
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
    """Levers whose flag or value this version does not know.

    Args:
        settings: of the deployment.
        installed: the server.
        check_value: checks the text that a lever is set to, by the lever's name and that text.
    """
    engine = settings.ENGINE
    for lever in engine.levers:
        value = getattr(settings, lever.name, None)
        if lever.scope == "request" or value in (None, {}) or (value is False and not engine.negatives):
            continue
        if lever.sets.startswith("--") and not installed.has_flag(lever.sets):
            yield (
                lever.name,
                f"{engine.title} {installed.version} has no {lever.sets}; take it out, or use another version",
            )
        elif isinstance(value, str):
            yield from check_value(lever.name, value)


def check_code(
    settings: ServerEngineSettings, installed: InstalledServer, architecture: Architecture
) -> Iterable[Problem]:
    """Python that comes with the checkpoint and that the settings do not allow to run."""
    missing = missing_code(installed, architecture)
    if missing and architecture.needs_remote_code and not settings.trust_remote_code:
        yield (
            "trust_remote_code",
            (
                f"{settings.ENGINE.title} {installed.version} has no {missing[0]}, and the checkpoint brings Python of "
                "its own for it; read that, and then set `trust_remote_code: true`, or take another engine"
            ),
        )


def missing_code(installed: InstalledServer, architecture: Architecture) -> list[str]:
    """The classes of a checkpoint that the server has no code for."""
    return [name for name in architecture.architectures if not installed.may_run(name)]


def check_prompts(settings: ServerEngineSettings, architecture: Architecture, *, tokenizer: str) -> Iterable[Problem]:
    """What is missing to make tokens of messages; the flag `tokenizer` names another folder for the tokenizer."""
    if not architecture.has_tokenizer and tokenizer not in settings.extra_args:
        yield "checkpoint", "it has no tokenizer; copy tokenizer.json and tokenizer_config.json into its folder"
    if not has_chat_form(architecture) and "--chat-template" not in settings.extra_args:
        yield (
            "checkpoint",
            (
                "it has no chat template, so it cannot answer a chat; add chat_template.jinja to its folder, or set "
                "`extra_args: [--chat-template, FILE]`"
            ),
        )


def _check_experts(settings: ServerEngineSettings, architecture: Architecture) -> Iterable[Problem]:
    wanted, key = settings.active_experts, architecture.active_experts_key
    if architecture.experts is None:
        for name in ("active_experts", "expert_parallel", "eplb", "experts_sampled"):
            if getattr(settings, name) not in (None, False, 0.0):
                yield name, f"this checkpoint ({architecture.model_type}) is dense, it has no experts; take it out"
    elif wanted is None:
        return
    elif why := architecture.why_not_active(wanted):
        yield "active_experts", why
    elif not key:
        yield "active_experts", "its config.json does not say how many work; set the right key under `hf_overrides`"
    elif (given := at(settings.hf_overrides, key)) not in (None, wanted):
        yield "active_experts", f"`hf_overrides` says {given} for {key}; take one of them out"
