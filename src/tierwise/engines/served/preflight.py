"""What cannot work with a checkpoint and a server as they lie on this machine, found before anything is launched.

What only the server can know (memory, kernels, a mixture of settings) it says itself, in its last words.
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
    from tierwise.engines.engine import Site
    from tierwise.engines.served.settings import Served


class Known(Protocol):
    """What is known of a server from its files, for the questions that are put to each."""

    @property
    def version(self) -> str: ...

    def may_run(self, architecture: str) -> bool: ...

    def has_flag(self, flag: str) -> bool: ...


Installed = TypeVar("Installed", bound=Known)


def misfits(
    settings: Served,
    site: Site,
    find: Callable[[str], Installed],
    *,
    advice: str,
    of_server: Callable[[Installed], Iterable[tuple[str, str]]],
    of_checkpoint: Callable[[Installed, Architecture], Iterable[tuple[str, str]]],
) -> Iterable[tuple[str, str]]:
    """Every setting that cannot work here, as its name and why.

    Args:
        settings: of a deployment that is to be launched.
        site: with the checkpoint, where that is on this machine.
        find: looks up the server of an interpreter.
        advice: how to come by an interpreter that has it.
        of_server: what this version of it does not know.
        of_checkpoint: what this version cannot do with this checkpoint.
    """
    place = shutil.which(site.program(settings.python or ""))
    if place is None:
        yield "python", f"there is no interpreter {settings.python!r} here; {advice}"
        return
    try:
        installed = find(place)
    except SpecError as error:
        yield "python", str(error)
        return
    yield from of_server(installed)
    if site.model is None:
        return
    try:
        architecture = read(site.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from of_checkpoint(installed, architecture)
    yield from _of_its_experts(settings, architecture)


def of_its_levers(
    settings: Served, installed: Known, of_a_word: Callable[[str, str], Iterable[tuple[str, str]]]
) -> Iterable[tuple[str, str]]:
    """Levers whose flag this version has not, or whose word it does not know.

    Args:
        settings: of the deployment.
        installed: the server.
        of_a_word: judges the word that a lever is set to, by the lever's name and the word.
    """
    kind = settings.KIND
    for lever in kind.levers:
        value = getattr(settings, lever.name, None)
        if lever.scope == "request" or value in (None, {}) or (value is False and not kind.negatives):
            continue
        if lever.sets.startswith("--") and not installed.has_flag(lever.sets):
            yield (
                lever.name,
                f"{kind.title} {installed.version} has no {lever.sets}; take it out, or use another version",
            )
        elif isinstance(value, str):
            yield from of_a_word(lever.name, value)


def of_its_code(settings: Served, installed: Known, architecture: Architecture) -> Iterable[tuple[str, str]]:
    """Python that the checkpoint brings, and that nobody has said may run."""
    missing = missing_code(installed, architecture)
    if missing and architecture.needs_remote_code and not settings.trust_remote_code:
        yield (
            "trust_remote_code",
            (
                f"{settings.KIND.title} {installed.version} has no {missing[0]}, and the checkpoint brings Python of "
                "its own for it; read that, and then set `trust_remote_code: true`, or take another engine"
            ),
        )


def missing_code(installed: Known, architecture: Architecture) -> list[str]:
    """The classes of a checkpoint that the server has no code for."""
    return [name for name in architecture.architectures if not installed.may_run(name)]


def of_its_prompts(settings: Served, architecture: Architecture, *, tokenizer: str) -> Iterable[tuple[str, str]]:
    """What is missing between words and tokens; the flag `tokenizer` names another folder for it."""
    if not architecture.has_tokenizer and tokenizer not in settings.extra_args:
        yield "checkpoint", "it has no tokenizer; copy tokenizer.json and tokenizer_config.json into its folder"
    if not has_chat_form(architecture) and "--chat-template" not in settings.extra_args:
        yield (
            "checkpoint",
            (
                "it has no chat template, so no chat can be put to it; add chat_template.jinja to its folder, or set "
                "`extra_args: [--chat-template, FILE]`"
            ),
        )


def _of_its_experts(settings: Served, architecture: Architecture) -> Iterable[tuple[str, str]]:
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
    elif (said := at(settings.hf_overrides, key)) not in (None, wanted):
        yield "active_experts", f"`hf_overrides` says {said} for {key}; take one of them out"
