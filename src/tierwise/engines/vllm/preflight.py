"""Preflight checks of vLLM, besides those for all server engines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served import preflight as served
from tierwise.engines.served.preflight import check_code, check_levers, check_prompts, missing_code
from tierwise.engines.vllm.installed import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.settings import LaunchContext, Problem
    from tierwise.engines.vllm.installed import InstalledVllm
    from tierwise.engines.vllm.settings import Vllm

_PARSER_PLUGINS = {"reasoning_parser": "--reasoning-parser-plugin", "tool_parser": "--tool-parser-plugin"}
_ADVICE = "create an environment with vLLM (for the CPU: scripts/install_vllm_cpu.sh), and set this to its bin/python"


def preflight(settings: Vllm, context: LaunchContext) -> Iterable[Problem]:
    """All settings that cannot work here."""
    return served.preflight(
        settings,
        context,
        find,
        advice=_ADVICE,
        check_server=lambda installed: check_levers(settings, installed, partial(_check_value, settings, installed)),
        check_checkpoint=partial(_check_checkpoint, settings),
    )


def _check_value(settings: Vllm, installed: InstalledVllm, name: str, value: str) -> Iterable[Problem]:
    """Whether this version supports a text value of a lever."""
    if _PARSER_PLUGINS.get(name) in settings.extra_args:
        return
    if name == "quantization" and (package := installed.plugin_for(value)):
        yield (
            name,
            (
                f"vLLM {installed.version} needs the package {package} for {value}, which is not installed; "
                f"install it there, or use a built-in method such as `fp8_per_channel`"
            ),
        )
        return
    known = installed.values(name)
    written = value.upper() if name == "attention_backend" else value
    if known and written not in known | {"auto", "AUTO"}:
        yield name, f"vLLM {installed.version} does not support {value!r}; allowed: {', '.join(sorted(known))}"


def _check_checkpoint(settings: Vllm, installed: InstalledVllm, architecture: Architecture) -> Iterable[Problem]:
    method = "gguf" if architecture.format == "gguf" else architecture.quantization
    if (package := installed.plugin_for(method)) and settings.quantization is None:
        yield (
            "checkpoint",
            (
                f"it is {method}, for which vLLM {installed.version} needs the package {package}; "
                "install it there, or run the checkpoint on another engine"
            ),
        )
    if architecture.format == "gguf":
        return
    yield from check_code(settings, installed, architecture)
    missing = missing_code(installed, architecture)
    if missing and len(missing) == len(architecture.architectures) and not architecture.needs_remote_code:
        yield (
            "checkpoint",
            (
                f"vLLM {installed.version} has no architecture {missing[0]}, and neither has Transformers "
                f"{installed.transformers_version} in its environment; use another version or another engine"
            ),
        )
    yield from check_prompts(settings, architecture, tokenizer="--tokenizer")
