"""The pages of the endpoint besides chat completions: models, deployments, health, readiness and metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from time import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tierwise.gateway.added_metrics import added, families_of, page, read_families
from tierwise.gateway.deployments import deployed
from tierwise.gateway.lifecycle import certificate_of
from tierwise.keys.caller import CALLER, require_admin
from tierwise.keys.limiter import may_use
from tierwise.keys.records import seconds_of
from tierwise.spec.reading import allowed

if TYPE_CHECKING:
    from tierwise.engines.engine import Health
    from tierwise.gateway.access import Access
    from tierwise.gateway.metrics import Metrics
    from tierwise.gateway.siblings import Siblings
    from tierwise.ledger.location import Location
    from tierwise.ledger.store import LedgerHealth
    from tierwise.service import Service


class Pages:
    """The pages of one service.

    Args:
        service: what the pages are about.
        metrics: its metrics.
        access: who may see command lines, paths and log lines.
        siblings: the other processes of the endpoint.
    """

    def __init__(self, service: Service, metrics: Metrics, access: Access, siblings: Siblings) -> None:
        self._service = service
        self._metrics = metrics
        self._access = access
        self._siblings = siblings

    def by_path(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """Every page by its path."""
        return {
            "/v1/models": self.models,
            "/v1/models/{name:path}": self.model,
            "/v1/deployments": self.deployments,
            "/v1/usage": self.usage,
            "/health": self.health,
            "/ready": self.ready,
            "/metrics": self.metrics,
        }

    async def models(self, request: Request) -> Response:  # noqa: ARG002 - Starlette's signature
        """Tiers and routes."""
        caller = CALLER.get()
        names = [name for name in self._service.router.names if may_use(caller, name)]
        return JSONResponse({"object": "list", "data": [_model(self._service, name) for name in names]})

    async def model(self, request: Request) -> Response:
        """One tier or route."""
        name, names = request.path_params["name"], self._service.router.names
        if name not in names:
            raise HTTPException(404, f"there is no model {name!r}; {allowed(name, names)}")
        return JSONResponse(_model(self._service, name))

    async def deployments(self, request: Request) -> Response:
        """Running deployments; with the key also their command lines."""
        shown = deployed(self._service, in_full=self._access.is_admin(request.headers.raw))
        return JSONResponse({"object": "list", "data": msgspec.to_builtins(shown)})

    async def usage(self, request: Request) -> Response:
        """What the caller's key used, by day and model; of all keys for an administrator."""
        caller, ledger = CALLER.get(), self._service.ledger
        if ledger is None:
            raise HTTPException(501, "there is no ledger, so nothing is known about usage")
        key = None if caller is None or caller.key.is_admin else caller.key.id
        since = time() - seconds_of(request.query_params.get("since", "30d"))
        session = request.query_params.get("session")
        found = await asyncio.to_thread(_used, ledger.location, since, key, session)
        total = sum(one["dollars"] for one in found)
        about = {"since": since, "key": key, "session": session, "actions": sum(one["actions"] for one in found)}
        return JSONResponse({"object": "list", **about, "dollars": total, "data": found})

    async def health(self, request: Request) -> Response:  # noqa: ARG002
        """Whether the process is alive."""
        return JSONResponse({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """Whether every engine is up, and certificates are compared with them; with the key also why not."""
        states = {name: deployment.engine.health() for name, deployment in self._service.deployments.items()}
        in_full = self._access.is_admin(request.headers.raw)
        draining = bool(getattr(request.app.state, "draining", False))
        are_up = all(state.state == "ready" for state in states.values())
        is_ready = not draining and are_up and self._service.router.certified.are_checked
        body: dict[str, Any] = {
            "ready": is_ready,
            "draining": draining,
            "deployments": {name: _standing(one, in_full=in_full) for name, one in states.items()},
        }
        if self._service.ledger is not None:
            body["ledger"] = ledger_standing(self._service.ledger.health())
        if self._siblings.count > 1:
            others = await self._siblings.gather("ledger")
            body["workers"] = {
                "count": self._siblings.count,
                "answering": 1 + len(others),
                "this": self._siblings.number,
            }
            if "ledger" in body:
                body["ledger"] = _together([body["ledger"], *others])
        return JSONResponse(body, status_code=200 if is_ready else 503)

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002
        """Prometheus; of all callers, so that a stored key must be an administrator's."""
        require_admin("/metrics shows what all keys do; ask with an administrator's key, or see /v1/usage")
        await self._metrics.ask_engines()
        text = self._metrics.text() if self._siblings.count == 1 else await self._added_up()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _added_up(self) -> bytes:
        self._metrics.refresh(await self._siblings.gather("loads"))
        own = families_of(self._metrics.registry)
        others = await self._siblings.gather("metrics", own)
        return page(added([own, *map(read_families, others)]))


def _used(location: Location, since: float, key: str | None, session: str | None) -> list[dict[str, Any]]:
    """Usage in the ledger; of actions whose answer was sent in the last moment, it may lack some."""
    from tierwise.ledger.read import Reader  # noqa: PLC0415 - SQLAlchemy is slow to import

    with Reader(location) as reader:
        return [asdict(one) for one in reader.usage(since, key=key, session=session)]


def _standing(health: Health, *, in_full: bool) -> dict[str, object]:
    """The state of a deployment. Its reason and log are an engine's words, and may name paths."""
    if not in_full:
        return {"state": health.state}
    standing: dict[str, object] = {"state": health.state, "reason": health.reason}
    return {**standing, "last_lines": health.last_lines} if health.last_lines else standing


def ledger_standing(health: LedgerHealth) -> dict[str, Any]:
    """Without messages, which name files. Problems of the ledger never make the endpoint unready."""
    return {
        "state": health.state,
        "pending": health.pending,
        "only_in_memory": health.unjournaled,
        "lost": health.lost,
    }


def _together(standings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The standing of the ledger in all processes: the worst state, and sums."""
    states = {one["state"] for one in standings}
    sums = {name: sum(one[name] for one in standings) for name in ("pending", "only_in_memory", "lost")}
    return {"state": next(state for state in ("losing", "corrupt", "behind", "good") if state in states), **sums}


def _model(service: Service, name: str) -> dict[str, object]:
    tier = service.router.tiers[name]
    contexts = [one.deployment.context for one in service.router.reach(name)]
    context = min((one for one in contexts if one is not None), default=None)
    state = service.router.certified.state(name)
    shadow = None if service.shadows is None else service.shadows.report(name)
    certificate: dict[str, object] = {} if state is None else {"certificate": certificate_of(state)}
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "tierwise",
        "context_length": context,
        "max_model_len": context,  # vLLM's name for it
        "tierwise": {
            "policy": type(tier.policy).__name__,
            "deployment": tier.deployment.name,
            "tiers": list(tier.policy.tiers()),
            "most_passes": service.router.most(name).passes,
            "candidates": True,
            **certificate,
            **({} if shadow is None else {"shadow": shadow}),
        },
    }
