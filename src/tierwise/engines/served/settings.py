"""A server of somebody else's that we launch in its own interpreter, or find at a URL: what vLLM and SGLang have in
common. What is an engine's own (its flags, its words, how it tells routed experts) stays in its folder.
"""

from __future__ import annotations

import os
import shlex
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import msgspec

from tierwise.catalog.architecture import read as read_architecture
from tierwise.engines.lever import flags
from tierwise.engines.openai.client import Http, HttpEngine, proxy_to
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.process.supervisor import Launch
from tierwise.engines.prompting import switch_of
from tierwise.engines.served.levers import ServedLevers
from tierwise.engines.served.overrides import override
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable
    from typing import Self

    from tierwise.catalog.architecture import Architecture
    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.engines.metrics import Table
    from tierwise.engines.openai.client import ChatClient
    from tierwise.engines.openai.dialect import Dialect, ThinkingSwitch
    from tierwise.engines.served.client import Wiring
    from tierwise.spec.sampling import Sampling

ADVICE = {
    "active_experts": "sets experts at launch; make a second deployment with `active_experts` of its own",
    "priority": "minds priorities only with `scheduling: priority`; set it on the deployment, or leave this out",
}
"""What to do instead of a request lever that it cannot be told (`Dialect.advice`)."""

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",  # a checkpoint is on this machine, or it is not served
    "TRANSFORMERS_OFFLINE": "1",
    "PYTHONSAFEPATH": "1",  # a folder named vllm or sglang where we were started is neither
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait starve everything else on the CPU
}

_OF_A_SERVER = frozenset({"url", "model", "api_key_env"})
_OF_BOTH = frozenset({"slots", "context", "silent_seconds", "reasoning_parser", "tool_parser", "scheduling"})
"""What is true of a server however it came to run: set by us at launch, told to us where somebody else launched it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is the same for every deployment on one of these engines."""

    title: str
    """Its name as its own people write it."""
    levers: tuple[Lever, ...]
    negatives: bool
    """Whether a switch that is off is said, as `--no-flag`."""
    program: tuple[str, ...]
    """What stands between the interpreter and the checkpoint."""
    always: tuple[str, ...]
    """Flags of every launch."""
    ours: frozenset[str]
    """Flags that we set, or that would move the server to where nobody looks for it."""
    environment: Mapping[str, str]
    """Variables of every launch, beside those that all of them get."""
    table: Table
    """What its metrics page and its log call things."""
    lost: frozenset[int] = frozenset()
    """As `Launch.lost`."""
    of_both: frozenset[str] = frozenset()
    """Settings of its own that are true however it came to run."""


class Served(ServedLevers, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A deployment on such a server; each engine adds its own settings, and answers what only it knows."""

    KIND: ClassVar[Kind]

    # ── what each engine answers for itself ─────────────────────────────

    @property
    @abstractmethod
    def _dialect(self) -> Dialect:
        """Its words for request levers."""

    @property
    @abstractmethod
    def _own_flags(self) -> Iterable[str]:
        """Flags of levers that are no single flag."""

    @property
    def _environment(self) -> dict[str, str]:
        """What is set by a variable and not by a flag."""
        return {}

    def _own_problems(self) -> Iterable[tuple[str, str]]:
        """What cannot work, however it comes to run."""
        return ()

    @abstractmethod
    def _problems_at_launch(self) -> Iterable[tuple[str, str]]:
        """What cannot work where we launch it."""

    @abstractmethod
    def _misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        """As `misfits`, where we launch it."""

    @abstractmethod
    def _client(self, name: str, model: str, wiring: Wiring, architecture: Architecture | None = None) -> ChatClient:
        """Speaks to it; the architecture is that of the checkpoint, where it is known."""

    @abstractmethod
    def _facts(self, log: Path) -> Callable[[str], Awaitable[Mapping[str, str]]]:
        """Asks the server at a URL what it is."""

    # ── what they have in common ────────────────────────────────────────

    @property
    def loads(self) -> str | None:
        return self.checkpoint

    @property
    def _tag(self) -> str:
        """The engine's name in the config file."""
        return str(self.__struct_config__.tag)

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if (self.url is None) == (self.checkpoint is None):
            yield (
                "engine",
                f"{self._tag} wants either `checkpoint` and `python`, to be launched, or the `url` of one that runs",
            )
        elif self.url is not None:
            yield from self._problems_of_a_server(self.url)
        else:
            yield from self._problems_of_a_launch(self.checkpoint or "", checkpoints)
        yield from self._own_problems()

    def _problems_of_a_server(self, url: str) -> Iterable[tuple[str, str]]:
        known = _OF_A_SERVER | _OF_BOTH | self.KIND.of_both
        for name in self.__struct_fields__:
            if name not in known and name in self._set:
                yield (
                    name,
                    f"is set where {self.KIND.title} is launched, and the one at {url} runs already; take it out",
                )
        yield from Http(url=url).problems(())

    def _problems_of_a_launch(self, checkpoint: str, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        title = self.KIND.title
        if checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {checkpoint!r}; {allowed(checkpoint, checkpoints)}"
        if self.python is None:
            python = f".venv-{self._tag}/bin/python"
            yield "python", f"name the interpreter of the environment that has {title}, such as {python}"
        for name in sorted(_OF_A_SERVER & self._set):
            yield name, "belongs to a server that runs already; give `url` instead of `checkpoint`, or take it out"
        if self.eplb is not None and not self.expert_parallel:
            yield "eplb", "balancing needs experts that are spread whole; set `expert_parallel: true`"
        yield from self._problems_at_launch()
        by_flag = {lever.sets: lever.name for lever in self.KIND.levers}
        for argument in self.extra_args:
            flag = argument.partition("=")[0].replace("_", "-")
            if flag in self.KIND.ours:
                yield "extra_args", f"{argument} is set by Tierwise; take it out"
            elif flag in by_flag:
                yield "extra_args", f"{argument} has a setting of its own: `{by_flag[flag]}`"

    @property
    def _set(self) -> frozenset[str]:
        """The settings that are not as they would be without a word."""
        silent = type(self)()
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) != getattr(silent, name))

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        return self._dialect.refuses(sampling, knows_checkpoint=self.url is None)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        return () if self.url is not None else self._misfits(site)

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return cls.KIND.levers

    def command(self, site: Site) -> str:
        if self.url is not None:
            return f"(runs already) {self.url}"
        launch = self._launch(self._tag, self._overridden(site), site.model or Path(f"<{self.checkpoint}>"), 0, site)
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
            client=self._client(name, name, self._wiring(switch=switch_of(architecture)), architecture),
            facts=self._facts(site.logs / f"{name}.log"),
            table=self.KIND.table,
        )

    def _found(self, name: str, url: str) -> HttpEngine:
        key = None
        if self.api_key_env is not None and not (key := os.environ.get(self.api_key_env, "").strip()):
            raise SpecError(
                f"the environment variable {self.api_key_env} is empty; it must hold the key of {url}",
                field=f"deployments.{name}.api_key_env",
            )
        client = self._client(name, self.model or "default", self._wiring(api_key=key, proxy=proxy_to(url)))
        return HttpEngine(name, Http(url=url), client=client, table=self.KIND.table)

    def _wiring(
        self, *, switch: ThinkingSwitch | None = None, api_key: str | None = None, proxy: str | None = None
    ) -> Wiring:
        return {
            "sampled": self.experts_sampled,
            "api_key": api_key,
            "silent_seconds": self.silent_seconds,
            "proxy": proxy,
            "translate": partial(self._dialect.translate, switch=switch),
        }

    def _overridden(self, site: Site) -> Self:
        """The same with active experts where they are wanted: in `hf_overrides`, under the checkpoint's own key."""
        if self.active_experts is None:
            return self
        key = read_architecture(site.model).active_experts_key if site.model else ""
        overrides = override(self.hf_overrides, key or "num_experts_per_tok", self.active_experts)
        return msgspec.structs.replace(self, hf_overrides=overrides)

    def _launch(self, name: str, told: Self, model: Path, port: int, site: Site) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        kind = self.KIND
        command = [site.program(self.python or ""), *kind.program, str(model)]
        command += ["--served-model-name", name, "--host", "127.0.0.1", "--port", str(port), *kind.always]
        command += flags(told, kind.levers, negatives=kind.negatives)
        return Launch(
            command=(*command, *self._own_flags, *self.extra_args),
            url=f"http://127.0.0.1:{port}",
            environment={**_ENVIRONMENT, **kind.environment, **self._environment},
            lost=kind.lost,
            start_seconds=self.start_seconds,
        )
