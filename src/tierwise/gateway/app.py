"""The endpoint as an ASGI application for a running service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from tierwise.gateway.chat import ChatEndpoint
from tierwise.gateway.deployments import deployed
from tierwise.gateway.metrics import Metrics

if TYPE_CHECKING:
    from tierwise.engines.engine import Health
    from tierwise.ledger.store import LedgerHealth
    from tierwise.service import Service


_CHAT = "/v1/chat/completions"
_PLACES = f"{_CHAT}, /v1/models, /v1/deployments, /health, /ready, /metrics"


class Endpoint(Starlette):
    """Starlette with a bypass of its middleware for chat completions, which are nearly all traffic, handle their own
    errors, and would pay the overhead for every event.
    """

    chat: ChatEndpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == _CHAT and scope["method"] == "POST":
            await self.chat(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def application(service: Service, metrics: Metrics | None = None) -> Starlette:
    """The application: chat completions, models, health, readiness and metrics. `app.state.draining` makes it
    unready.
    """
    metrics = metrics or Metrics(service.deployments)
    chat = ChatEndpoint(service, metrics)

    async def models(request: Request) -> Response:  # noqa: ARG001 - Starlette's signature
        return JSONResponse({"object": "list", "data": [_model(service, name) for name in service.router.names]})

    async def model(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in service.router.names:
            raise HTTPException(404, f"there is no model {name!r}; allowed: {', '.join(service.router.names)}")
        return JSONResponse(_model(service, name))

    async def deployments(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse({"object": "list", "data": msgspec.to_builtins(deployed(service))})

    async def health(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse({"status": "ok"})

    async def ready(request: Request) -> Response:
        states = {name: deployment.engine.health() for name, deployment in service.deployments.items()}
        draining = bool(getattr(request.app.state, "draining", False))
        is_ready = not draining and all(state.state == "ready" for state in states.values())
        body = {
            "ready": is_ready,
            "draining": draining,
            "deployments": {name: _standing(one) for name, one in states.items()},
        }
        if service.ledger is not None:
            body["ledger"] = _ledger_standing(service.ledger.health())
        return JSONResponse(body, status_code=200 if is_ready else 503)

    async def scrape(request: Request) -> Response:  # noqa: ARG001
        await metrics.ask_engines()
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    app = Endpoint(
        routes=[
            Route(_CHAT, chat, methods=["POST"]),
            Route("/v1/models", models),
            Route("/v1/models/{name:path}", model),
            Route("/v1/deployments", deployments),
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", scrape),
        ],
        exception_handlers={HTTPException: _not_here, Exception: _broke},
    )
    app.chat = chat
    return app


def _standing(health: Health) -> dict[str, object]:
    standing: dict[str, object] = {"state": health.state, "reason": health.reason}
    return {**standing, "last_lines": health.last_lines} if health.last_lines else standing


def _ledger_standing(health: LedgerHealth) -> dict[str, object]:
    """Without messages, which name files. Problems of the ledger never make the endpoint unready."""
    return {
        "state": health.state,
        "pending": health.pending,
        "only_in_memory": health.unjournaled,
        "lost": health.lost,
    }


def _model(service: Service, name: str) -> dict[str, object]:
    tier = service.router.tiers[name]
    ours = {
        "policy": type(tier.policy).__name__,
        "deployment": tier.deployment.name,
        "tiers": list(tier.policy.tiers()),
        "most_passes": service.router.most(name).passes,
        "candidates": True,
    }
    return {"id": name, "object": "model", "created": 0, "owned_by": "tierwise", "tierwise": ours}


async def _not_here(request: Request, error: Exception) -> Response:
    """An HTTP error in OpenAI's format."""
    assert isinstance(error, HTTPException)  # noqa: S101 - only registered for this type
    path = request.url.path
    match error.status_code:
        case 404 if error.detail == "Not Found":
            message, code = f"there is no endpoint {path}; allowed: {_PLACES}", "not_found"
        case 404:
            message, code = error.detail, "model_not_found"
        case 405:
            message, code = f"{request.method} is not allowed at {path}", "method_not_allowed"
        case _:
            message, code = error.detail, "invalid_request"
    shape = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": shape}, error.status_code, error.headers)


async def _broke(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """An internal error in OpenAI's format; Starlette re-raises it, so it is logged."""
    shape = {
        "message": f"internal error in Tierwise: {error!r}",
        "type": "server_error",
        "param": None,
        "code": "internal",
    }
    return JSONResponse({"error": shape}, 500)
