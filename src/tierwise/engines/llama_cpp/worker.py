"""The process that runs llama.cpp: `python -m tierwise.engines.llama_cpp.worker SETTINGS`, with the settings as JSON.

A process of its own, so that a crash in C++ costs one deployment and not the gateway, and a restart frees all memory.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import resource
import shutil
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

SpeculationKind = Literal[
    "ngram-simple", "ngram-map-k", "ngram-mod", "draft-simple", "draft-mtp", "draft-eagle3", "draft-dflash"
]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

_BLOCK = 4 << 20


class Speculation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Tokens that are guessed, and then checked by the model many at a time: the same answers, sooner or later."""

    kind: SpeculationKind
    """`ngram-…` looks for what came before in the same text; `draft-…` asks a small model."""
    model: str | None = None
    """Path of the small model, for the kinds that have one."""
    tokens: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """The most to guess at a time; llama.cpp's own number where it is not given."""
    match: Annotated[int, msgspec.Meta(ge=1, le=1024)] | None = None
    """How many tokens must agree with earlier ones before what followed those is guessed (`ngram-…`)."""


class Rewrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A copy of the model with one number changed, for what xllamacpp cannot override."""

    folder: str
    """Where the copy lies, under the model's own name."""
    offset: int
    """Of the number in the file, in bytes."""
    format: str
    """Of the number, as `struct` writes it."""
    value: int
    beside: list[str] = []
    """Further files of a split model; they are linked."""


class LlamaCppSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What one llama.cpp process is started with."""

    model: str
    """Path of a GGUF file."""
    port: int
    host: str = "127.0.0.1"
    alias: str | None = None
    """The model name in its answers."""
    context: Annotated[int, msgspec.Meta(ge=1, le=2**22)] = 4096
    """Tokens *per slot*; the key-value cache holds `context` times `slots`."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Passes that run side by side."""
    threads: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """All cores but one where it is not given."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=0)] | None = None
    """All that the build and the GPU can take where it is not given."""
    cache_type_k: CacheType = "f16"
    cache_type_v: CacheType = "f16"
    """A quantized one needs flash attention."""
    flash_attention: bool | None = None
    """As llama.cpp sees fit where it is not given."""
    prompt_cache_mib: Annotated[int, msgspec.Meta(ge=0)] = 1024
    """Memory for prompts that no slot holds any more (llama.cpp's own default is 8192)."""
    mmproj: str | None = None
    """Path of the projector of a model that sees or hears."""
    chat_template: str | None = None
    """Path of a Jinja file that replaces the model's own."""
    loras: dict[str, float] = {}
    """Adapters, path → scale."""
    speculative: Speculation | None = None
    """One of the kinds that this llama.cpp runs without a GPU: `ngram-…`, `draft-simple`."""
    rewrite: Rewrite | None = None
    """Serve a copy of the model with one number changed; it is made where it is not there yet."""


_LOG_SECONDS = 0.3
"""llama.cpp logs in a thread of its own, which this leaves time to write its last lines before ours."""


def command(settings: LlamaCppSettings) -> tuple[str, ...]:
    """What starts this worker. By path, since `-m` would import all of our package into the process first."""
    return sys.executable, "-P", __file__, msgspec.json.encode(settings).decode()


def main() -> None:
    """Serve until a signal ends us. On failure our last line says what failed, llama.cpp's own lines before it why."""
    # SIGTERM keeps its default action, so that it ends us even while C++ holds the interpreter; so shall SIGINT.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Spinning OpenMP threads starve everything else on a busy machine (measured: 3 tokens/s instead of 55).
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    began = time.monotonic()
    try:
        settings = msgspec.json.decode(sys.argv[1], type=LlamaCppSettings)
    except msgspec.ValidationError as error:
        sys.exit(f"error: {error}")
    server = _serve(settings)
    seconds = time.monotonic() - began
    sys.stderr.write(f"llama.cpp serves {settings.model} at {server.listening_address} after {seconds:.2f} s\n")
    while True:
        signal.pause()


def _serve(settings: LlamaCppSettings) -> Any:
    draft = settings.speculative.model if settings.speculative else None
    for path in filter(None, (settings.model, settings.mmproj, settings.chat_template, draft, *settings.loras)):
        _require_file(Path(path))
    if settings.rewrite:
        settings = msgspec.structs.replace(settings, model=str(_rewritten(Path(settings.model), settings.rewrite)))
    try:
        import xllamacpp  # noqa: PLC0415 - after the environment is set, and in no process but this
    except ImportError as error:
        sys.exit(f"error: {error}; install it with: pip install 'tierwise[llama]'")
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_most_data_bytes(hard), hard))
    try:
        return xllamacpp.Server(_parameters(settings, xllamacpp))
    except RuntimeError:  # which says nothing but that it failed
        time.sleep(_LOG_SECONDS)
        sys.exit(f"error: llama.cpp does not serve {settings.model}")
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _rewritten(model: Path, rewrite: Rewrite) -> Path:
    """The copy with the changed number; a file under that name is always whole."""
    copy = Path(rewrite.folder) / model.name
    if not copy.exists():
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with copy.with_name("lock").open("a") as lock:  # two deployments may want the same copy at once
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not copy.exists():
                    _make_copy(model, copy, rewrite)
        except OSError as error:
            sys.exit(
                f"error: no copy of {model.name} with {rewrite.value} active experts in {copy.parent}:"
                f" {error.strerror}; set TIERWISE_CACHE to a folder with room, or name a llama-server as `binary`,"
                " which needs no copy"
            )
    return copy


def _make_copy(model: Path, copy: Path, rewrite: Rewrite) -> None:
    size = model.stat().st_size
    sys.stderr.write(f"copying {model} ({size / 1e9:.1f} GB) to {copy} with {rewrite.value} active experts\n")
    if size > shutil.disk_usage(copy.parent).free:
        raise OSError(errno.ENOSPC, f"{size / 1e9:.1f} GB do not fit")
    unfinished = copy.with_name("unfinished")
    sha256 = _copy_changed(model, unfinished, rewrite)
    for name in rewrite.beside:
        link = copy.with_name(name)
        link.unlink(missing_ok=True)
        link.symlink_to(model.with_name(name).absolute())
    note = {"source": str(model.absolute()), "offset": rewrite.offset, "value": rewrite.value, "sha256": sha256}
    copy.with_name("rewritten.json").write_bytes(msgspec.json.encode(note))
    unfinished.rename(copy)


def _copy_changed(model: Path, target: Path, rewrite: Rewrite) -> str:
    """Copy with the number changed as it passes by; returns the copy's SHA-256."""
    changed = struct.pack(rewrite.format, rewrite.value)
    digest = hashlib.sha256()
    with model.open("rb") as source, target.open("wb") as file:

        def put(block: bytes) -> None:
            file.write(block)
            digest.update(block)

        put(source.read(rewrite.offset))  # of the head: some megabytes at most
        source.seek(len(changed), os.SEEK_CUR)
        put(changed)
        while block := source.read(_BLOCK):
            put(block)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _require_file(path: Path) -> None:
    if path.is_dir():
        sys.exit(f"error: {path} is a directory; a file is needed")
    try:
        path.open("rb").close()
    except OSError as error:
        sys.exit(f"error: cannot read {path}: {error.strerror}")


def _parameters(settings: LlamaCppSettings, xllamacpp: Any) -> Any:
    """llama.cpp's own form of the settings. `xllamacpp` is the module: it has no types to name."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings.model
    parameters.hostnames, parameters.port = [settings.host], settings.port
    parameters.model_alias = {settings.alias} if settings.alias else set()
    parameters.n_ctx, parameters.n_parallel = settings.context * settings.slots, settings.slots
    parameters.fit_params = False  # it may silently shrink the context
    parameters.cpuparams.n_threads = settings.threads or max(1, len(os.sched_getaffinity(0)) - 1)
    parameters.n_gpu_layers = -1 if settings.gpu_layers is None else settings.gpu_layers
    parameters.cache_type_k = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.cache_type_k.upper()}")
    parameters.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{settings.cache_type_v.upper()}")
    flash = {None: "AUTO", True: "ENABLED", False: "DISABLED"}[settings.flash_attention]
    parameters.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, f"LLAMA_FLASH_ATTN_TYPE_{flash}")
    parameters.cache_ram_mib = settings.prompt_cache_mib
    parameters.mmproj.path = settings.mmproj or ""
    if settings.chat_template:
        parameters.chat_template = Path(settings.chat_template).read_text(encoding="utf-8")
    parameters.lora_adapters = [_adapter(path, scale, xllamacpp) for path, scale in settings.loras.items()]
    if settings.speculative:
        _speculate(parameters.speculative, settings.speculative, xllamacpp)
    parameters.endpoint_metrics, parameters.ui = True, False
    parameters.cors_origins = f"http://{settings.host}"  # by default, any web page may talk to it
    # Every waiting request occupies a thread: with few of them, 20 requests at 2 slots kept /health silent for 6 s.
    parameters.n_threads_http = settings.slots + 64
    parameters.verbosity = 2  # errors and warnings; the next level writes a dozen lines for every request
    return parameters


def _speculate(parameters: Any, wanted: Speculation, xllamacpp: Any) -> None:
    kind = wanted.kind.replace("-", "_")
    parameters.types = [getattr(xllamacpp.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{kind.upper()}")]
    if wanted.model:
        parameters.draft.mparams.path = wanted.model
    guessing = parameters.draft if kind.startswith("draft") else getattr(parameters, kind)
    tokens, match = {"ngram_simple": ("size_m", "size_n"), "ngram_map_k": ("size_m", "size_n")}.get(
        kind, ("n_max", "n_match")
    )
    if wanted.tokens is not None:
        setattr(guessing, tokens, wanted.tokens)
        if kind == "ngram_mod":  # whose least is 48 by default, which may be more
            guessing.n_min = min(guessing.n_min, wanted.tokens)
    if wanted.match is not None:
        setattr(guessing, match, wanted.match)


def _adapter(path: str, scale: float, xllamacpp: Any) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, scale
    return adapter


def _most_data_bytes(hard: int) -> int:
    """What we may allocate while loading: no more than there is.

    Then a cache that cannot fit fails with llama.cpp's own words. Without it, the kernel grants everything and kills
    a process of its choice when the memory is touched.
    """
    memory = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = 1024 * sum(int(memory[name].split()[0]) for name in ("MemAvailable", "SwapFree"))
    control_group = Path("/sys/fs/cgroup/memory.max")
    if control_group.exists() and (limit := control_group.read_text(encoding="ascii").strip()) != "max":
        free = min(free, int(limit))
    return free if hard == resource.RLIM_INFINITY else min(free, hard)


if __name__ == "__main__":
    main()
