"""Fixtures for endpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from scripted_tiers import Tiers, served
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
