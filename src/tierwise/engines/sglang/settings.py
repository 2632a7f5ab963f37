"""How a deployment on SGLang is written in the config file, and the process or the server that it becomes."""

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
from tierwise.engines.scrape import SGLANG
from tierwise.engines.sglang.answer import Shape
from tierwise.engines.sglang.client import SglangClient
from tierwise.engines.sglang.facts import facts
from tierwise.engines.sglang.levers import LEVERS
from tierwise.engines.sglang.misfits import misfits
from tierwise.engines.supervisor import Launch
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
    "thinking_tokens": "ends thinking only by processors with the token ids of Qwen3, GLM-4.5 and DeepSeek-R1 built "
    "in, which other vocabularies use for other words; bound `max_tokens`, set `reasoning_effort`, or use vLLM",
    "priority": "minds priorities only with `scheduling: priority`; set it on the deployment, or leave this out",
}

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # a checkpoint is on this machine, or it is not served
    "TRANSFORMERS_OFFLINE": "1",
    "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",  # else every look at its health makes it generate a token
    "PYTHONSAFEPATH": "1",  # a folder named sglang where we were started is not SGLang
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait starve everything else on the CPU
}

_OURS = frozenset(
    {"--model-path", "--model", "--host", "--port", "--served-model-name", "--config", "--grpc-mode"}
    | {"--smg-grpc-mode", "--api-key", "--skip-tokenizer-init", "--fastapi-root-path"}
)
"""Flags that we set, or that would move the server to where nobody looks for it."""

_OF_A_SERVER = frozenset({"url", "model", "api_key_env"})
_OF_BOTH = frozenset({"slots", "context", "silent_seconds", "reasoning_parser", "tool_parser", "scheduling"})
"""What is true of a server however it came to run: set by us at launch, told to us where somebody else launched it."""


class Sglang(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sglang", tag_field="engine"):
    """SGLang: launched by us in the environment that `python` names, or found at `url`."""

    checkpoint: str | None = None
    """A name under `checkpoints`: the folder or the GGUF file that it loads."""
    python: str | None = None
    """The interpreter of the environment that has SGLang; a path from the config file's folder, or a name on PATH."""
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
    """SGLang's word for how weights are quantized; only for what the checkpoint does not say itself."""
    dtype: str | None = None
    """Of weights and activations."""
    kv_cache_dtype: str | None = None
    """Of cached keys and values."""
    attention_backend: str | None = None
    """SGLang's word for it; its own choice where it is not given."""
    prefill_attention_backend: str | None = None
    """The same for prompts alone."""
    decode_attention_backend: str | None = None
    """The same for answers alone."""
    active_experts: Positive | None = None
    """Routed experts that work on each token, instead of the checkpoint's own number."""
    hf_overrides: dict[str, Any] = {}
    """Merged into the checkpoint's config.json."""
    expert_parallel: bool | None = None
    """Whole experts on each device, over all devices of `tensor_parallel`."""
    eplb: dict[str, Any] | None = None
    """Balance experts over devices as they are used: SGLang's EPLB with these settings, `{}` for its own."""
    tensor_parallel: Positive | None = None
    """Devices that share each layer."""
    pipeline_parallel: Positive | None = None
    """Devices that layers are dealt out to."""
    data_parallel: Positive | None = None
    """Copies that share the requests."""
    speculative: dict[str, Any] = {}
    """Guess tokens ahead: SGLang's flags `--speculative-KEY`."""
    prefix_cache: bool | None = None
    """Keep the beginnings of prompts; SGLang's own default is on where the model allows it."""
    reasoning_parser: str | None = None
    """SGLang's word for how this family marks its thinking."""
    tool_parser: str | None = None
    """SGLang's word for how this family writes tool calls."""
    scheduling: Literal["fcfs", "lpm", "priority"] | None = None
    """Who comes next, and whether `priority` of a request counts."""
    queue: Positive | None = None
    """Requests that wait, after which more are turned away at once."""
    deterministic: bool = False
    """The same answer whatever else is in the batch; slower."""
    trust_remote_code: bool = False
    """Run the Python that comes with the checkpoint."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """Share of each GPU's memory for weights and cache."""
    device: str | None = None
    """SGLang's word for where it runs; what it finds where it is not given."""
    experts_sampled: Share = 0.0
    """The share of passes whose routed experts are recorded."""
    extra_args: list[str] = []
    """Any other arguments of `sglang.launch_server`."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 1800.0
    """How long loading may take."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """Without a byte from it for so long, a pass is given up."""

    @property
    def loads(self) -> str | None:
        return self.checkpoint

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if (self.url is None) == (self.checkpoint is None):
            yield (
                "engine",
                "sglang wants either `checkpoint` and `python`, to be launched, or the `url` of one that runs",
            )
        elif self.url is not None:
            yield from self._problems_of_a_server(self.url)
        else:
            yield from self._problems_of_a_launch(self.checkpoint or "", checkpoints)

    def _problems_of_a_server(self, url: str) -> Iterable[tuple[str, str]]:
        for name in self.__struct_fields__:
            if name not in _OF_A_SERVER | _OF_BOTH and name in self._set:
                yield name, f"is set where SGLang is launched, and the one at {url} runs already; take it out"
        yield from Http(url=url).problems(())

    def _problems_of_a_launch(self, checkpoint: str, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {checkpoint!r}; {allowed(checkpoint, checkpoints)}"
        if self.python is None:
            yield "python", "name the interpreter of the environment that has SGLang, such as .venv-sglang/bin/python"
        for name in sorted(_OF_A_SERVER & self._set):
            yield name, "belongs to a server that runs already; give `url` instead of `checkpoint`, or take it out"
        if self.expert_parallel and (self.tensor_parallel or 1) < 2:
            yield "expert_parallel", "SGLang spreads experts over the devices of `tensor_parallel`; set that above 1"
        if self.eplb is not None and not self.expert_parallel:
            yield "eplb", "balancing needs experts that are spread whole; set `expert_parallel: true`"
        if self.speculative and "algorithm" not in self.speculative:
            yield "speculative", "it wants `algorithm`, such as EAGLE, EAGLE3, NEXTN or NGRAM, beside its other keys"
        by_flag = {lever.sets: lever.name for lever in LEVERS}
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in _OURS:
                yield "extra_args", f"{argument} is set by Tierwise; take it out"
            elif flag in by_flag:
                yield "extra_args", f"{argument} has a setting of its own: `{by_flag[flag]}`"

    @property
    def _set(self) -> frozenset[str]:
        """The settings that are not as they would be without a word."""
        silent = Sglang()
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
        model = site.model or Path(f"<{self.checkpoint}>")
        return shlex.join(self._launch("sglang", self._overridden(site), model, 0, site).command)

    def build(self, name: str, site: Site) -> LaunchedEngine | HttpEngine:
        if self.url is not None:
            return self._found(name, self.url)
        if site.model is None:
            raise SpecError(f"checkpoint {self.checkpoint!r} is not here yet; run `tierwise pull` first")
        model, architecture = site.model, read_architecture(site.model)
        told, shape = self._overridden(site), None
        active = self.active_experts or architecture.active_experts
        if architecture.layers is not None and active is not None:
            shape = Shape(layers=architecture.layers, active=active, experts=architecture.experts)
        return LaunchedEngine(
            name,
            lambda port: self._launch(name, told, model, port, site),
            logs=site.logs,
            client=self._client(name, name, shape=shape, switch=switch_of(architecture)),
            facts=facts,
            table=SGLANG,
        )

    def _found(self, name: str, url: str) -> HttpEngine:
        key = None
        if self.api_key_env is not None and not (key := os.environ.get(self.api_key_env, "").strip()):
            raise SpecError(
                f"the environment variable {self.api_key_env} is empty; it must hold the key of {url}",
                field=f"deployments.{name}.api_key_env",
            )
        client = self._client(name, self.model or "default", api_key=key, proxy=proxy_to(url))
        return HttpEngine(name, Http(url=url), client=client, table=SGLANG)

    @property
    def _dialect(self) -> Dialect:
        return Dialect(
            engine="SGLang",
            priority="higher first" if self.scheduling == "priority" else None,
            advice=_ADVICE,
        )

    def _client(
        self,
        name: str,
        model: str,
        *,
        shape: Shape | None = None,
        switch: ThinkingSwitch | None = None,
        api_key: str | None = None,
        proxy: str | None = None,
    ) -> SglangClient:
        return SglangClient(
            name,
            model,
            sampled=self.experts_sampled,
            shape=shape,
            api_key=api_key,
            silent_seconds=self.silent_seconds,
            proxy=proxy,
            translate=partial(self._dialect.translate, switch=switch),
        )

    def _overridden(self, site: Site) -> Sglang:
        """The same with active experts where SGLang wants them: in `hf_overrides`, under the checkpoint's own key."""
        if self.active_experts is None:
            return self
        key = read_architecture(site.model).active_experts_key if site.model else ""
        overrides = override(self.hf_overrides, key or "num_experts_per_tok", self.active_experts)
        return msgspec.structs.replace(self, hf_overrides=overrides)

    def _launch(self, name: str, told: Sglang, model: Path, port: int, site: Site) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        command = [site.program(self.python or ""), "-m", "sglang.launch_server", "--model-path", str(model)]
        command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port)]
        command += ["--enable-cache-report", "--enable-metrics", "--log-level-http", "warning"]
        command += flags(told, LEVERS, negatives=False)
        command += list(self._mixed_flags())
        return Launch(
            command=(*command, *self.extra_args),
            url=f"http://127.0.0.1:{port}",
            environment=_ENVIRONMENT,
            start_seconds=self.start_seconds,
        )

    def spread(self) -> Iterable[tuple[str, str, Any]]:
        """The keys of mappings, each a flag of its own: setting, flag and value."""
        for key, value in (self.eplb or {}).items():
            name = "ep-num-redundant-experts" if key == "num_redundant_experts" else f"eplb-{key}"
            yield "eplb", f"--{name.replace('_', '-')}", value
        for key, value in self.speculative.items():
            yield "speculative", f"--speculative-{key.replace('_', '-')}", value

    def _mixed_flags(self) -> Iterable[str]:
        """Flags of levers that are no single flag."""
        if self.expert_parallel:
            yield from ("--ep-size", str(self.tensor_parallel))
        if self.eplb is not None:
            yield from ("--enable-eplb", "--expert-balancedness-report-mode", "prometheus")
        for _, flag, value in self.spread():
            yield from (flag,) if value is True else (flag, str(value))
        if self.prefix_cache is False:
            yield "--disable-radix-cache"
        if self.scheduling == "priority":
            yield from ("--enable-priority-scheduling", "--default-priority-value", "0")
        elif self.scheduling is not None:
            yield from ("--schedule-policy", self.scheduling)
        if self.experts_sampled:
            yield "--enable-return-routed-experts"
