"""Facts about a llama.cpp without loading a model: version, build, kernels, devices.

Run as a program, this file queries xllamacpp in a separate process, because only the worker may load it. So it imports
no other module of Tierwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tierwise.engines.llama_cpp.settings import LlamaCpp
    from tierwise.engines.settings import LaunchContext

SECONDS = 20.0
"""Timeout; a GPU build searches for devices first."""

_ATTENTION = {None: "flash where llama.cpp sees fit", True: "flash", False: "not flash"}

_LINES = re.compile(r"version: (?P<version>.+)|built with (?P<build>.+)|\s*(?P<device>Device \d+: .+)")
"""Lines of `llama-server --version` (llama.cpp, common/arg.cpp and ggml-cuda.cu)."""


async def facts(settings: LlamaCpp, context: LaunchContext) -> Mapping[str, str]:
    """The facts of `Health.facts`, without starting it."""
    reported = await (embedded() if settings.binary is None else external(context.program(settings.binary)))
    layers = "all that the build can" if settings.gpu_layers is None else str(settings.gpu_layers)
    return {
        **reported,
        "attention": _ATTENTION[settings.flash_attention],
        "cache": f"keys {settings.cache_type_k}, values {settings.cache_type_v}",
        "threads": str(settings.used_threads),
        "gpu_layers": "none" if settings.binary is None else layers,
    }


async def embedded() -> dict[str, str]:
    """Facts of the xllamacpp in this environment; empty if it is not installed."""
    output = await _output(sys.executable, "-P", __file__)
    try:
        return msgspec.json.decode(output.rpartition("\n")[2], type=dict[str, str])  # warnings may come before it
    except msgspec.DecodeError:
        return {}


async def external(program: str) -> dict[str, str]:
    """Facts of a `llama-server`; empty if it reports none."""
    found: dict[str, list[str]] = {}
    for line in (await _output(program, "--version")).splitlines():
        if (match := _LINES.fullmatch(line.rstrip())) and match.lastgroup:
            found.setdefault(match.lastgroup, []).append(match[match.lastgroup])
    return {name: "; ".join(lines) for name, lines in found.items()}


async def _output(*command: str) -> str:
    """A program's stdout and stderr; empty if it cannot be run, fails or times out."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError:
        return ""
    try:
        async with asyncio.timeout(SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        return ""
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return said.decode(errors="replace") if process.returncode == 0 else ""


def kernels(system_info: str) -> str:
    """The instruction sets that llama.cpp reports: `CPU : AVX2 = 1 | FMA = 0 | … ` → `AVX2, …`."""
    return ", ".join(_enabled(system_info))


def _enabled(system_info: str) -> Iterator[str]:
    for piece in filter(None, map(str.strip, system_info.split("|"))):
        name, _, value = piece.removeprefix("CPU : ").partition(" = ")
        if value != "0":
            yield name if value in ("", "1") else f"{name} {value}"


def _device(about: Mapping[str, Any]) -> str:
    """The name of a device."""
    return "CPU" if about["name"] == "CPU" else f"{about['name']} {about['description']}"


def main() -> None:
    """Print the facts of xllamacpp as JSON."""
    import xllamacpp  # noqa: PLC0415 - only in this process and the worker

    built = xllamacpp.BUILD_INFO
    found = {
        "version": f"xllamacpp {xllamacpp.__version__}",
        "build": f"{built['compiler']} for {built['build_target']}",
        "kernels": kernels(xllamacpp.get_system_info()),
        "device": "; ".join(map(_device, xllamacpp.get_device_info())),
    }
    sys.stdout.write(msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
