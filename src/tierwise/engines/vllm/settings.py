"""How a deployment on vLLM is written in the config file, and the process or the server that it becomes."""

from __future__ import annotations

import os
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.dialect import Dialect
from tierwise.engines.http import Http, HttpEngine, proxy_to
from tierwise.engines.launched import LaunchedEngine
from tierwise.engines.lever import flags
from tierwise.engines.overrides import override
from tierwise.engines.prompting import switch_of
from tierwise.engines.scrape import VLLM
from tierwise.engines.supervisor import Launch
from tierwise.engines.vllm.client import VllmClient
from tierwise.engines.vllm.levers import LEVERS
from tierwise.engines.vllm.misfits import misfits
from tierwise.engines.vllm.words import facts
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.dialect import ThinkingSwitch
    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.spec.sampling import Sampling

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

_ADVICE = {
    "active_experts": "sets experts at launch; make a second deployment with `active_experts` of its own",
    "thinking_tokens": "needs `reasoning_parser` to know where thinking ends; set it on the deployment",
    "priority": "minds priorities only with `scheduling: priority`; set it on the deployment, or leave this out",
}

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # a checkpoint is on this machine, or it is not served
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_USE_RUST_FRONTEND": "0",  # it answers fewer fields
    "VLLM_HOST_IP": "127.0.0.1",  # its processes speak to each other there, and not on the machine's address
    "PYTHONSAFEPATH": "1",  # a folder named vllm where we were started is not vLLM
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait starve everything else on the CPU
}

_OURS = frozenset({"--model", "--host", "--port", "--uds", "--served-model-name", "--config", "--headless", "--grpc"})
"""Flags that we set, or that would move the server to where nobody looks for it."""

_OF_A_SERVER = frozenset({"url", "model", "api_key_env"})
_OF_BOTH = frozenset(
    {"slots", "context", "silent_seconds", "reasoning_parser", "tool_parser", "scheduling", "experts_sampled"}
)
"""What is true of a server however it came to run: set by us at launch, told to us where somebody else launched it."""


class Vllm(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vllm", tag_field="engine"):
    """vLLM: launched by us in the environment that `python` names, or found at `url`."""

    checkpoint: str | None = None
    """A name under `checkpoints`: the folder that it loads."""
    python: str | None = None
    """The interpreter of the environment that has vLLM; a path from the config file's folder, or a name on PATH."""
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")] | None = None
    """Where one answers that runs already, with its `/v1`; instead of `checkpoint` and `python`."""
    model: str | None = None
    """What the server at `url` calls the model; `default` where it is not given."""
    api_key_env: str | None = None
    """The environment variable that holds the key of the server at `url`."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """Passes that run side by side."""
    context: Positive | None = None
    """Tokens of prompt and answer that one pass may hold; the checkpoint's own where it is not given."""
    quantization: str | None = None
    """vLLM's word for how weights are quantized; only for what the checkpoint does not say itself."""
    quantization_config: dict[str, Any] = {}
    """What online quantization does to which layers."""
    dtype: str | None = None
    """Of weights and activations."""
    kv_cache_dtype: str | None = None
    """Of cached keys and values."""
    attention_backend: str | None = None
    """vLLM's word for it; its own choice where it is not given."""
    active_experts: Positive | None = None
    """Routed experts that work on each token, instead of the checkpoint's own number."""
    hf_overrides: dict[str, Any] = {}
    """Merged into the checkpoint's config.json."""
    expert_parallel: bool | None = None
    """Whole experts on each device."""
    eplb: dict[str, Any] | None = None
    """Balance experts over devices as they are used: vLLM's EPLB with these settings, `{}` for its own."""
    tensor_parallel: Positive | None = None
    """Devices that share each layer."""
    pipeline_parallel: Positive | None = None
    """Devices that layers are dealt out to."""
    data_parallel: Positive | None = None
    """Copies that share the requests."""
    speculative: dict[str, Any] = {}
    """Guess tokens ahead: vLLM's speculative config."""
    prefix_cache: bool | None = None
    """Keep the beginnings of prompts; vLLM's own default is on where the model allows it."""
    reasoning_parser: str | None = None
    """vLLM's word for how this family marks its thinking."""
    tool_parser: str | None = None
    """vLLM's word for how this family writes tool calls."""
    scheduling: Literal["fcfs", "priority"] | None = None
    """Whether `priority` of a request counts."""
    queue: Positive | None = None
    """Requests in work or waiting, after which more are turned away at once."""
    batch_invariant: bool = False
    """The same answer whatever else is in the batch; slower, and beta."""
    trust_remote_code: bool = False
    """Run the Python that comes with the checkpoint."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Share of each GPU's memory to use."""
    enforce_eager: bool | None = None
    """Compile and capture nothing: a quick start and a slow run."""
    cpu_kv_cache_gib: Positive | None = None
    """Of the cache, on vLLM's CPU build."""
    experts_sampled: Share = 0.0
    """The share of passes whose routed experts are recorded. These are not streamed inside."""
    extra_args: list[str] = []
    """Any other arguments of `vllm serve`."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 1800.0
    """How long loading may take."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """Without a byte from it for so long, a pass is given up."""

    @property
    def loads(self) -> str | None:
        return self.checkpoint

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if (self.url is None) == (self.checkpoint is None):
            yield "engine", "vllm wants either `checkpoint` and `python`, to be launched, or the `url` of one that runs"
        elif self.url is not None:
            yield from self._problems_of_a_server(self.url)
        else:
            yield from self._problems_of_a_launch(self.checkpoint or "", checkpoints)
        if self.experts_sampled and self.prefix_cache is False:
            yield (
                "experts_sampled",
                "vLLM tells routed experts only with prefix caching; take `prefix_cache: false` out",
            )
        if self.experts_sampled and (self.pipeline_parallel or 1) > 1:
            yield "experts_sampled", "vLLM tells no routed experts with pipeline parallel; use `tensor_parallel`"

    def _problems_of_a_server(self, url: str) -> Iterable[tuple[str, str]]:
        for name in self.__struct_fields__:
            if name not in _OF_A_SERVER | _OF_BOTH and name in self._set:
                yield name, f"is set where vLLM is launched, and the one at {url} runs already; take it out"
        yield from Http(url=url).problems(())

    def _problems_of_a_launch(self, checkpoint: str, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {checkpoint!r}; {allowed(checkpoint, checkpoints)}"
        if self.python is None:
            yield "python", "name the interpreter of the environment that has vLLM, such as .venv-vllm/bin/python"
        for name in sorted(_OF_A_SERVER & self._set):
            yield name, "belongs to a server that runs already; give `url` instead of `checkpoint`, or take it out"
        if self.eplb is not None and not self.expert_parallel:
            yield "eplb", "balancing needs experts that are spread whole; set `expert_parallel: true`"
        if self.eplb is not None and max(self.tensor_parallel or 1, self.data_parallel or 1) < 2:
            yield "eplb", "there is nothing to balance on one device; set `tensor_parallel` or `data_parallel` above 1"
        if self.quantization_config and self.quantization is None:
            yield "quantization_config", "it describes online quantization; set `quantization: online` with it"
        by_flag = {lever.sets: lever.name for lever in LEVERS}
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in _OURS or argument == "-q":
                yield "extra_args", f"{argument} is set by Tierwise; take it out"
            elif flag in by_flag:
                yield "extra_args", f"{argument} has a setting of its own: `{by_flag[flag]}`"

    @property
    def _set(self) -> frozenset[str]:
        """The settings that are not as they would be without a word."""
        silent = Vllm()
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) != getattr(silent, name))

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        return self._dialect.refuses(sampling, knows_checkpoint=self.url is None)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        return () if self.url is not None else misfits(self, site.program(self.python or ""), site)

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return LEVERS

    def command(self, site: Site) -> str:
        if self.url is not None:
            return f"(runs already) {self.url}"
        launch = self._launch("vllm", self._overridden(site), site.model or Path(f"<{self.checkpoint}>"), 0, site)
        return shlex.join((*(f"{name}={value}" for name, value in self._environment.items()), *launch.command))

    def build(self, name: str, site: Site) -> LaunchedEngine | HttpEngine:
        if self.url is not None:
            return self._found(name, self.url)
        if site.model is None:
            raise SpecError(f"checkpoint {self.checkpoint!r} is not here yet; run `tierwise pull` first")
        model, architecture = site.model, read_architecture(site.model)
        told = self._overridden(site)
        return LaunchedEngine(
            name,
            lambda port: self._launch(name, told, model, port, site),
            logs=site.logs,
            client=self._client(name, name, experts=architecture.experts, switch=switch_of(architecture)),
            facts=partial(facts, site.logs / f"{name}.log"),
            table=VLLM,
        )

    def _found(self, name: str, url: str) -> HttpEngine:
        key = None
        if self.api_key_env is not None and not (key := os.environ.get(self.api_key_env, "").strip()):
            raise SpecError(
                f"the environment variable {self.api_key_env} is empty; it must hold the key of {url}",
                field=f"deployments.{name}.api_key_env",
            )
        proxy = proxy_to(url)
        client = self._client(name, self.model or "default", api_key=key, proxy=proxy)
        return HttpEngine(name, Http(url=url), client=client, table=VLLM)

    @property
    def _dialect(self) -> Dialect:
        return Dialect(
            engine="vLLM",
            priority="lower first" if self.scheduling == "priority" else None,
            thinking_tokens="thinking_token_budget" if self.reasoning_parser else None,
            advice=_ADVICE,
        )

    def _client(
        self,
        name: str,
        model: str,
        *,
        experts: int | None = None,
        switch: ThinkingSwitch | None = None,
        api_key: str | None = None,
        proxy: str | None = None,
    ) -> VllmClient:
        return VllmClient(
            name,
            model,
            sampled=self.experts_sampled,
            experts=experts,
            api_key=api_key,
            silent_seconds=self.silent_seconds,
            proxy=proxy,
            translate=partial(self._dialect.translate, switch=switch),
        )

    def _overridden(self, site: Site) -> Vllm:
        """The same with active experts where vLLM wants them: in `hf_overrides`, under the checkpoint's own key."""
        if self.active_experts is None:
            return self
        key = read_architecture(site.model).active_experts_key if site.model else ""
        overrides = override(self.hf_overrides, key or "num_experts_per_tok", self.active_experts)
        return msgspec.structs.replace(self, hf_overrides=overrides)

    @property
    def _environment(self) -> dict[str, str]:
        """What is set by a variable and not by a flag."""
        found = {}
        if self.batch_invariant:
            found["VLLM_BATCH_INVARIANT"] = "1"
        if self.cpu_kv_cache_gib is not None:
            found["VLLM_CPU_KVCACHE_SPACE"] = str(self.cpu_kv_cache_gib)
        return found

    def _launch(self, name: str, told: Vllm, model: Path, port: int, site: Site) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        command = [site.program(self.python or ""), "-m", "vllm.entrypoints.cli.main", "serve", str(model)]
        command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--enable-prompt-tokens-details", "--no-enable-log-requests", "--disable-uvicorn-access-log"]
        command += flags(told, LEVERS)
        if self.eplb is not None:
            command.append("--enable-eplb")
        if self.tool_parser is not None:
            command.append("--enable-auto-tool-choice")
        if self.experts_sampled:
            command.append("--enable-return-routed-experts")
        return Launch(
            command=(*command, *self.extra_args),
            url=f"http://127.0.0.1:{port}",
            environment={**_ENVIRONMENT, **self._environment},
            lost=frozenset({503}),  # EngineDeadError (entrypoints/serve/instrumentator/health.py)
            start_seconds=self.start_seconds,
        )
