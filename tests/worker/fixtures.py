"""Our Transformers worker at work on SmolLM2, for the tests of a whole session."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from tierwise.engines import Transformers
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext
from tierwise.engines.transformers.launch import build

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Worker:
    """One that runs, in a loop of its own, which stands still between two calls of `run`."""

    engine: LaunchedEngine
    url: str
    """Without `/v1`."""
    runner: asyncio.Runner

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(main, 120))

    async def metric(self, name: str) -> int:
        async with aiohttp.ClientSession() as client, client.get(f"{self.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        return next(int(float(line.split()[1])) for line in lines if line.startswith(f"tierwise_worker_{name} "))

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as client, client.post(f"{self.url}{path}", json=body) as response:
            return response.status, await response.json()


@dataclass(frozen=True, kw_only=True)
class Builds:
    """Builds engines that are not started; start and stop them in the test."""

    logs: Path

    def settings(self, **levers: Any) -> Transformers:
        return Transformers(checkpoint="smollm2", **{"context": 1024, "slots": 4, "threads": 2, **levers})

    def site(self, model: Path | None) -> LaunchContext:
        return LaunchContext(base=self.logs, logs=self.logs, model=model)

    def __call__(self, model: Path, **levers: Any) -> LaunchedEngine:
        return build(self.settings(**levers), "small", self.site(model))


@pytest.fixture(scope="session")
def new_transformers(tmp_path_factory: pytest.TempPathFactory) -> Builds:
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason="pip install 'tierwise[transformers]' to test the Transformers worker")
    return Builds(logs=tmp_path_factory.mktemp("logs"))


@pytest.fixture(scope="session")
def transformers(new_transformers: Builds, smollm2: Path) -> Iterator[Worker]:
    """One that runs, and that all tests share: leave it as you found it."""
    engine = new_transformers(smollm2)
    with asyncio.Runner() as runner:
        try:
            runner.run(engine.start())
            url = runner.run(engine.supervisor.ready())
            yield Worker(engine=engine, url=url, runner=runner)
        finally:
            runner.run(engine.stop())
