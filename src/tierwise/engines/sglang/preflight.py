"""Preflight checks of SGLang, besides those for all server engines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served import preflight as served
from tierwise.engines.served.preflight import check_code, check_levers, check_prompts, missing_code
from tierwise.engines.sglang.installed import find

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.settings import LaunchContext, Problem
    from tierwise.engines.sglang.installed import InstalledSglang
    from tierwise.engines.sglang.settings import Sglang

_ACTIVE_EXPERTS = "num_experts_per_tok"
"""The key of config.json that SGLang reads to report routed experts."""


def preflight(settings: Sglang, context: LaunchContext) -> Iterable[Problem]:
    """All settings that cannot work here."""
    return served.preflight(
        settings,
        context,
        find,
        advice="set `python` to the bin/python of an environment with SGLang",
        check_server=partial(_check_server, settings),
        check_checkpoint=partial(_check_checkpoint, settings),
    )


def _check_server(settings: Sglang, installed: InstalledSglang) -> Iterable[Problem]:
    version = f"SGLang {installed.version}"
    yield from check_levers(settings, installed, partial(_check_value, installed))
    if settings.quantization and (package := installed.package_for(settings.quantization)):
        yield "quantization", f"{version} loads {settings.quantization} with the package {package}; install it there"
    for name, flag, _ in settings.spread():
        if not installed.has_flag(flag):
            yield name, f"{version} has no {flag}; remove the key, or use another version"
    backend, fit = settings.attention_backend, installed.values("deterministic")
    if settings.deterministic and backend is not None and fit and backend not in fit:
        yield "deterministic", f"{version} is deterministic with {', '.join(sorted(fit))}, and not with {backend}"


def _check_value(installed: InstalledSglang, name: str, value: str) -> Iterable[Problem]:
    """Whether this version supports a text value of a lever."""
    known = installed.values(name)
    if known and value not in known | {"auto"}:
        yield name, f"SGLang {installed.version} does not support {value!r}; allowed: {', '.join(sorted(known))}"


def _check_checkpoint(settings: Sglang, installed: InstalledSglang, architecture: Architecture) -> Iterable[Problem]:
    key = architecture.active_experts_key
    if architecture.experts is not None and settings.experts_sampled and key.rpartition(".")[2] != _ACTIVE_EXPERTS:
        yield (
            "experts_sampled",
            f"SGLang reads {_ACTIVE_EXPERTS} to return routed experts, but this one has {key or 'none'}; remove this",
        )
    method = "gguf" if architecture.format == "gguf" else architecture.quantization
    if (package := installed.package_for(method)) and settings.quantization is None:
        yield (
            "checkpoint",
            f"it is {method}, which SGLang {installed.version} loads with the package {package}; install it there",
        )
    if architecture.format == "gguf":
        return
    yield from check_code(settings, installed, architecture)
    missing = missing_code(installed, architecture)
    is_untrusted = architecture.needs_remote_code and not settings.trust_remote_code
    if missing and len(missing) == len(architecture.architectures) and not is_untrusted:
        yield (
            "checkpoint",
            f"SGLang {installed.version} has no architecture {missing[0]}; use another version or another engine",
        )
    yield from check_prompts(settings, architecture, tokenizer="--tokenizer-path")
