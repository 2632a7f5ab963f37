"""What can be set on every server that `tierwise.engines.served` launches or finds."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class ServedLevers(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is, what it serves, and the levers that each of them has under a flag of its own."""

    checkpoint: str | None = None
    """A name under `checkpoints`: the folder that it loads, or the GGUF file."""
    python: str | None = None
    """The interpreter of the environment that has it; a path from the config file's folder, or a name on PATH."""
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
    """The engine's word for how weights are quantized; only for what the checkpoint does not say itself."""
    dtype: str | None = None
    """Of weights and activations."""
    kv_cache_dtype: str | None = None
    """Of cached keys and values."""
    attention_backend: str | None = None
    """The engine's word for it; its own choice where it is not given."""
    active_experts: Positive | None = None
    """Routed experts that work on each token, instead of the checkpoint's own number."""
    hf_overrides: dict[str, Any] = {}
    """Merged into the checkpoint's config.json."""
    expert_parallel: bool | None = None
    """Whole experts on each device; SGLang's are those of `tensor_parallel`."""
    eplb: dict[str, Any] | None = None
    """Balance experts over devices as they are used: the engine's EPLB with these settings, `{}` for its own."""
    tensor_parallel: Positive | None = None
    """Devices that share each layer."""
    pipeline_parallel: Positive | None = None
    """Devices that layers are dealt out to."""
    data_parallel: Positive | None = None
    """Copies that share the requests."""
    speculative: dict[str, Any] = {}
    """Guess tokens ahead: vLLM's speculative config, or SGLang's flags `--speculative-KEY`."""
    prefix_cache: bool | None = None
    """Keep the beginnings of prompts; the engine's own default is on where the model allows it."""
    reasoning_parser: str | None = None
    """The engine's word for how this family marks its thinking."""
    tool_parser: str | None = None
    """The engine's word for how this family writes tool calls."""
    queue: Positive | None = None
    """Requests after which more are turned away at once: of those that wait, on vLLM with those in work."""
    trust_remote_code: bool = False
    """Run the Python that comes with the checkpoint."""
    experts_sampled: Share = 0.0
    """The share of passes whose routed experts are recorded; vLLM does not stream these inside."""
    extra_args: list[str] = []
    """Any other arguments of the server."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 1800.0
    """How long loading may take."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """Without a byte from it for so long, a pass is given up."""
