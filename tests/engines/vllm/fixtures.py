"""A real vLLM on the CPU at work on two small checkpoints, for all tests of this folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from tierwise.engines import Vllm
from tierwise.engines.openai.engine import HttpEngine
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext
from tierwise.engines.vllm.launch import LAUNCHER

ROOT = Path(__file__).parents[3]
QUIET = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive", "PYTHONSAFEPATH": "1"}

PROMPT = "Say something."
"""What the random mixture is asked."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class VllmAtWork:
    """One that runs, in a loop of its own, which stands still between two calls of `run`."""

    engine: LaunchedEngine
    url: str
    """Without `/v1`."""
    runner: asyncio.Runner

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(main, 240))

    async def metric(self, name: str) -> int:
        """One of vLLM's own counters."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(int(float(line.split()[-1])) for line in lines if line.startswith(f"vllm:{name}{{"))


@pytest.fixture(scope="session")
def vllm_python() -> str:
    """The interpreter that TIERWISE_VLLM_PYTHON names, or that of `make vllm`."""
    if named := os.environ.get("TIERWISE_VLLM_PYTHON"):
        assert Path(named).is_file(), f"TIERWISE_VLLM_PYTHON names no file: {named}"
        return named
    made = ROOT / ".venv-vllm"
    if not (made / "installed").is_file():
        pytest.skip("no vLLM here: `make vllm`, or name an interpreter that has it in TIERWISE_VLLM_PYTHON")
    return str(made / "bin" / "python")


@pytest.fixture(scope="session")
def smollm2_folder(smollm2: Path, vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model as a folder that vLLM loads: the one that TIERWISE_TEST_FOLDER names, or the file, dequantized."""
    if named := os.environ.get("TIERWISE_TEST_FOLDER"):
        return Path(named)
    folder = tmp_path_factory.mktemp("checkpoints") / "smollm2"
    run(vllm_python, ROOT / "examples" / "dequantize.py", smollm2, folder)
    return folder


@pytest.fixture(scope="session")
def moe_folder(smollm2_folder: Path, vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random Qwen3-MoE: 2 layers of 8 experts, of which 2 work on a token."""
    folder = tmp_path_factory.mktemp("checkpoints") / "moe"
    run(vllm_python, Path(__file__).with_name("random_moe.py"), folder, smollm2_folder, PROMPT)
    return folder


def run(*command: str | Path) -> None:
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(Path(__file__).parent)}  # of `random_weights`
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def new_vllm(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LaunchedEngine | HttpEngine]:
    """Builds an engine on a checkpoint; start and stop it in the test."""
    logs = tmp_path_factory.mktemp("logs")
    quick = {"context": 1024, "slots": 4, "enforce_eager": True, "cpu_kv_cache_gib": 1}

    def build(model: Path, **levers: Any) -> LaunchedEngine | HttpEngine:
        settings = Vllm(checkpoint="small", python=vllm_python, **{**quick, **levers})
        return LAUNCHER.build(settings, model.name, LaunchContext(base=logs, logs=logs, model=model))

    return build


@contextmanager
def at_work(engine: LaunchedEngine | HttpEngine) -> Iterator[VllmAtWork]:
    assert isinstance(engine, LaunchedEngine)
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start())
            url = runner.run(engine.supervisor.ready())
            yield VllmAtWork(engine=engine, url=url, runner=runner)
        finally:
            runner.run(engine.stop())


@pytest.fixture(scope="package")
def vllm(new_vllm: Callable[..., LaunchedEngine], smollm2_folder: Path) -> Iterator[VllmAtWork]:
    """One that serves SmolLM2, and that all tests of this folder share: leave it as you found it."""
    with at_work(new_vllm(smollm2_folder, scheduling="priority")) as running:
        yield running
