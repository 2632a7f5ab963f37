"""Launches a server engine for a deployment, or connects to one at a URL."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from tierwise.catalog.architecture import Architecture
from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.lever import flags
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.openai.launch import api_key, shown
from tierwise.engines.openai.proxy import proxy_to
from tierwise.engines.probe.findings import remembered_thinking_off
from tierwise.engines.process.environment import given
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.process.supervisor import Launch
from tierwise.engines.prompting import switch_of
from tierwise.engines.served.client import ClientOptions
from tierwise.engines.served.overrides import override
from tierwise.engines.served.settings import ServerEngineSettings
from tierwise.engines.thinking_switch import thinking_off
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.engines.settings import LaunchContext
    from tierwise.engines.thinking_switch import ThinkingSwitch

S = TypeVar("S", bound=ServerEngineSettings)
S_contra = TypeVar("S_contra", bound=ServerEngineSettings, contravariant=True)

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # only checkpoints on this machine are served
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONSAFEPATH": "1",  # a folder named vllm or sglang in the working directory must not be imported
    "OMP_WAIT_POLICY": "passive",  # threads that busy-wait slow down everything else on the CPU
}


class MakesClient(Protocol[S_contra]):
    """Creates the client of an engine."""

    def __call__(
        self, settings: S_contra, name: str, model: str, options: ClientOptions, architecture: Architecture | None
    ) -> ChatClient:
        """Create the client.

        Args:
            settings: of the deployment.
            name: of the deployment.
            model: the server's name for the model.
            options: the same for all server engines.
            architecture: of the checkpoint; None if unknown.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher(Generic[S]):
    """Launches one of these engines or connects to it. The functions are what differs between engines."""

    client: MakesClient[S]
    facts: Callable[[Path], Callable[[str], Awaitable[Mapping[str, str]]]]
    """Takes a log file; returns a function from the server's URL to `Health.facts`."""
    own_flags: Callable[[S], Iterable[str]]
    """Returns the flags of levers that are not a single flag."""
    environment: Callable[[S], Mapping[str, str]]
    """Returns the environment variables of levers that are not flags."""

    def command(self, settings: S, context: LaunchContext) -> str:
        """The command line. If the checkpoint is not downloaded, its name stands for its path."""
        if settings.url is not None:
            return shown(settings.url)
        model = context.model or Path(f"<{settings.checkpoint}>")
        launch = self._launch(with_active_experts(settings, context), settings.tag, model, 0, context)
        return shlex.join((*(f"{name}={value}" for name, value in self.environment(settings).items()), *launch.command))

    def build(self, settings: S, name: str, context: LaunchContext) -> LaunchedEngine | HttpEngine:
        """The engine, not started.

        Raises:
            SpecError: its checkpoint is not on this machine, or the API key of a server is not set.
        """
        if settings.url is not None:
            return self._find(settings, name, settings.url)
        if context.model is None:
            raise SpecError(f"checkpoint {settings.checkpoint!r} is not downloaded; run `tierwise pull` first")
        model, architecture = context.model, read_architecture(context.model)
        launched = with_active_experts(settings, context)
        options = _options(settings, switch=switch_of(architecture))
        return LaunchedEngine(
            name,
            lambda port: self._launch(launched, name, model, port, context),
            logs=context.logs,
            client=self.client(settings, name, name, options, architecture),
            facts=self.facts(context.logs / f"{name}.log"),
            metrics=settings.ENGINE.metrics,
        )

    def _find(self, settings: S, name: str, url: str) -> HttpEngine:
        options = _options(settings, key=api_key(name, settings.api_key_env, url), proxy=proxy_to(url))
        client = self.client(settings, name, settings.model or "default", options, None)
        return HttpEngine(url, client, metrics=settings.ENGINE.metrics)

    def _launch(self, settings: S, name: str, model: Path, port: int, context: LaunchContext) -> Launch:
        """The launch of the named deployment on a port (0: a free port)."""
        engine = settings.ENGINE
        command = [context.program(settings.python or ""), *engine.program, str(model)]
        command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), *engine.always]
        command += flags(settings, engine.levers, negatives=engine.negatives)
        return Launch(
            command=(*command, *self.own_flags(settings), *settings.extra_args),
            url=f"http://127.0.0.1:{port}",
            inherits=engine.inherits,
            environment={
                **_ENVIRONMENT,
                **engine.environment,
                **self.environment(settings),
                **given(settings.environment),
            },
            lost=engine.lost,
            start_seconds=settings.start_seconds,
        )


def with_active_experts(settings: S, context: LaunchContext) -> S:
    """The settings with `active_experts`, if set, moved to the checkpoint's key in `hf_overrides`."""
    if settings.active_experts is None:
        return settings
    key = read_architecture(context.model).active_experts_key if context.model else ""
    overrides = override(settings.hf_overrides, key or "num_experts_per_tok", settings.active_experts)
    return msgspec.structs.replace(settings, hf_overrides=overrides)


def _options(
    settings: ServerEngineSettings,
    *,
    switch: ThinkingSwitch | None = None,
    key: str | None = None,
    proxy: str | None = None,
) -> ClientOptions:
    return {
        "sampled": settings.experts_sampled,
        "api_key": key,
        "silent_seconds": settings.silent_seconds,
        "proxy": proxy,
        "translate": partial(settings.dialect.translate, switch=switch),
        "thinking_off": thinking_off(switch) or remembered_thinking_off(settings.remote),
    }
