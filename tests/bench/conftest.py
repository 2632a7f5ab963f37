"""Endpoints that end with their test, and workloads on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.stage import Tiers, served
from tierwise.gateway.app import application
from tierwise.policies import Policy
from tierwise.spec.budget import Budget
from tierwise.testing import ScriptedEngine


@pytest.fixture
def endpoint() -> Iterator[Callable[..., str]]:
    """Serves policies over an engine until the test is over: `endpoint(engine, fast=Single())`."""
    with ExitStack() as running:

        def serve(
            engine: ScriptedEngine,
            *,
            budget: Budget | None = None,
            routes: Mapping[str, tuple[str, ...]] | None = None,
            **policies: Policy,
        ) -> str:
            tiers = Tiers(engine=engine, policies=policies, budget=budget or Budget(), routes=routes or {})
            return running.enter_context(served(application(tiers.service())))

        yield serve


@pytest.fixture
def write_tasks(tmp_path: Path) -> Callable[..., Path]:
    """Writes a workload, one object or raw line after the other."""

    def write(*lines: dict[str, Any] | str) -> Path:
        path = tmp_path / "tasks.jsonl"
        texts = [line if isinstance(line, str) else msgspec.json.encode(line).decode() for line in lines]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write
