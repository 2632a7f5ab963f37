"""A deployment on vLLM in the config file, and its names of request levers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.process.environment import HUGGING_FACE_AND_TORCH
from tierwise.engines.served.settings import ADVICE, Positive, ServerEngine, ServerEngineSettings
from tierwise.engines.vllm.levers import LEVERS
from tierwise.engines.vllm.metrics import METRIC_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.engines.settings import Problem

_ADVICE = {
    **ADVICE,
    "thinking_tokens": "needs `reasoning_parser` to know where thinking ends; set it on the deployment",
}

_OF_GENERATION = ("experts_sampled", "reasoning_parser", "speculative", "tool_parser")
"""Settings that a reward model has no use for."""

INHERITS = (*HUGGING_FACE_AND_TORCH, "VLLM_*", "RAY_*", "FLASHINFER_*", "LMCACHE_*")
"""Variables that vLLM reads."""

_ENGINE = ServerEngine(
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
        "VLLM_USE_RUST_FRONTEND": "0",  # it returns fewer fields
        "VLLM_HOST_IP": "127.0.0.1",  # its processes communicate over loopback instead of the machine's address
    },
    inherits=INHERITS,
    metrics=METRIC_NAMES,
    lost=frozenset({503}),  # EngineDeadError (entrypoints/serve/instrumentator/health.py)
    of_both=frozenset({"experts_sampled", "rewards"}),
)


class Vllm(ServerEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="vllm", tag_field="engine"):
    """vLLM: launched by Tierwise with the interpreter `python`, or already running at `url`."""

    ENGINE: ClassVar[ServerEngine] = _ENGINE

    quantization_config: dict[str, Any] = msgspec.field(default_factory=dict)
    """Options of online quantization per kind of layer."""
    scheduling: Literal["fcfs", "priority"] | None = None
    """Scheduling policy; `priority` uses the priority of requests."""
    batch_invariant: bool = False
    """Make answers independent of the rest of the batch; slower, beta."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Fraction of each GPU's memory to use."""
    block_size: Positive | None = None
    """Tokens per block of the prefix cache: of a shared prompt, each pass computes what is left after its last whole
    block."""
    enforce_eager: bool | None = None
    """Disable compilation and CUDA graphs: faster start, slower inference."""
    cpu_kv_cache_gib: Positive | None = None
    """Size of the KV cache in GiB, on vLLM's CPU build."""
    rewards: bool = False
    """It serves a reward model, a sequence classifier that grades answers for the scorer `reward` of `best_of_n`."""

    def _validate_always(self) -> Iterable[Problem]:
        if self.experts_sampled and self.prefix_cache is False:
            yield (
                "experts_sampled",
                "vLLM reports routed experts only with prefix caching; remove `prefix_cache: false`",
            )
        if self.experts_sampled and (self.pipeline_parallel or 1) > 1:
            yield "experts_sampled", "vLLM reports no routed experts with pipeline parallelism; use `tensor_parallel`"
        for name in _OF_GENERATION if self.rewards else ():
            if name in self._set:
                yield (
                    name,
                    "is for a model that writes answers, and with `rewards: true` this one grades them; remove it",
                )

    def _validate_launch(self) -> Iterable[Problem]:
        if self.eplb is not None and max(self.tensor_parallel or 1, self.data_parallel or 1) < 2:
            yield "eplb", "there is nothing to balance on one device; set `tensor_parallel` or `data_parallel` above 1"
        if self.quantization_config and self.quantization is None:
            yield "quantization_config", "it configures online quantization; set `quantization: online` too"

    @property
    def dialect(self) -> Dialect:
        return Dialect(
            engine="vLLM",
            priority="lower first" if self.scheduling == "priority" else None,
            thinking_tokens="thinking_token_budget" if self.reasoning_parser else None,
            advice=_ADVICE,
        )
