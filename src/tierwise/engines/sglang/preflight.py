"""What cannot work with a checkpoint and an SGLang as they lie on this machine, beyond what any server is asked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served import preflight
from tierwise.engines.served.preflight import missing_code, of_its_code, of_its_levers, of_its_prompts
from tierwise.engines.sglang.installed import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.sglang.installed import Installed
    from tierwise.engines.sglang.settings import Sglang

_TOLD = "num_experts_per_tok"
"""The key of config.json that SGLang wants for telling routed experts."""


def misfits(settings: Sglang, site: Site) -> Iterable[tuple[str, str]]:
    """Every setting that cannot work here, as its name and why.

    Args:
        settings: of a deployment that is to be launched.
        site: with the checkpoint, where that is on this machine.
    """
    return preflight.misfits(
        settings,
        site,
        find,
        advice="name the bin/python of an environment with SGLang",
        of_server=partial(_of_this_sglang, settings),
        of_checkpoint=partial(_of_this_checkpoint, settings),
    )


def _of_this_sglang(settings: Sglang, installed: Installed) -> Iterable[tuple[str, str]]:
    version = f"SGLang {installed.version}"
    yield from of_its_levers(settings, installed, partial(_of_a_word, installed))
    if settings.quantization and (package := installed.package_for(settings.quantization)):
        yield "quantization", f"{version} loads {settings.quantization} with the package {package}; install it there"
    for name, flag, _ in settings.spread():
        if not installed.has_flag(flag):
            yield name, f"{version} has no {flag}; take the key out, or use another version"
    backend, fit = settings.attention_backend, installed.values("deterministic")
    if settings.deterministic and backend is not None and fit and backend not in fit:
        yield "deterministic", f"{version} is deterministic with {', '.join(sorted(fit))}, and not with {backend}"


def _of_a_word(installed: Installed, name: str, value: str) -> Iterable[tuple[str, str]]:
    """Whether this version knows a word that a lever is set to."""
    known = installed.values(name)
    if known and value not in known | {"auto"}:
        yield name, f"SGLang {installed.version} knows no {value!r}; it knows {', '.join(sorted(known))}"


def _of_this_checkpoint(
    settings: Sglang, installed: Installed, architecture: Architecture
) -> Iterable[tuple[str, str]]:
    key = architecture.active_experts_key
    if architecture.experts is not None and settings.experts_sampled and key.rpartition(".")[2] != _TOLD:
        yield (
            "experts_sampled",
            (f"SGLang looks for {_TOLD} to return routed experts, and this one has {key or 'neither'}; take it out"),
        )
    method = "gguf" if architecture.format == "gguf" else architecture.quantization
    if (package := installed.package_for(method)) and settings.quantization is None:
        yield (
            "checkpoint",
            f"it is {method}, which SGLang {installed.version} loads with the package {package}; install it there",
        )
    if architecture.format == "gguf":
        return
    yield from of_its_code(settings, installed, architecture)
    missing = missing_code(installed, architecture)
    is_untrusted = architecture.needs_remote_code and not settings.trust_remote_code
    if missing and len(missing) == len(architecture.architectures) and not is_untrusted:
        yield (
            "checkpoint",
            f"SGLang {installed.version} has no architecture {missing[0]}; use another version, or another engine",
        )
    yield from of_its_prompts(settings, architecture, tokenizer="--tokenizer-path")
