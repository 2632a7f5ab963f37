"""llama.cpp: a GGUF file served by a process of ours, or by a `llama-server` binary that the user names."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from tierwise.engines import llama_cpp_facts
from tierwise.engines.dialect import Dialect, ThinkingSwitch
from tierwise.engines.http import ChatClient
from tierwise.engines.launched import LaunchedEngine
from tierwise.engines.llama_cpp_checkpoint import misfits_of_checkpoint, place, thinking_switch
from tierwise.engines.llama_cpp_experts import active_experts_key, rewriting
from tierwise.engines.llama_cpp_levers import LEVERS
from tierwise.engines.llama_cpp_worker import LlamaCppSettings, Rewrite, Speculation
from tierwise.engines.scrape import LLAMA_CPP
from tierwise.engines.supervisor import Launch
from tierwise.engines.wire import LLAMA_CPP_COUNTS
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.spec.json import Fields
    from tierwise.spec.sampling import Sampling

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_AT_LAUNCH = "sets experts at launch; make a second deployment with another number of active experts"

_DIALECT = Dialect(
    engine="llama.cpp",
    thinking_tokens="thinking_budget_tokens",
    advice={"active_experts": _AT_LAUNCH, "priority": "serves in the order of arrival; leave it out"},
)

_EMBEDDED_SPECULATION = ("ngram-simple", "ngram-map-k", "ngram-mod", "draft-simple")
_WITH_DRAFT_MODEL = ("draft-simple", "draft-eagle3", "draft-dflash")
_GUESSING_FLAGS = {
    "ngram-simple": ("--spec-ngram-simple-size-m", "--spec-ngram-simple-size-n"),
    "ngram-map-k": ("--spec-ngram-map-k-size-m", "--spec-ngram-map-k-size-n"),
    "ngram-mod": ("--spec-ngram-mod-n-max", "--spec-ngram-mod-n-match"),
}
"""How many tokens to guess, and how many to match."""

_ATTENTION = {None: "flash where llama.cpp sees fit", True: "flash", False: "not flash"}


class LlamaCpp(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="llama.cpp", tag_field="engine"
):
    """A GGUF checkpoint on llama.cpp, embedded (`pip install tierwise[llama]`) unless `binary` names a server."""

    checkpoint: str
    """A name under `checkpoints`."""
    context: Annotated[int, msgspec.Meta(ge=128)] = 4096
    """Tokens of prompt and answer that one pass may hold. Memory grows with context × slots."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 4
    """Passes that run side by side."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Processor threads; all cores but one where it is not given."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """Layers to put on the GPU; all that a GPU build can where it is not given."""
    cache_type_k: CacheType = "f16"
    """Precision of the cached keys."""
    cache_type_v: CacheType = "f16"
    """Precision of the cached values; a quantized one needs flash attention."""
    flash_attention: bool | None = None
    """On, off, or as llama.cpp sees fit."""
    prompt_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 1024
    """Main memory for prompts that no slot holds any more; 0 forgets them."""
    active_experts: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Experts that work on each token, where it is not the checkpoint's own number. The embedded llama.cpp serves a
    copy of the file with that number changed; it is made once, in the cache."""
    speculative: Speculation | None = None
    """Guessed tokens: `{kind: ngram-simple}`, or `{kind: draft-simple, model: small.gguf}`."""
    loras: dict[str, float] = {}
    """Adapters: path of a GGUF file → scale."""
    mmproj: str | None = None
    """Path of the projector, for a model that sees or hears."""
    chat_template: str | None = None
    """Path of a Jinja file that replaces the checkpoint's own template."""
    binary: str | None = None
    """An external `llama-server`; its name on PATH or its path. Paths start from the config file's folder."""
    cpu_expert_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """With a GPU build as `binary`: so many layers keep their experts in the main memory."""
    moe_cache_mib: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """With a GPU build as `binary`: memory of the GPU for experts that lie in the main memory and were used lately."""

    @property
    def loads(self) -> str:
        return self.checkpoint

    def problems(self, checkpoints: Collection[str]) -> Iterable[tuple[str, str]]:
        if self.checkpoint not in checkpoints:
            yield "checkpoint", f"there is no checkpoint {self.checkpoint!r}; {allowed(self.checkpoint, checkpoints)}"
        if self.cache_type_v not in ("f32", "f16", "bf16") and self.flash_attention is False:
            yield (
                "cache_type_v",
                f"{self.cache_type_v} needs flash attention, which is off; leave `flash_attention` out, or use f16",
            )
        if self.binary is None:
            for name in ("gpu_layers", "cpu_expert_layers", "moe_cache_mib"):
                if value := getattr(self, name):
                    yield name, f"{value}: the embedded llama.cpp is a CPU build; name a GPU build as `binary`"
        if self.speculative is not None:
            yield from self._problems_of(self.speculative)

    def _problems_of(self, speculative: Speculation) -> Iterable[tuple[str, str]]:
        kind = speculative.kind
        if self.binary is None and kind not in _EMBEDDED_SPECULATION:
            known = ", ".join(_EMBEDDED_SPECULATION)
            yield "speculative", f"the embedded llama.cpp runs {known}; name a llama-server as `binary` for {kind}"
        if kind in _WITH_DRAFT_MODEL and speculative.model is None:
            yield "speculative", f"{kind} guesses with a model of its own; name its GGUF file as `model`"
        if kind not in _WITH_DRAFT_MODEL and speculative.model is not None:
            yield "speculative", f"{kind} needs no model; leave `model` out, or take draft-simple"
        if not kind.startswith("ngram") and speculative.match is not None:
            yield "speculative", f"`match` belongs to the kinds ngram-…; leave it out of {kind}"

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        if sampling.thinking_tokens == 0:
            # Seen with b11549: the forced end of a block of no tokens comes out garbled.
            yield "thinking_tokens", "0 is not to think at all; set `thinking: false` instead"
        yield from _DIALECT.refuses(sampling)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        if self.binary is not None and shutil.which(site.program(self.binary)) is None:
            yield (
                "binary",
                f"there is no program {self.binary!r} here; install llama.cpp, give its path, or leave `binary` out",
            )
        if self.binary is None and importlib.util.find_spec("xllamacpp") is None:
            yield "engine", "llama.cpp is not installed in this environment; pip install 'tierwise[llama]'"
        yield from misfits_of_checkpoint(self, site)

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return LEVERS

    def command(self, site: Site) -> str:
        return shlex.join(self._launch("llama.cpp", site.model or Path(f"<{self.checkpoint}>"), 0, site).command)

    async def facts(self, site: Site) -> Mapping[str, str]:
        """What it is here, without being started: see `engines.engine.Health.facts`."""
        told = await (
            llama_cpp_facts.embedded() if self.binary is None else llama_cpp_facts.external(site.program(self.binary))
        )
        layers = "all that the build can" if self.gpu_layers is None else str(self.gpu_layers)
        return {
            **told,
            "attention": _ATTENTION[self.flash_attention],
            "cache": f"keys {self.cache_type_k}, values {self.cache_type_v}",
            "threads": str(self._threads),
            "gpu_layers": "none" if self.binary is None else layers,
        }

    def build(self, name: str, site: Site) -> LaunchedEngine:
        if site.model is None:
            raise SpecError(f"checkpoint {self.checkpoint!r} is not here yet; run `tierwise pull` first")
        model = site.model
        return LaunchedEngine(
            name,
            lambda port: self._launch(name, model, port, site),
            logs=site.logs,
            client=ChatClient(
                name,
                name,
                extras=LLAMA_CPP_COUNTS,
                translate=_translating(thinking_switch(model, place(site, self.chat_template))),
            ),
            facts=lambda _: self.facts(site),
            table=LLAMA_CPP,
        )

    @property
    def _threads(self) -> int:
        return self.threads or max(1, len(os.sched_getaffinity(0)) - 1)

    def _launch(self, name: str, model: Path, port: int, site: Site) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        if self.binary is None:
            settings = self._worker_settings(name, model, port, site)
            # By path and not with -m: the worker needs nothing of ours, and starts half a second sooner without it.
            worker = str(Path(__file__).with_name("llama_cpp_worker.py"))
            command: tuple[str, ...] = (sys.executable, "-P", worker, msgspec.json.encode(settings).decode())
        else:
            command = (site.program(self.binary), *self._flags(name, model, port, site))
        # Threads that spin while they wait starve everything else on a machine that is not theirs alone.
        return Launch(
            command=command,
            environment={"OMP_WAIT_POLICY": "passive", "PYTHONWARNINGS": ""},
            url=f"http://127.0.0.1:{port}",
        )

    def _worker_settings(self, name: str, model: Path, port: int, site: Site) -> LlamaCppSettings:
        return LlamaCppSettings(
            model=str(model),
            port=port,
            alias=name,
            context=self.context,
            slots=self.slots,
            threads=self._threads,
            cache_type_k=self.cache_type_k,
            cache_type_v=self.cache_type_v,
            flash_attention=self.flash_attention,
            prompt_cache_mib=self.prompt_cache_mib,
            mmproj=place(site, self.mmproj),
            chat_template=place(site, self.chat_template),
            loras={place(site, path): scale for path, scale in self.loras.items()},
            speculative=self._speculation(site),
            rewrite=self._rewrite(model),
        )

    def _speculation(self, site: Site) -> Speculation | None:
        wanted = self.speculative
        return wanted and msgspec.structs.replace(wanted, model=place(site, wanted.model))

    def _rewrite(self, model: Path) -> Rewrite | None:
        return rewriting(model, self.active_experts) if self.active_experts and model.is_file() else None

    def _flags(self, name: str, model: Path, port: int, site: Site) -> list[str]:
        flags = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--alias", name]
        flags += ["--ctx-size", str(self.context * self.slots), "--parallel", str(self.slots)]
        flags += ["--threads", str(self._threads), "--metrics", "--fit", "off", "--no-webui"]
        flags += ["--cache-type-k", self.cache_type_k, "--cache-type-v", self.cache_type_v]
        flags += ["--cache-ram", str(self.prompt_cache_mib)]
        if self.flash_attention is not None:
            flags += ["--flash-attn", "on" if self.flash_attention else "off"]
        flags += _flag("--n-gpu-layers", self.gpu_layers)
        flags += _flag("--n-cpu-moe", self.cpu_expert_layers)
        if self.moe_cache_mib is not None:
            # The level at which it says what the cache did; see `llama_cpp_experts.expert_cache_use`.
            flags += ["--moe-cache-mib", str(self.moe_cache_mib), "--log-verbosity", "4"]
        if self.active_experts is not None:
            key = active_experts_key(model) if model.is_file() else "<architecture>.expert_used_count"
            flags += ["--override-kv", f"{key}=int:{self.active_experts}"]
        flags += _flag("--mmproj", place(site, self.mmproj)) + _flag(
            "--chat-template-file", place(site, self.chat_template)
        )
        for path, scale in self.loras.items():
            flags += ["--lora-scaled", f"{place(site, path)}:{scale:g}"]
        if (guessing := self._speculation(site)) is not None:
            flags += ["--spec-type", guessing.kind, *_flag("--spec-draft-model", guessing.model)]
            tokens, match = _GUESSING_FLAGS.get(guessing.kind, ("--spec-draft-n-max", ""))
            flags += _flag(tokens, guessing.tokens) + _flag(match, guessing.match)
        return flags


def _flag(name: str, value: object) -> list[str]:
    return [] if value is None else [name, str(value)]


def _translating(switch: ThinkingSwitch | None) -> Callable[[Fields], Fields]:
    return lambda fields: _DIALECT.translate(fields, switch)
