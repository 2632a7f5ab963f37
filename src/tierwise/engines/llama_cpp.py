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

from tierwise.engines.dialect import Dialect
from tierwise.engines.http import ChatClient
from tierwise.engines.launched import LaunchedEngine
from tierwise.engines.llama_cpp_worker import LlamaCppSettings
from tierwise.engines.supervisor import Launch
from tierwise.spec.errors import SpecError
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from tierwise.engines.engine import Site
    from tierwise.engines.lever import Lever
    from tierwise.spec.sampling import Sampling

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

# Makes llama.cpp send its own count with every chunk, and with every batch of the prompt, so that an aborted pass is
# counted as far as it came.
_COUNTING = {"timings_per_token": True, "return_progress": True}

_AT_LAUNCH = "sets experts at launch; make a second deployment with another number of active experts"

_DIALECT = Dialect(
    engine="llama.cpp",
    thinking_tokens="thinking_budget_tokens",
    advice={"active_experts": _AT_LAUNCH, "priority": "serves in the order of arrival; leave it out"},
)

LEVERS: tuple[Lever, ...] = ()


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
    binary: str | None = None
    """An external `llama-server`; its name on PATH or its path."""

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
        if self.gpu_layers and self.binary is None:
            yield (
                "gpu_layers",
                f"{self.gpu_layers}: the embedded llama.cpp is a CPU build; name a GPU build as `binary`",
            )

    def refuses(self, sampling: Sampling) -> Iterable[tuple[str, str]]:
        return _DIALECT.refuses(sampling)

    def misfits(self, site: Site) -> Iterable[tuple[str, str]]:
        if self.binary is not None and shutil.which(self._program(site)) is None:
            yield (
                "binary",
                f"there is no program {self.binary!r} here; install llama.cpp, give its path, or leave `binary` out",
            )
        if self.binary is None and importlib.util.find_spec("xllamacpp") is None:
            yield "engine", "llama.cpp is not installed in this environment; pip install 'tierwise[llama]'"

    @classmethod
    def levers(cls) -> tuple[Lever, ...]:
        return LEVERS

    def command(self, site: Site) -> str:
        return shlex.join(self._launch("llama.cpp", site.model or Path(f"<{self.checkpoint}>"), 0, site).command)

    def build(self, name: str, site: Site) -> LaunchedEngine:
        if site.model is None:
            raise SpecError(f"checkpoint {self.checkpoint!r} is not here yet; run `tierwise pull` first")
        model = site.model
        return LaunchedEngine(
            name,
            lambda port: self._launch(name, model, port, site),
            logs=site.logs,
            client=ChatClient(name, name, extras=_COUNTING, translate=_DIALECT.translate),
        )

    def _program(self, site: Site) -> str:
        """The external server: a path starts from the config file's folder, a mere name is looked up on PATH."""
        program = self.binary or ""
        return str(site.base / Path(program).expanduser()) if os.sep in program else program

    def _launch(self, name: str, model: Path, port: int, site: Site) -> Launch:
        """What starts this deployment on a port (0: one that is free at the time)."""
        url = f"http://127.0.0.1:{port}"
        threads = self.threads or max(1, len(os.sched_getaffinity(0)) - 1)
        if self.binary is None:
            settings = LlamaCppSettings(
                model=str(model),
                port=port,
                alias=name,
                context=self.context,
                slots=self.slots,
                threads=threads,
                cache_type_k=self.cache_type_k,
                cache_type_v=self.cache_type_v,
                flash_attention=self.flash_attention,
            )
            # By path and not with -m: the worker needs nothing of ours, and starts half a second sooner without it.
            worker = str(Path(__file__).with_name("llama_cpp_worker.py"))
            command: tuple[str, ...] = (sys.executable, "-P", worker, msgspec.json.encode(settings).decode())
        else:
            command = (self._program(site), *self._flags(name, model, port, threads))
        # Threads that spin while they wait starve everything else on a machine that is not theirs alone.
        return Launch(command=command, environment={"OMP_WAIT_POLICY": "passive"}, url=url)

    def _flags(self, name: str, model: Path, port: int, threads: int) -> list[str]:
        flags = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--alias", name]
        flags += ["--ctx-size", str(self.context * self.slots), "--parallel", str(self.slots)]
        flags += ["--threads", str(threads), "--metrics", "--fit", "off", "--no-webui"]
        flags += ["--cache-type-k", self.cache_type_k, "--cache-type-v", self.cache_type_v]
        if self.flash_attention is not None:
            flags += ["--flash-attn", "on" if self.flash_attention else "off"]
        if self.gpu_layers is not None:
            flags += ["--n-gpu-layers", str(self.gpu_layers)]
        return flags
