"""How a deployment on SGLang is written in the config file, and what its request levers are called there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.served.settings import ADVICE, ServerEngine, ServerEngineSettings
from tierwise.engines.sglang.levers import LEVERS
from tierwise.engines.sglang.metrics import METRIC_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.engines.settings import Problem

_ADVICE = {
    **ADVICE,
    "thinking_tokens": "ends thinking only by processors with the token ids of Qwen3, GLM-4.5 and DeepSeek-R1 built "
    "in, which other vocabularies use for other words; bound `max_tokens`, set `reasoning_effort`, or use vLLM",
}

_ENGINE = ServerEngine(
    title="SGLang",
    levers=LEVERS,
    negatives=False,
    program=("-m", "sglang.launch_server", "--model-path"),
    always=("--enable-cache-report", "--enable-metrics", "--log-level-http", "warning"),
    ours=frozenset(
        {"--model-path", "--model", "--host", "--port", "--served-model-name", "--config", "--grpc-mode"}
        | {"--smg-grpc-mode", "--api-key", "--skip-tokenizer-init", "--fastapi-root-path"}
    ),
    environment={
        "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",  # else every health check makes it generate a token
    },
    metrics=METRIC_NAMES,
)


class Sglang(
    ServerEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sglang", tag_field="engine"
):
    """SGLang: launched by us in the environment that `python` names, or found at `url`."""

    ENGINE: ClassVar[ServerEngine] = _ENGINE

    prefill_attention_backend: str | None = None
    """As `attention_backend`, for prompts alone."""
    decode_attention_backend: str | None = None
    """As `attention_backend`, for answers alone."""
    scheduling: Literal["fcfs", "lpm", "priority"] | None = None
    """Who comes next, and whether `priority` of a request counts."""
    deterministic: bool = False
    """The same answer whatever else is in the batch; slower."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """Share of each GPU's memory for weights and cache."""
    device: str | None = None
    """SGLang's word for where it runs; what it finds where it is not given."""

    def _validate_launch(self) -> Iterable[Problem]:
        if self.expert_parallel and (self.tensor_parallel or 1) < 2:
            yield "expert_parallel", "SGLang spreads experts over the devices of `tensor_parallel`; set that above 1"
        if self.speculative and "algorithm" not in self.speculative:
            yield "speculative", "it wants `algorithm`, such as EAGLE, EAGLE3, NEXTN or NGRAM, beside its other keys"

    @property
    def dialect(self) -> Dialect:
        return Dialect(
            engine="SGLang",
            priority="higher first" if self.scheduling == "priority" else None,
            advice=_ADVICE,
        )

    def spread(self) -> Iterable[tuple[str, str, Any]]:
        """The keys of mappings, each a flag of its own: setting, flag and value."""
        for key, value in (self.eplb or {}).items():
            name = "ep-num-redundant-experts" if key == "num_redundant_experts" else f"eplb-{key}"
            yield "eplb", f"--{name.replace('_', '-')}", value
        for key, value in self.speculative.items():
            yield "speculative", f"--speculative-{key.replace('_', '-')}", value
