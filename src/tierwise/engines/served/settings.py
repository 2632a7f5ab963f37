"""How a deployment on a server engine is written in the config file.

Such a server is launched in an interpreter of its own, or found at a URL. Each engine adds its own settings and checks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from tierwise.engines.openai.settings import validate_url
from tierwise.engines.settings import Remote
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.lever import Lever
    from tierwise.engines.metrics import MetricNames
    from tierwise.engines.openai.dialect import Dialect
    from tierwise.engines.settings import Problem
    from tierwise.spec.sampling import Sampling

Positive = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

ADVICE = {
    "active_experts": "sets experts at launch; make a second deployment with `active_experts` of its own",
    "priority": "heeds priorities only with `scheduling: priority`; set it on the deployment, or leave this out",
}
"""What to do instead of a request lever that it has no field for (`Dialect.advice`)."""

_OF_A_SERVER = frozenset({"url", "model", "api_key_env"})
_OF_BOTH = frozenset({"slots", "context", "silent_seconds", "reasoning_parser", "tool_parser", "scheduling"})
"""What holds for a server however it was started: we set it at launch, or it describes one that runs already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEngine:
    """What is the same for every deployment on one of these engines."""

    title: str
    """Its name as its makers write it."""
    levers: tuple[Lever, ...]
    negatives: bool
    """Whether a switch that is off is sent, as `--no-flag`."""
    program: tuple[str, ...]
    """What stands between the interpreter and the checkpoint."""
    always: tuple[str, ...]
    """Flags of every launch."""
    ours: frozenset[str]
    """Flags that we set, or that would move the server to where nothing looks for it."""
    environment: Mapping[str, str]
    """Variables of every launch, besides those that all server engines get."""
    metrics: MetricNames
    """The names on its metrics page and in its log."""
    lost: frozenset[int] = frozenset()
    """As `Launch.lost`."""
    of_both: frozenset[str] = frozenset()
    """Settings of its own that hold however it was started."""


class ServerEngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where it is, what it serves, and the levers that each of them has under a flag of its own."""

    ENGINE: ClassVar[ServerEngine]

    checkpoint: str | None = None
    """A name under `checkpoints`: the folder that it loads, or the GGUF file."""
    python: str | None = None
    """The interpreter of the environment that has it; a path from the config file's folder, or a name on PATH."""
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")] | None = None
    """Of a server that runs already, with its `/v1`; instead of `checkpoint` and `python`."""
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
    """Whole experts on each device; on SGLang, on the devices of `tensor_parallel`."""
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
    """A pass is given up after that long without a byte from it."""

    # ── what each engine answers for itself ─────────────────────────────

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """Its fields for request levers."""

    @abstractmethod
    def _validate_launch(self) -> Iterable[Problem]:
        """What cannot work where we launch it."""

    def _validate_always(self) -> Iterable[Problem]:
        """What cannot work, however it was started."""
        return ()

    # ── what they have in common ────────────────────────────────────────

    @property
    def loads(self) -> str | None:
        return self.checkpoint

    @property
    def remote(self) -> Remote | None:
        return None if self.url is None else Remote(self.url, self.model or "default")

    @property
    def tag(self) -> str:
        """The engine's name in the config file."""
        return str(self.__struct_config__.tag)

    def validate(self, checkpoints: Collection[str]) -> Iterable[Problem]:
        if (self.url is None) == (self.checkpoint is None):
            yield (
                "engine",
                f"{self.tag} wants either `checkpoint` and `python`, to be launched, or the `url` of one that runs",
            )
        elif self.url is not None:
            yield from self._validate_remote(self.url)
        else:
            yield from self._validate_launched(self.checkpoint or "", checkpoints)
        yield from self._validate_always()

    def _validate_remote(self, url: str) -> Iterable[Problem]:
        known = _OF_A_SERVER | _OF_BOTH | self.ENGINE.of_both
        for name in self.__struct_fields__:
            if name not in known and name in self._set:
                yield (
                    name,
                    f"is set where {self.ENGINE.title} is launched, and the one at {url} runs already; take it out",
                )
        yield from validate_url(url)

    def _validate_launched(self, checkpoint: str, checkpoints: Collection[str]) -> Iterable[Problem]:
        title = self.ENGINE.title
        if checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {checkpoint!r}; {allowed(checkpoint, checkpoints)}"
        if self.python is None:
            python = f".venv-{self.tag}/bin/python"
            yield "python", f"name the interpreter of the environment that has {title}, such as {python}"
        for name in sorted(_OF_A_SERVER & self._set):
            yield name, "belongs to a server that runs already; give `url` instead of `checkpoint`, or take it out"
        if self.eplb is not None and not self.expert_parallel:
            yield "eplb", "balancing needs experts that are spread whole; set `expert_parallel: true`"
        yield from self._validate_launch()
        by_flag = {lever.sets: lever.name for lever in self.ENGINE.levers}
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in self.ENGINE.ours:
                yield "extra_args", f"{argument} is set by Tierwise; take it out"
            elif flag in by_flag:
                yield "extra_args", f"{argument} has a setting of its own: `{by_flag[flag]}`"

    @property
    def _set(self) -> frozenset[str]:
        """The settings that differ from their defaults."""
        default = type(self)()
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) != getattr(default, name))

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return self.dialect.unsupported(sampling, knows_checkpoint=self.url is None)
