"""How a deployment on vLLM is written in the config file: its own settings, and what it is launched with."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from tierwise.engines.metrics import VLLM
from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.served.levers import Positive
from tierwise.engines.served.settings import ADVICE, Kind, Served
from tierwise.engines.vllm.client import VllmClient
from tierwise.engines.vllm.facts import facts
from tierwise.engines.vllm.levers import LEVERS
from tierwise.engines.vllm.preflight import misfits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.served.client import Wiring

_ADVICE = {
    **ADVICE,
    "thinking_tokens": "needs `reasoning_parser` to know where thinking ends; set it on the deployment",
}

_KIND = Kind(
    title="vLLM",
    levers=LEVERS,
    negatives=True,
    program=("-m", "vllm.entrypoints.cli.main", "serve"),
    always=("--enable-prompt-tokens-details", "--no-enable-log-requests", "--disable-uvicorn-access-log"),
    ours=frozenset(
        {"--model", "--host", "--port", "--uds", "--served-model-name", "--config", "--headless", "--grpc", "-q"}
    ),
    environment={
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_USE_RUST_FRONTEND": "0",  # it answers fewer fields
        "VLLM_HOST_IP": "127.0.0.1",  # its processes speak to each other there, and not on the machine's address
    },
    table=VLLM,
    lost=frozenset({503}),  # EngineDeadError (entrypoints/serve/instrumentator/health.py)
    of_both=frozenset({"experts_sampled"}),
)


class Vllm(Served, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vllm", tag_field="engine"):
    """vLLM: launched by us in the environment that `python` names, or found at `url`."""

    KIND: ClassVar[Kind] = _KIND

    quantization_config: dict[str, Any] = msgspec.field(default_factory=dict)
    """What online quantization does to which layers."""
    scheduling: Literal["fcfs", "priority"] | None = None
    """Whether `priority` of a request counts."""
    batch_invariant: bool = False
    """The same answer whatever else is in the batch; slower, and beta."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Share of each GPU's memory to use."""
    enforce_eager: bool | None = None
    """Compile and capture nothing: a quick start and a slow run."""
    cpu_kv_cache_gib: Positive | None = None
    """Of the cache, on vLLM's CPU build."""

    def _own_problems(self) -> Iterable[tuple[str, str]]:
        if self.experts_sampled and self.prefix_cache is False:
            yield (
                "experts_sampled",
                "vLLM tells routed experts only with prefix caching; take `prefix_cache: false` out",
            )
        if self.experts_sampled and (self.pipeline_parallel or 1) > 1:
            yield "experts_sampled", "vLLM tells no routed experts with pipeline parallel; use `tensor_parallel`"

    def _problems_at_launch(self) -> Iterable[tuple[str, str]]:
        if self.eplb is not None and max(self.tensor_parallel or 1, self.data_parallel or 1) < 2:
            yield "eplb", "there is nothing to balance on one device; set `tensor_parallel` or `data_parallel` above 1"
        if self.quantization_config and self.quantization is None:
            yield "quantization_config", "it describes online quantization; set `quantization: online` with it"

    def _misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        return misfits(self, site)

    @property
    def _dialect(self) -> Dialect:
        return Dialect(
            engine="vLLM",
            priority="lower first" if self.scheduling == "priority" else None,
            thinking_tokens="thinking_token_budget" if self.reasoning_parser else None,
            advice=_ADVICE,
        )

    def _client(self, name: str, model: str, wiring: Wiring, architecture: Architecture | None = None) -> VllmClient:
        return VllmClient(name, model, experts=architecture.experts if architecture else None, **wiring)

    def _facts(self, log: Path) -> Callable[[str], Awaitable[Mapping[str, str]]]:
        return partial(facts, log)

    @property
    def _environment(self) -> dict[str, str]:
        found = {}
        if self.batch_invariant:
            found["VLLM_BATCH_INVARIANT"] = "1"
        if self.cpu_kv_cache_gib is not None:
            found["VLLM_CPU_KVCACHE_SPACE"] = str(self.cpu_kv_cache_gib)
        return found

    @property
    def _own_flags(self) -> Iterable[str]:
        if self.eplb is not None:
            yield "--enable-eplb"
        if self.tool_parser is not None:
            yield "--enable-auto-tool-choice"
        if self.experts_sampled:
            yield "--enable-return-routed-experts"
