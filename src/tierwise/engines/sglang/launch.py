"""Launches SGLang for a deployment, or connects to one at a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.engines.served.launch import Launcher
from tierwise.engines.sglang.answer import Shape
from tierwise.engines.sglang.client import SglangClient
from tierwise.engines.sglang.facts import facts
from tierwise.engines.sglang.settings import Sglang

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.served.client import ClientOptions


def _client(
    settings: Sglang, name: str, model: str, options: ClientOptions, architecture: Architecture | None
) -> SglangClient:
    return SglangClient(name, model, shape=_shape(settings, architecture), **options)


def _shape(settings: Sglang, architecture: Architecture | None) -> Shape | None:
    """The shape of the checkpoint's routing; None if its config does not specify it."""
    if architecture is None:
        return None
    active = settings.active_experts or architecture.active_experts
    if architecture.layers is None or active is None:
        return None
    return Shape(layers=architecture.layers, active=active, experts=architecture.experts)


def _facts(log: Path) -> Callable[[str], Awaitable[Mapping[str, str]]]:  # noqa: ARG001 - the server reports all facts
    return facts


def _own_flags(settings: Sglang) -> Iterable[str]:
    if settings.expert_parallel:
        yield from ("--ep-size", str(settings.tensor_parallel))
    if settings.eplb is not None:
        yield from ("--enable-eplb", "--expert-balancedness-report-mode", "prometheus")
    for _, flag, value in settings.spread():
        yield from (flag,) if value is True else (flag, str(value))
    if settings.prefix_cache is False:
        yield "--disable-radix-cache"
    if settings.scheduling == "priority":
        yield from ("--enable-priority-scheduling", "--default-priority-value", "0")
    elif settings.scheduling is not None:
        yield from ("--schedule-policy", settings.scheduling)
    if settings.experts_sampled:
        yield "--enable-return-routed-experts"


def _environment(settings: Sglang) -> dict[str, str]:  # noqa: ARG001 - it has only flags
    return {}


LAUNCHER: Launcher[Sglang] = Launcher(client=_client, facts=_facts, own_flags=_own_flags, environment=_environment)
