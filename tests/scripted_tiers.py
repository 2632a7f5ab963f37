"""An endpoint in this process over scripted engines, and workloads in a line."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from tierwise.engines.engine import Deployment
from tierwise.gateway.app import Endpoint
from tierwise.gateway.protocol import HttpProtocol
from tierwise.ledger.prices import Price, PriceBook
from tierwise.policies import Policy
from tierwise.router import Router
from tierwise.run import Tier
from tierwise.service import Service
from tierwise.spec.budget import Budget
from tierwise.spec.call import Call
from tierwise.testing import Reply, ScriptedEngine, with_routes


class Answering(ScriptedEngine):
    """Answers by what it is asked, `{"2+2?": "4"}`; a list holds the answers of the prompt's draws."""

    def __init__(
        self, answers: Mapping[str, Any], *, otherwise: str | Reply = "I do not know", step: float = 0.0
    ) -> None:
        super().__init__(step=step)
        self._answers = answers
        self._otherwise = otherwise

    def reply_to(self, number: int, call: Call) -> Reply:
        answer = self._answers.get(str(call.prompt.messages[0]["content"]), self._otherwise)
        if isinstance(answer, list):
            answer = answer[min(call.draw, len(answer) - 1)]
        return answer if isinstance(answer, Reply) else Reply(text=answer)


@dataclass(kw_only=True)
class Tiers:
    """Tiers that share one engine, at a dollar per thousand tokens that it makes."""

    engine: ScriptedEngine
    policies: Mapping[str, Policy]
    budget: Budget = field(default_factory=Budget)
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def service(self) -> Service:
        deployment = Deployment(name="fake", engine=self.engine, slots=64)
        tiers = {
            name: Tier(name=name, deployment=deployment, policy=policy, budget=self.budget)
            for name, policy in self.policies.items()
        }
        return Service(
            router=Router(tiers=with_routes(list(tiers.values()), self.routes)),
            deployments={"fake": deployment},
            prices=PriceBook({"fake": Price(completion=1000.0)}),
            ledger=None,
        )


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application, or an endpoint, behind a free port, in a thread of its own; gives its URL."""
    http: Any = HttpProtocol if isinstance(app, Endpoint) else "auto"
    how: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "ws": "none",
        "proxy_headers": False,
    }
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=http, **how))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def line(id_: str, question: str = "2+2?", equals: float = 4, **more: Any) -> dict[str, Any]:
    """One task as it stands in a workload."""
    return {
        "id": id_,
        "messages": [{"role": "user", "content": question}],
        "check": {"number": {"equals": equals}},
        **more,
    }
