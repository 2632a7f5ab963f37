"""What cannot work with a checkpoint and a vLLM as they lie on this machine, found before anything is launched.

What only vLLM can know (memory, kernels, a mixture of settings) it says itself, in its last words.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tierwise.catalog.architecture import read
from tierwise.engines.overrides import at
from tierwise.engines.prompting import has_chat_form
from tierwise.engines.vllm.installed import find
from tierwise.engines.vllm.levers import LEVERS
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.vllm.installed import Installed
    from tierwise.engines.vllm.settings import Vllm

_PARSER_PLUGINS = {"reasoning_parser": "--reasoning-parser-plugin", "tool_parser": "--tool-parser-plugin"}


def misfits(settings: Vllm, program: str, site: Site) -> Iterable[tuple[str, str]]:
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
            (
                f"there is no interpreter {settings.python!r} here; make an environment with vLLM "
                "(scripts/install_vllm_cpu.sh makes one for the CPU), and name its bin/python"
            ),
        )
        return
    try:
        installed = find(place)
    except SpecError as error:
        yield "python", str(error)
        return
    yield from _of_this_vllm(settings, installed)
    if site.model is None:
        return
    try:
        architecture = read(site.model)
    except SpecError as error:
        yield "checkpoint", str(error)
        return
    yield from _of_this_checkpoint(settings, installed, architecture)
    yield from _of_its_experts(settings, architecture)


def _of_this_vllm(settings: Vllm, installed: Installed) -> Iterable[tuple[str, str]]:
    version = f"vLLM {installed.version}"
    for lever in LEVERS:
        value = getattr(settings, lever.name, None)
        if lever.scope == "launch" and lever.sets.startswith("--") and value not in (None, {}):
            if not installed.has_flag(lever.sets):
                yield lever.name, f"{version} has no {lever.sets}; take it out, or use another version"
            elif isinstance(value, str):
                yield from _of_a_word(settings, lever.name, value, installed)


def _of_a_word(settings: Vllm, name: str, value: str, installed: Installed) -> Iterable[tuple[str, str]]:
    """Whether this version knows a word that a lever is set to."""
    if _PARSER_PLUGINS.get(name) in settings.extra_args:
        return
    if name == "quantization" and (package := installed.plugin_for(value)):
        yield (
            name,
            (
                f"vLLM {installed.version} runs {value} through the package {package}, which is not beside it; "
                f"install it there, or use `fp8_per_channel` or another method of its own"
            ),
        )
        return
    known = installed.values(name)
    said = value.upper() if name == "attention_backend" else value
    if known and said not in known | {"auto", "AUTO"}:
        yield name, f"vLLM {installed.version} knows no {value!r}; it knows {', '.join(sorted(known))}"


def _of_this_checkpoint(settings: Vllm, installed: Installed, architecture: Architecture) -> Iterable[tuple[str, str]]:
    method = "gguf" if architecture.format == "gguf" else architecture.quantization
    if (package := installed.plugin_for(method)) and settings.quantization is None:
        yield (
            "checkpoint",
            (
                f"it is {method}, which vLLM {installed.version} runs through the package {package}; "
                "install it there, or run the checkpoint on another engine"
            ),
        )
    if architecture.format == "gguf":
        return
    missing = [name for name in architecture.architectures if not installed.may_run(name)]
    if missing and architecture.needs_remote_code:
        if not settings.trust_remote_code:
            yield (
                "trust_remote_code",
                (
                    f"vLLM {installed.version} has no {missing[0]}, and the checkpoint brings Python of its own for "
                    "it; read that, and then set `trust_remote_code: true`, or take another engine"
                ),
            )
    elif missing and len(missing) == len(architecture.architectures):
        yield (
            "checkpoint",
            (
                f"vLLM {installed.version} has no architecture {missing[0]}, and neither has Transformers "
                f"{installed.transformers_version} beside it; use another version, or another engine"
            ),
        )
    if not architecture.has_tokenizer and "--tokenizer" not in settings.extra_args:
        yield "checkpoint", "it has no tokenizer; copy tokenizer.json and tokenizer_config.json into its folder"
    if not has_chat_form(architecture) and "--chat-template" not in settings.extra_args:
        yield (
            "checkpoint",
            (
                "it has no chat template, so no chat can be put to it; add chat_template.jinja to its folder, or set "
                "`extra_args: [--chat-template, FILE]`"
            ),
        )


def _of_its_experts(settings: Vllm, architecture: Architecture) -> Iterable[tuple[str, str]]:
    wanted, experts = settings.active_experts, architecture.experts
    if experts is None:
        for name in ("active_experts", "expert_parallel", "eplb", "experts_sampled"):
            if getattr(settings, name) not in (None, False, 0.0):
                yield name, f"this checkpoint ({architecture.model_type}) is dense, it has no experts; take it out"
        return
    if wanted is None:
        return
    if architecture.hash_routed_layers and wanted != architecture.active_experts:
        yield (
            "active_experts",
            (
                f"{architecture.hash_routed_layers} layers of this checkpoint ({architecture.model_type}) route by a "
                f"table that holds {architecture.active_experts} experts for each token; no other number loads. Think "
                "more instead (`reasoning_effort`), or draw several answers by a policy"
            ),
        )
    elif wanted > experts:
        yield "active_experts", f"{wanted} of {experts} experts cannot work on a token; give 1 to {experts}"
    elif not architecture.active_experts_key:
        yield "active_experts", "its config.json does not say how many work; set the right key under `hf_overrides`"
    elif (said := at(settings.hf_overrides, architecture.active_experts_key)) not in (None, wanted):
        yield (
            "active_experts",
            f"`hf_overrides` says {said} for {architecture.active_experts_key}; take one of them out",
        )
