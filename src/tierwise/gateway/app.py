"""The endpoint as an ASGI application for a running service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from tierwise.gateway.access import Access
from tierwise.gateway.administration import Administration
from tierwise.gateway.apis import APIS, apis_of
from tierwise.gateway.apis.messages.counting import COUNT, TokenCounting
from tierwise.gateway.apis.responses import RESPONSES, ResponseStore, StoredPage
from tierwise.gateway.endpoint import ApiEndpoint
from tierwise.gateway.exchange import Answering, Exchange, HungUp
from tierwise.gateway.failures import body_of, headers_of, status_of
from tierwise.gateway.feedback import FEEDBACK, FeedbackPage
from tierwise.gateway.lifecycle import RequestLifecycle
from tierwise.gateway.metrics import Metrics
from tierwise.gateway.pages import Pages
from tierwise.gateway.refusing import Refusals
from tierwise.gateway.reply import FIRST_BYTES_SECONDS
from tierwise.gateway.session_page import PATH as SESSION_PATH
from tierwise.gateway.session_page import SessionPage
from tierwise.gateway.siblings import Alone
from tierwise.keys.caller import CALLER
from tierwise.spec.errors import AccessError, KeysUnavailable, TierwiseError

if TYPE_CHECKING:
    from tierwise.gateway.siblings import Siblings
    from tierwise.service import Service


_PATHS = ", ".join([*(api.path for api in APIS), COUNT, RESPONSES, FEEDBACK])
_PAGES = "/v1/models, /v1/usage, /v1/sessions/…, /v1/deployments, /key/…, /team/…, /audit, /health, /ready, /metrics"
_PLACES = f"{_PATHS}, {_PAGES}"

_USUAL = Refusals(APIS[0])
"""Of paths that belong to no API: OpenAI's format."""


class Endpoint(Starlette):
    """The APIs, which are nearly all traffic and are answered without ASGI, and Starlette for all other paths; both
    behind the rules of access.
    """

    answers: Mapping[str, ApiEndpoint | TokenCounting]
    """What answers a POST, by path."""
    access: Access
    metrics: Metrics
    store: ResponseStore

    def answering(self, path: str) -> Answering | None:
        """What answers a POST to a path; None if it is not that of an API."""
        return self.answer if path in self.answers else None

    async def answer(self, exchange: Exchange) -> None:
        """Answer a POST to the path of an API."""
        answers, headers = self.answers[exchange.path], exchange.headers
        exchange.more_headers = self.access.cors(headers)
        try:
            CALLER.set(self.access.check(exchange.path, headers))
        except (AccessError, KeysUnavailable) as error:
            self.metrics.refused(status_of(error).http)
            await answers.refusals.send(exchange, error, {})
            return
        await answers(exchange)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        path, method, headers = scope["path"], scope["method"], scope["headers"]
        if path.endswith("/") and len(path) > 1:
            scope = {**scope, "path": (path := path.rstrip("/") or "/")}
        if cors := self.access.cors(headers):
            send = _with(send, cors)
        try:
            if method != "OPTIONS":  # a browser asks with it what is allowed, and sends no key
                CALLER.set(self.access.check(path, headers))
        except (AccessError, KeysUnavailable) as error:
            self.metrics.refused(status_of(error).http)
            refusals = self.answers[path].refusals if path in self.answers else _USUAL
            body, headers = refusals.body(error), headers_of(error)
            await Response(body, refusals.status(error), headers, "application/json")(scope, receive, send)
            return
        await super().__call__(scope, receive, send)


def _with(send: Send, headers: list[tuple[bytes, bytes]]) -> Send:
    """Adds headers to a response."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *headers]}
        await send(message)

    return sending


def application(
    service: Service,
    metrics: Metrics | None = None,
    *,
    access: Access | None = None,
    first_bytes: float = FIRST_BYTES_SECONDS,
    siblings: Siblings | None = None,
    before: Endpoint | None = None,
) -> Endpoint:
    """The application: chat completions, models, health, readiness and metrics. `app.state.draining` makes it
    unready.

    Args:
        service: what answers.
        metrics: counts what is answered.
        access: who may use it; without a key, and on loopback, if not given.
        first_bytes: seconds for which a stream's headers wait for its first content.
        siblings: the other processes that serve the same endpoint; none if not given.
        before: the application that this one replaces; they share stored responses, and whether they drain.
    """
    if metrics is None:
        metrics = Metrics({})
        metrics.watch(service.deployments, service.router.certified, service.shadows)
    access = access or Access()
    if service.desk is not None:
        access = access.of_desk(service.desk)
    siblings = siblings or Alone()
    lifecycle = RequestLifecycle(service, metrics)
    pages = Pages(service, metrics, access, siblings)
    feedback, session_page = FeedbackPage(service, siblings), SessionPage(service, metrics, siblings)
    administration = Administration(service, access)
    store = ResponseStore(service.stored, siblings=siblings) if before is None else before.store
    siblings.join(service, metrics, store)
    stored = StoredPage(store)
    apis = apis_of(store)

    app = Endpoint(
        routes=[
            *(_route(path, access, None) for path in (*(api.path for api in apis), COUNT)),
            _route(stored.path, access, stored, stored.methods),
            _route(FEEDBACK, access, feedback, ("GET", "POST")),
            _route(SESSION_PATH, access, session_page, ("GET",)),
            *(_route(path, access, page, ("GET",)) for path, page in pages.by_path().items()),
            *(_route(path, access, page, (method,)) for path, (method, page) in administration.by_path().items()),
        ],
        exception_handlers={
            HTTPException: _not_here,
            TierwiseError: partial(refused, metrics),
            HungUp: _left,
            Exception: _broke,
        },
    )
    app.answers = {
        **{api.path: ApiEndpoint(api, lifecycle, service, metrics, first_bytes=first_bytes) for api in apis},
        COUNT: TokenCounting(service, metrics),
    }
    app.access, app.metrics, app.store = access, metrics, store
    if before is not None:
        app.state = before.state
    return app


def _route(
    path: str,
    access: Access,
    page: Callable[[Request], Awaitable[Response]] | None,
    takes: Sequence[str] = ("POST",),
) -> Route:
    """A page and what its path allows; without a page, a path that takes POST, which does not come here."""
    methods = [*takes, "HEAD", "OPTIONS"]
    allow = {"allow": ", ".join(methods)}

    async def answer(request: Request) -> Response:
        if request.method == "OPTIONS":
            response = Response(status_code=204, headers=allow)
            response.raw_headers += access.preflight(request.scope["headers"])
            return response
        return Response(headers=allow, media_type="application/json") if page is None else await page(request)

    return Route(path, answer, methods=methods)


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
            methods = (error.headers or {}).get("allow", "")
            message, code = f"{request.method} is not allowed at {path}; allowed: {methods}", "method_not_allowed"
        case _:
            message, code = error.detail, "invalid_request"
    shape = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return JSONResponse({"error": shape}, error.status_code, error.headers)


async def refused(metrics: Metrics, request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """What a page raises, in OpenAI's format."""
    assert isinstance(error, TierwiseError)  # noqa: S101 - only registered for this type
    status = status_of(error).http
    metrics.refused(status)
    return JSONResponse(body_of(error), status, headers_of(error))


async def _left(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """The client has left: nobody reads this."""
    return Response(status_code=499)


async def _broke(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    """An internal error in OpenAI's format; Starlette re-raises it, so it is logged."""
    shape = {
        "message": f"internal error in Tierwise: {error!r}",
        "type": "server_error",
        "param": None,
        "code": "internal",
    }
    return JSONResponse({"error": shape}, 500)
