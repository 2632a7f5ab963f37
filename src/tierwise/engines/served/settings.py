"""A deployment on a server engine, in the config file.

Such a server is launched in its own Python environment, or is already running at a URL. Each engine adds settings and
checks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec

from tierwise.engines.openai.settings import validate_url
from tierwise.engines.settings import Remote
from tierwise.spec.paths import ProgramPath
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
    "active_experts": "sets active experts at launch; add a second deployment with other `active_experts`",
    "priority": "uses priorities only with `scheduling: priority`; set it on the deployment, or remove this",
}
"""What to do instead of an unsupported request lever (`Dialect.advice`)."""

_OF_A_SERVER = frozenset({"url", "model", "api_key_env"})
_OF_BOTH = frozenset({"slots", "context", "silent_seconds", "reasoning_parser", "tool_parser", "scheduling"})
"""Settings that also apply to a server that is already running, which they then describe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEngine:
    """A server engine: what is the same for all its deployments."""

    title: str
    """Its name as its developers spell it."""
    levers: tuple[Lever, ...]
    negatives: bool
    """Whether False is sent as `--no-flag`."""
    program: tuple[str, ...]
    """Arguments between the interpreter and the checkpoint."""
    always: tuple[str, ...]
    """Flags of every launch."""
    ours: frozenset[str]
    """Flags that Tierwise sets, or that would change the server's address."""
    environment: Mapping[str, str]
    """Environment variables of every launch, besides those for all server engines."""
    inherits: tuple[str, ...]
    """See `EngineRow.inherits`."""
    metrics: MetricNames
    """The metrics in its metrics page and its log."""
    lost: frozenset[int] = frozenset()
    """See `Launch.lost`."""
    of_both: frozenset[str] = frozenset()
    """Its own settings that also apply to a server that is already running."""


class ServerEngineSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server is, what it serves, and the levers that all server engines have."""

    ENGINE: ClassVar[ServerEngine]

    checkpoint: str | None = None
    """A name under `checkpoints`: the folder or GGUF file to load."""
    python: ProgramPath | None = None
    """The Python interpreter of its environment: a path relative to the config file's folder, or a name on PATH."""
    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s]+$")] | None = None
    """Base URL of a server that is already running, including `/v1`; instead of `checkpoint` and `python`."""
    model: str | None = None
    """The name of the model on the server at `url`; default: `default`."""
    api_key_env: str | None = None
    """Environment variable with the API key of the server at `url`."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 256
    """Maximum number of concurrent passes."""
    context: Positive | None = None
    """Context window in tokens, prompt plus answer; default: the checkpoint's."""
    quantization: str | None = None
    """Quantization method of the weights, by the engine's name; not needed if the checkpoint's config specifies it."""
    dtype: str | None = None
    """Data type of weights and activations."""
    kv_cache_dtype: str | None = None
    """Data type of cached keys and values."""
    attention_backend: str | None = None
    """By the engine's name; default: the engine's choice."""
    active_experts: Positive | None = None
    """Routed experts per token, instead of the checkpoint's number."""
    hf_overrides: dict[str, Any] = {}
    """Merged into the checkpoint's config.json."""
    expert_parallel: bool | None = None
    """Expert parallelism: whole experts on each device; on SGLang, on the devices of `tensor_parallel`."""
    eplb: dict[str, Any] | None = None
    """Balance the load of experts over devices with the engine's EPLB and these settings; `{}` for its defaults."""
    tensor_parallel: Positive | None = None
    """Number of devices that share each layer."""
    pipeline_parallel: Positive | None = None
    """Number of pipeline stages."""
    data_parallel: Positive | None = None
    """Number of replicas that share the requests."""
    speculative: dict[str, Any] = {}
    """Speculative decoding: vLLM's speculative config, or SGLang's flags `--speculative-KEY`."""
    environment: dict[str, str | None] = {}
    """Environment variables of its process; null stands for the value that Tierwise has."""
    prefix_cache: bool | None = None
    """Prefix caching; by default, engines enable it if the model allows it."""
    reasoning_parser: str | None = None
    """The engine's parser for the thinking of this family."""
    tool_parser: str | None = None
    """The engine's parser for the tool calls of this family."""
    queue: Positive | None = None
    """Maximum number of waiting requests (vLLM: waiting and running); more are rejected immediately."""
    trust_remote_code: bool = False
    """Run Python code from the checkpoint."""
    experts_sampled: Share = 0.0
    """Share of passes whose routed experts are recorded, 0 to 1; vLLM does not stream these passes."""
    extra_args: list[str] = []
    """Other arguments of the server."""
    start_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 1800.0
    """Maximum time to load, in seconds."""
    silent_seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] = 600.0
    """A pass is aborted after this many seconds without a byte from the server."""

    # ── implemented by each engine ─────────────────────────────

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """Translates request levers to its fields."""

    @abstractmethod
    def _validate_launch(self) -> Iterable[Problem]:
        """Settings that cannot work if Tierwise launches it."""

    def _validate_always(self) -> Iterable[Problem]:
        """Settings that cannot work, whether Tierwise launches it or not."""
        return ()

    # ── the same for all engines ───────────────────────────────

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
                f"{self.tag} needs either `checkpoint` and `python` to launch it, or the `url` of a running server",
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
                    f"is set when {self.ENGINE.title} is launched, but {url} is already running; remove it",
                )
        yield from validate_url(url)

    def _validate_launched(self, checkpoint: str, checkpoints: Collection[str]) -> Iterable[Problem]:
        title = self.ENGINE.title
        if checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {checkpoint!r}; {allowed(checkpoint, checkpoints)}"
        if self.python is None:
            python = f".venv-{self.tag}/bin/python"
            yield "python", f"set it to the interpreter of the environment with {title}, such as {python}"
        for name in sorted(_OF_A_SERVER & self._set):
            yield name, "is only for a server that is already running; set `url` instead of `checkpoint`, or remove it"
        if self.eplb is not None and not self.expert_parallel:
            yield "eplb", "load balancing needs expert parallelism; set `expert_parallel: true`"
        yield from self._validate_launch()
        by_flag = {lever.sets: lever.name for lever in self.ENGINE.levers}
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in self.ENGINE.ours:
                yield "extra_args", f"{argument} is set by Tierwise; remove it"
            elif flag in by_flag:
                yield "extra_args", f"{argument} has a setting of its own: `{by_flag[flag]}`"

    @property
    def _set(self) -> frozenset[str]:
        """The settings that differ from their defaults."""
        default = type(self)()
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) != getattr(default, name))

    def unsupported(self, sampling: Sampling) -> Iterable[Problem]:
        return self.dialect.unsupported(sampling, knows_checkpoint=self.url is None)
