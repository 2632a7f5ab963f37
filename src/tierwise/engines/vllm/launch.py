"""Launches vLLM for a deployment, or connects to one at a URL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tierwise.engines.served.launch import Launcher
from tierwise.engines.vllm.client import VllmClient
from tierwise.engines.vllm.facts import facts
from tierwise.engines.vllm.rewards import RewardClient
from tierwise.engines.vllm.settings import Vllm

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.openai.client import ChatClient
    from tierwise.engines.served.client import ClientOptions


def _client(
    settings: Vllm,
    name: str,
    model: str,
    options: ClientOptions,
    architecture: Architecture | None,
) -> ChatClient:
    if settings.rewards:
        return RewardClient(name, model, **options)
    return VllmClient(name, model, experts=architecture.experts if architecture else None, **options)


def _facts(log: Path) -> Callable[[str], Awaitable[Mapping[str, str]]]:
    return partial(facts, log)


def _own_flags(settings: Vllm) -> Iterable[str]:
    if settings.eplb is not None:
        yield "--enable-eplb"
    if settings.tool_parser is not None:
        yield "--enable-auto-tool-choice"
    if settings.experts_sampled:
        yield "--enable-return-routed-experts"
    if settings.rewards:
        yield "--runner"
        yield "pooling"


def _environment(settings: Vllm) -> dict[str, str]:
    found = {}
    if settings.batch_invariant:
        found["VLLM_BATCH_INVARIANT"] = "1"
    if settings.cpu_kv_cache_gib is not None:
        found["VLLM_CPU_KVCACHE_SPACE"] = str(settings.cpu_kv_cache_gib)
    return found


LAUNCHER: Launcher[Vllm] = Launcher(client=_client, facts=_facts, own_flags=_own_flags, environment=_environment)
