"""What cannot work with a checkpoint and a vLLM as they lie on this machine, beyond what any such server is asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served import preflight
from tierwise.engines.served.preflight import missing_code, of_its_code, of_its_levers, of_its_prompts
from tierwise.engines.vllm.installed import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.vllm.installed import Installed
    from tierwise.engines.vllm.settings import Vllm

_PARSER_PLUGINS = {"reasoning_parser": "--reasoning-parser-plugin", "tool_parser": "--tool-parser-plugin"}
_ADVICE = "make an environment with vLLM (scripts/install_vllm_cpu.sh makes one for the CPU), and name its bin/python"


def misfits(settings: Vllm, site: Site) -> Iterable[tuple[str, str]]:
    """Every setting that cannot work here, as its name and why.

    Args:
        settings: of a deployment that is to be launched.
        site: with the checkpoint, where that is on this machine.
    """
    return preflight.misfits(
        settings,
        site,
        find,
        advice=_ADVICE,
        of_server=lambda installed: of_its_levers(settings, installed, partial(_of_a_word, settings, installed)),
        of_checkpoint=partial(_of_this_checkpoint, settings),
    )


def _of_a_word(settings: Vllm, installed: Installed, name: str, value: str) -> Iterable[tuple[str, str]]:
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
    yield from of_its_code(settings, installed, architecture)
    missing = missing_code(installed, architecture)
    if missing and len(missing) == len(architecture.architectures) and not architecture.needs_remote_code:
        yield (
            "checkpoint",
            (
                f"vLLM {installed.version} has no architecture {missing[0]}, and neither has Transformers "
                f"{installed.transformers_version} beside it; use another version, or another engine"
            ),
        )
    yield from of_its_prompts(settings, architecture, tokenizer="--tokenizer")
