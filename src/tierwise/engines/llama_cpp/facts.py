"""What a llama.cpp is, found out without a model: version, build, kernels, devices. Run as a program it asks xllamacpp.

A program of its own, because xllamacpp does not belong into any process of ours but the worker's.
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

SECONDS = 20.0
"""That it may take to tell: a GPU build looks for its devices first."""

_TOLD = re.compile(r"version: (?P<version>.+)|built with (?P<build>.+)|\s*(?P<device>Device \d+: .+)")
"""Lines of `llama-server --version` (llama.cpp, common/arg.cpp and ggml-cuda.cu)."""


async def embedded() -> dict[str, str]:
    """Facts of the xllamacpp of this environment; empty where there is none."""
    told = await _output(sys.executable, "-P", __file__)
    try:
        return msgspec.json.decode(told.rpartition("\n")[2], type=dict[str, str])  # warnings may come before it
    except msgspec.DecodeError:
        return {}


async def external(program: str) -> dict[str, str]:
    """Facts of a `llama-server`; empty where it does not tell."""
    found: dict[str, list[str]] = {}
    for line in (await _output(program, "--version")).splitlines():
        if (match := _TOLD.fullmatch(line.rstrip())) and match.lastgroup:
            found.setdefault(match.lastgroup, []).append(match[match.lastgroup])
    return {name: "; ".join(lines) for name, lines in found.items()}


async def _output(*command: str) -> str:
    """What a program says on both its outputs; empty where it cannot be run, fails, or takes too long."""
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
    """What llama.cpp says that it has code for: `CPU : AVX2 = 1 | FMA = 0 | … ` → `AVX2, …`."""
    return ", ".join(_enabled(system_info))


def _enabled(system_info: str) -> Iterator[str]:
    for piece in filter(None, map(str.strip, system_info.split("|"))):
        name, _, value = piece.removeprefix("CPU : ").partition(" = ")
        if value != "0":
            yield name if value in ("", "1") else f"{name} {value}"


def _device(about: Mapping[str, Any]) -> str:
    """Its name; a processor's description says nothing of its kernels."""
    return "CPU" if about["name"] == "CPU" else f"{about['name']} {about['description']}"


def main() -> None:
    """Print the facts of xllamacpp as JSON."""
    import xllamacpp  # noqa: PLC0415 - in no process but this and the worker's

    built = xllamacpp.BUILD_INFO
    facts = {
        "version": f"xllamacpp {xllamacpp.__version__}",
        "build": f"{built['compiler']} for {built['build_target']}",
        "kernels": kernels(xllamacpp.get_system_info()),
        "device": "; ".join(map(_device, xllamacpp.get_device_info())),
    }
    sys.stdout.write(msgspec.json.encode(facts).decode())


if __name__ == "__main__":
    main()
