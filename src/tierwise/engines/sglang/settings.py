"""How a deployment on SGLang is written in the config file: its own settings, and what it is launched with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from tierwise.engines.metrics import SGLANG
from tierwise.engines.openai.dialect import Dialect
from tierwise.engines.served.settings import ADVICE, Kind, Served
from tierwise.engines.sglang.answer import Shape
from tierwise.engines.sglang.client import SglangClient
from tierwise.engines.sglang.facts import facts
from tierwise.engines.sglang.levers import LEVERS
from tierwise.engines.sglang.preflight import misfits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.served.client import Wiring

_ADVICE = {
    **ADVICE,
    "thinking_tokens": "ends thinking only by processors with the token ids of Qwen3, GLM-4.5 and DeepSeek-R1 built "
    "in, which other vocabularies use for other words; bound `max_tokens`, set `reasoning_effort`, or use vLLM",
}

_KIND = Kind(
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
        "SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION": "0",  # else every look at its health makes it generate a token
    },
    table=SGLANG,
)


class Sglang(Served, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sglang", tag_field="engine"):
    """SGLang: launched by us in the environment that `python` names, or found at `url`."""

    KIND: ClassVar[Kind] = _KIND

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

    def _problems_at_launch(self) -> Iterable[tuple[str, str]]:
        if self.expert_parallel and (self.tensor_parallel or 1) < 2:
            yield "expert_parallel", "SGLang spreads experts over the devices of `tensor_parallel`; set that above 1"
        if self.speculative and "algorithm" not in self.speculative:
            yield "speculative", "it wants `algorithm`, such as EAGLE, EAGLE3, NEXTN or NGRAM, beside its other keys"

    def _misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        return misfits(self, site)

    @property
    def _dialect(self) -> Dialect:
        return Dialect(
            engine="SGLang",
            priority="higher first" if self.scheduling == "priority" else None,
            advice=_ADVICE,
        )

    def _client(self, name: str, model: str, wiring: Wiring, architecture: Architecture | None = None) -> SglangClient:
        return SglangClient(name, model, shape=self._shape(architecture), **wiring)

    def _shape(self, architecture: Architecture | None) -> Shape | None:
        """Of the checkpoint's routing, where its config tells it."""
        if architecture is None:
            return None
        active = self.active_experts or architecture.active_experts
        if architecture.layers is None or active is None:
            return None
        return Shape(layers=architecture.layers, active=active, experts=architecture.experts)

    def _facts(self, _log: Path) -> Callable[[str], Awaitable[Mapping[str, str]]]:
        return facts

    def spread(self) -> Iterable[tuple[str, str, Any]]:
        """The keys of mappings, each a flag of its own: setting, flag and value."""
        for key, value in (self.eplb or {}).items():
            name = "ep-num-redundant-experts" if key == "num_redundant_experts" else f"eplb-{key}"
            yield "eplb", f"--{name.replace('_', '-')}", value
        for key, value in self.speculative.items():
            yield "speculative", f"--speculative-{key.replace('_', '-')}", value

    @property
    def _own_flags(self) -> Iterable[str]:
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
