"""A deployment on SGLang in the config file, and its names of request levers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.process.environment import HUGGING_FACE_AND_TORCH
from tierwise.engines.served.settings import ADVICE, ServerEngine, ServerEngineSettings
from tierwise.engines.sglang.levers import LEVERS
from tierwise.engines.sglang.metrics import METRIC_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tierwise.engines.settings import Problem

_ADVICE = {
    **ADVICE,
    "thinking_tokens": "can end thinking only with processors that hard-code the token ids of Qwen3, GLM-4.5 and "
    "DeepSeek-R1, which differ in other vocabularies; limit `max_tokens`, set `reasoning_effort`, or use vLLM",
}

INHERITS = (*HUGGING_FACE_AND_TORCH, "SGLANG_*", "SGL_*", "FLASHINFER_*", "MC_*")
"""Variables that SGLang reads."""

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
        "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",  # otherwise every health check generates a token
    },
    inherits=INHERITS,
    metrics=METRIC_NAMES,
)


class Sglang(
    ServerEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sglang", tag_field="engine"
):
    """SGLang: launched by Tierwise with the interpreter `python`, or already running at `url`."""

    ENGINE: ClassVar[ServerEngine] = _ENGINE

    prefill_attention_backend: str | None = None
    """As `attention_backend`, for prefill only."""
    decode_attention_backend: str | None = None
    """As `attention_backend`, for decoding only."""
    scheduling: Literal["fcfs", "lpm", "priority"] | None = None
    """Scheduling policy; `priority` uses the priority of requests."""
    deterministic: bool = False
    """Make answers independent of the rest of the batch; slower."""
    gpu_memory: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    """Fraction of each GPU's memory for weights and cache."""
    device: str | None = None
    """Device, by SGLang's name; default: the device that it finds."""

    def _validate_launch(self) -> Iterable[Problem]:
        if self.expert_parallel and (self.tensor_parallel or 1) < 2:
            yield "expert_parallel", "SGLang distributes experts over the devices of `tensor_parallel`; set it above 1"
        if self.speculative and "algorithm" not in self.speculative:
            yield "speculative", "the key `algorithm` is missing; set it to EAGLE, EAGLE3, NEXTN or NGRAM, for example"

    @property
    def dialect(self) -> Dialect:
        return Dialect(
            engine="SGLang",
            priority="higher first" if self.scheduling == "priority" else None,
            advice=_ADVICE,
        )

    def spread(self) -> Iterable[tuple[str, str, Any]]:
        """The keys of mappings, each of which is a separate flag: setting, flag and value."""
        for key, value in (self.eplb or {}).items():
            name = "ep-num-redundant-experts" if key == "num_redundant_experts" else f"eplb-{key}"
            yield "eplb", f"--{name.replace('_', '-')}", value
        for key, value in self.speculative.items():
            yield "speculative", f"--speculative-{key.replace('_', '-')}", value
