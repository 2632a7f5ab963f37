"""What more than one folder needs: workloads on disk, a real small model, and llama.cpp and the worker on it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import hypothesis
import msgspec
import pytest

from tierwise import plan as planning
from tierwise.catalog import CheckpointError, pull
from tierwise.engines import LlamaCpp
from tierwise.engines.llama_cpp.launch import build
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext
from tierwise.verifiers.sandbox import Mechanism, backend, mechanism
from worker.fixtures import new_transformers, transformers

__all__ = ["new_transformers", "transformers"]

hypothesis.settings.register_profile("exploring", deadline=None)  # other tests may have the machine meanwhile
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

QUICKSTART = Path(__file__).parents[1] / "examples" / "quickstart.yaml"

T = TypeVar("T")


@pytest.fixture(scope="module", autouse=True)
def _houses() -> Iterator[None]:
    """Servers that tests of a module shared end with it."""
    yield
    if (endpoints := sys.modules.get("endpoints")) is not None:  # slow to import, and most tests serve nothing
        while endpoints.EMPTY:
            endpoints.EMPTY.pop().pull_down()


@pytest.fixture
def write_tasks(tmp_path: Path) -> Callable[..., Path]:
    """Writes a workload, one object or raw line after the other."""

    def write(*lines: dict[str, Any] | str) -> Path:
        path = tmp_path / "tasks.jsonl"
        texts = [line if isinstance(line, str) else msgspec.json.encode(line).decode() for line in lines]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real model: the file that TIERWISE_TEST_MODEL names, or the checkpoint of the quickstart."""
    if named := os.environ.get("TIERWISE_TEST_MODEL"):
        path = Path(named).expanduser()
        assert path.is_file(), f"TIERWISE_TEST_MODEL names no file: {path}"
        return path
    try:
        return asyncio.run(pull(planning.load(QUICKSTART).checkpoint("smollm2")))
    except CheckpointError as error:
        pytest.skip(f"no model to test with: {error}")


@dataclass(frozen=True, kw_only=True)
class Llama:
    """llama.cpp on SmolLM2. It lives in a loop of its own, which stands still between two calls of `run`."""

    engine: LaunchedEngine
    url: str
    """Without `/v1`."""
    runner: asyncio.Runner

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(main, 120))

    async def metric(self, name: str) -> int:
        """One of llama.cpp's own counters."""
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(int(float(line.split()[1])) for line in lines if line.startswith(f"llamacpp:{name} "))

    async def until_idle(self) -> float:
        """Seconds until nothing runs any more."""
        began = asyncio.get_running_loop().time()
        while await self.metric("requests_processing"):
            assert asyncio.get_running_loop().time() - began < 10
            await asyncio.sleep(0.01)
        return asyncio.get_running_loop().time() - began


def llama_cpp(model: Path, logs: Path, **levers: Any) -> LaunchedEngine:
    """An engine that is not started."""
    settings = LlamaCpp(checkpoint="smollm2", **{"context": 1024, "slots": 4, **levers})
    return build(settings, "small", LaunchContext(base=logs, logs=logs, model=model))


@pytest.fixture(scope="session")
def new_llama_cpp(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LaunchedEngine]:
    """Builds an engine on SmolLM2 for a test that breaks it; start and stop it there."""
    pytest.importorskip("xllamacpp")
    return lambda **levers: llama_cpp(smollm2, tmp_path_factory.mktemp("logs"), **levers)


@pytest.fixture(scope="session")
def llama(new_llama_cpp: Callable[..., LaunchedEngine]) -> Iterator[Llama]:
    """One that runs, and that all tests share: leave it as you found it."""
    engine = new_llama_cpp()
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start())
            url = runner.run(engine.supervisor.ready())
            yield Llama(engine=engine, url=url, runner=runner)
        finally:
            runner.run(engine.stop())


@pytest.fixture(params=["bubblewrap", "unshare"])
def using(request: pytest.FixtureRequest) -> Mechanism:
    """A mechanism of the sandbox that works here; the test runs with each."""
    found = backend(request.param)
    if found.name == "none":
        pytest.skip(found.reason)
    return request.param


@pytest.fixture
def only(using: Mechanism, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mechanism]:
    """The mechanism that every sandbox uses in this test; the test runs with each."""
    monkeypatch.setattr(mechanism, "MECHANISMS", (using,))
    backend.cache_clear()
    yield using
    backend.cache_clear()
