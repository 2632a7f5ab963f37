"""What cannot work with a checkpoint and an SGLang as they lie on this machine, found before anything is launched.

What only SGLang can know (memory, kernels, a mixture of settings) it says itself, in its last words.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tierwise.catalog.architecture import read
from tierwise.engines.overrides import at
from tierwise.engines.prompting import has_chat_form
from tierwise.engines.sglang.installed import find
from tierwise.engines.sglang.levers import LEVERS
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.sglang.installed import Installed
    from tierwise.engines.sglang.settings import Sglang


def misfits(settings: Sglang, program: str, site: Site) -> Iterable[tuple[str, str]]:
    """Every setting that cannot work here, as its name and why.

    Args:
        settings: of a deployment that is to be launched.
        program: its interpreter.
        site: with the checkpoint, where that is on this machine.
    """
    place = shutil.which(program)
    if place is None:
        yield (
            "python",
            f"there is no interpreter {settings.python!r} here; name the bin/python of an environment with SGLang",
        )
        return
    try:
        installed = find(place)
    except SpecError as error:
        yield "python", str(error)
        return
    yield from _of_this_sglang(settings, installed)
    if site.model is None:
        return
    try:
        architecture = read(site.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from _of_this_checkpoint(settings, installed, architecture)
    yield from _of_its_experts(settings, architecture)


def _of_this_sglang(settings: Sglang, installed: Installed) -> Iterable[tuple[str, str]]:
    version = f"SGLang {installed.version}"
    for lever in LEVERS:
        value = getattr(settings, lever.name, None)
        if lever.scope == "request" or value in (None, {}, False):
            continue
        if lever.sets.startswith("--") and not installed.has_flag(lever.sets):
            yield lever.name, f"{version} has no {lever.sets}; take it out, or use another version"
        elif isinstance(value, str):
            known = installed.values(lever.name)
            if known and value not in known | {"auto"}:
                yield lever.name, f"{version} knows no {value!r}; it knows {', '.join(sorted(known))}"
    if settings.quantization and (package := installed.package_for(settings.quantization)):
        yield "quantization", f"{version} loads {settings.quantization} with the package {package}; install it there"
    for name, flag, _ in settings.spread():
        if not installed.has_flag(flag):
            yield name, f"{version} has no {flag}; take the key out, or use another version"
    backend, fit = settings.attention_backend, installed.values("deterministic")
    if settings.deterministic and backend is not None and fit and backend not in fit:
        yield "deterministic", f"{version} is deterministic with {', '.join(sorted(fit))}, and not with {backend}"


def _of_this_checkpoint(
    settings: Sglang, installed: Installed, architecture: Architecture
) -> Iterable[tuple[str, str]]:
    method = "gguf" if architecture.format == "gguf" else architecture.quantization
    if (package := installed.package_for(method)) and settings.quantization is None:
        yield (
            "checkpoint",
            f"it is {method}, which SGLang {installed.version} loads with the package {package}; install it there",
        )
    if architecture.format == "gguf":
        return
    missing = [name for name in architecture.architectures if not installed.may_run(name)]
    if architecture.needs_remote_code and not settings.trust_remote_code and missing:
        yield (
            "trust_remote_code",
            (
                f"SGLang {installed.version} has no {missing[0]}, and the checkpoint brings Python of its own for "
                "it; read that, and then set `trust_remote_code: true`, or take another engine"
            ),
        )
    elif missing and len(missing) == len(architecture.architectures):
        yield (
            "checkpoint",
            f"SGLang {installed.version} has no architecture {missing[0]}; use another version, or another engine",
        )
    if not architecture.has_tokenizer and "--tokenizer-path" not in settings.extra_args:
        yield "checkpoint", "it has no tokenizer; copy tokenizer.json and tokenizer_config.json into its folder"
    if not has_chat_form(architecture) and "--chat-template" not in settings.extra_args:
        yield (
            "checkpoint",
            (
                "it has no chat template, so no chat can be put to it; add chat_template.jinja to its folder, or set "
                "`extra_args: [--chat-template, FILE]`"
            ),
        )


def _of_its_experts(settings: Sglang, architecture: Architecture) -> Iterable[tuple[str, str]]:
    wanted, key = settings.active_experts, architecture.active_experts_key
    if architecture.experts is None:
        for name in ("active_experts", "expert_parallel", "eplb", "experts_sampled"):
            if getattr(settings, name) not in (None, False, 0.0):
                yield name, f"this checkpoint ({architecture.model_type}) is dense, it has no experts; take it out"
        return
    if settings.experts_sampled and key.rpartition(".")[2] != "num_experts_per_tok":
        yield (
            "experts_sampled",
            (
                f"SGLang looks for num_experts_per_tok to return routed experts, and this one has {key or 'neither'};"
                " take it out"
            ),
        )
    if wanted is None:
        return
    if why := architecture.why_not_active(wanted):
        yield "active_experts", why
    elif not key:
        yield "active_experts", "its config.json does not say how many work; set the right key under `hf_overrides`"
    elif (said := at(settings.hf_overrides, key)) not in (None, wanted):
        yield "active_experts", f"`hf_overrides` says {said} for {key}; take one of them out"
