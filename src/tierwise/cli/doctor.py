"""`tierwise doctor`: what this machine has, what is missing, and how to get it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    state: Literal["ok", "missing", "broken"]
    """missing: works without it, something is not to be had · broken: the main job does not work."""
    seen: str
    cure: str = ""
    """What to do, where something is to be done."""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False) -> None:
    """Look at this machine: Python, processor, engines, sandbox, cache; say what is missing and how to get it.

    Exit code 0 when the main job can run, 1 when it cannot.
    """
    import json
    from dataclasses import asdict

    findings = list(_examined())
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)


def _examined() -> Iterator[Finding]:
    yield _python()
    yield _processor()
    yield _memory()
    yield from _engines()
    yield from _extras()
    yield _sandbox()
    yield _cache()


def _python() -> Finding:
    import platform
    import sys

    seen = f"{platform.python_implementation()} {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.platform != "linux":
        return Finding(what="Python", state="broken", seen=seen, cure="run on Linux: engines and sandbox need it")
    return Finding(what="Python", state="ok", seen=seen)


def _processor() -> Finding:
    import os
    import re
    from pathlib import Path

    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.+)", text)
    flags = set(text.split())
    wanted = ("avx2", "avx512f", "avx512_bf16", "amx_tile", "asimd")
    features = ", ".join(name for name in wanted if name in flags) or "no vector extensions that we look for"
    usable = len(os.sched_getaffinity(0))
    seen = f"{model[1] if model else 'unknown model'}, {usable} cores to use, {features}"
    cure = "" if usable > 1 else "one core runs the engine and everything else: expect slow answers"
    return Finding(what="processor", state="ok", seen=seen, cure=cure)


def _memory() -> Finding:
    from pathlib import Path

    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    sizes = {name: int(rest.split()[0]) / 2**20 for name, _, rest in (line.partition(":") for line in lines)}
    free = sizes["MemAvailable"]
    cure = "" if free > 1 else "the quickstart's model wants about 1 GiB"
    return Finding(what="memory", state="ok", seen=f"{free:.1f} of {sizes['MemTotal']:.1f} GiB available", cure=cure)


def _engines() -> Iterator[Finding]:
    import shutil

    embedded = _version("xllamacpp")
    seen = f"xllamacpp {embedded}" if embedded else "not installed"
    cure = "" if embedded else "pip install 'tierwise[llama]', or name a server under `binary` or with engine http"
    yield Finding(what="llama.cpp, embedded", state="ok" if embedded else "missing", seen=seen, cure=cure)
    server = shutil.which("llama-server")
    cure = "" if server else "only wanted where a deployment names a `binary`, for example a GPU build"
    yield Finding(what="llama-server", state="ok" if server else "missing", seen=server or "not on PATH", cure=cure)
    yield Finding(what="http", state="ok", seen="any OpenAI-compatible server: vLLM, SGLang, TGI, Ollama, hosted ones")


def _extras() -> Iterator[Finding]:
    for extra, package, purpose in (
        ("bench", "scipy", "tierwise bench and its report"),
        ("hf", "huggingface_hub", "checkpoints from hf:"),
    ):
        version = _version(package)
        state: Literal["ok", "missing"] = "ok" if version else "missing"
        cure = "" if version else f"for {purpose}: pip install 'tierwise[{extra}]'"
        yield Finding(what=f"extra {extra}", state=state, seen=f"{package} {version or 'not installed'}", cure=cure)


def _sandbox() -> Finding:
    from tierwise.verifiers.sandbox import backend

    found = backend()
    if found.name == "none":
        cure = "Python tests are refused until then; install bubblewrap"
        return Finding(what="sandbox", state="missing", seen=found.reason, cure=cure)
    return Finding(what="sandbox", state="ok", seen=found.name)


def _cache() -> Finding:
    import shutil
    import tempfile

    from tierwise.catalog import cache_folder

    folder = cache_folder()
    place = folder
    while not place.exists():
        place = place.parent
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        cure = "point $TIERWISE_CACHE at a folder that you may write"
        return Finding(what="cache", state="broken", seen=f"{folder} cannot be written: {error.strerror}", cure=cure)
    free = shutil.disk_usage(place).free / 2**30
    return Finding(what="cache", state="ok", seen=f"{folder}, {free:.0f} GiB free")


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _print(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table

    colours = {"ok": "green", "missing": "yellow", "broken": "red"}
    table = Table("", "what", "seen", "what to do", box=None, padding=(0, 2, 0, 0))
    for one in findings:
        table.add_row(f"[{colours[one.state]}]{one.state}[/]", one.what, one.seen, one.cure)
    Console(highlight=False).print(table)
