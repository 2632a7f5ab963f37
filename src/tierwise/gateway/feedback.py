"""`/v1/feedback`: labels of answers that come later, and which actions wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tierwise.gateway.body import AsgiBody, read_body
from tierwise.gateway.decoding import decoded
from tierwise.gateway.headers import RequestHeaders
from tierwise.keys.caller import CALLER, require_admin
from tierwise.shadowing.labels import Label
from tierwise.spec.errors import NotFound, SpecError
from tierwise.spec.reading import Reading

if TYPE_CHECKING:
    from tierwise.service import Service

FEEDBACK = "/v1/feedback"
_SHAPE = (
    'send {"action": ID, "correct": true or false, "answer": "served" or "reference"}; without `answer` it is "served"'
)


class FeedbackPage:
    """The page of one service.

    Args:
        service: its shadows take the labels.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, request: Request) -> Response:
        """A label, or the list of the actions that wait for one."""
        if request.method == "POST":
            return await self._labelled(request)
        require_admin(f"GET {FEEDBACK} lists actions of all keys; ask with an administrator's key")
        shadows = self._service.shadows
        return JSONResponse({"object": "list", "data": [] if shadows is None else shadows.feedback.wanted()})

    async def _labelled(self, request: Request) -> Response:
        body = decoded(await read_body(AsgiBody(request.receive), RequestHeaders.of(request.scope["headers"])))
        reading = Reading()
        read = reading.read(Label, body, "")
        if reading.errors:
            wrong = reading.errors[0]
            raise SpecError(f"{wrong}; {_SHAPE}", field=wrong.field)
        given = reading.finish(read)
        if (shadows := self._service.shadows) is None:
            raise NotFound(
                "no route of this endpoint is observed, so nothing waits for labels; set `shadow: {label_days: 7}` "
                "beside the certificate of a route, and serve without --no-shadow",
                field="action",
            )
        if not _may_label(shadows.feedback.owner_of(given.action)):
            raise shadows.feedback.unknown(given.action)  # as if there were none
        needs = shadows.feedback.give(given)
        return JSONResponse(
            {
                "object": "feedback",
                "action": given.action,
                "answer": given.answer,
                "correct": given.correct,
                "needs": [*needs],
            }
        )


def _may_label(owner: tuple[str, str] | None) -> bool:
    """Whether the caller may label an action: an administrator any, others those of their key or team."""
    caller = CALLER.get()
    if caller is None or caller.key.is_admin or owner is None:
        return True
    key, team = owner
    return key == caller.key.id or bool(team and team == caller.key.team)
