"""`/v1/feedback`: labels of answers that come later, and which actions wait for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tierwise.gateway.body import AsgiBody, read_body
from tierwise.gateway.decoding import decoded
from tierwise.gateway.headers import RequestHeaders
from tierwise.keys.caller import CALLER, require_admin
from tierwise.shadowing.labels import Label
from tierwise.spec.errors import AlreadyKnown, NotFound, SpecError, Stopping, TooLate
from tierwise.spec.reading import Reading

if TYPE_CHECKING:
    from tierwise.gateway.siblings import Siblings
    from tierwise.service import Service
    from tierwise.shadowing import Shadows

FEEDBACK = "/v1/feedback"
_SHAPE = (
    'send {"action": ID, "correct": true or false, "answer": "served" or "reference"}; without `answer` it is "served"'
)


class FeedbackPage:
    """The page of one service.

    Args:
        service: its shadows take the labels.
        siblings: the other processes of the endpoint, one of which may have the shadows.
    """

    def __init__(self, service: Service, siblings: Siblings) -> None:
        self._service, self._siblings = service, siblings

    async def __call__(self, request: Request) -> Response:
        """A label, or the list of the actions that wait for one."""
        if request.method == "POST":
            return await self._labelled(request)
        require_admin(f"GET {FEEDBACK} lists actions of all keys; ask with an administrator's key")
        shadows = self._service.shadows
        wanted = [] if shadows is None else await self._known(shadows, None)
        return JSONResponse({"object": "list", "data": wanted})

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
        needs = await self._known(shadows, given)
        return JSONResponse(
            {
                "object": "feedback",
                "action": given.action,
                "answer": given.answer,
                "correct": given.correct,
                "needs": [*needs],
            }
        )

    async def _known(self, shadows: Shadows, given: Label | None) -> Any:
        """What the process that observes says of a label; without one, what waits for labels."""
        asked = [None if given is None else msgspec.to_builtins(given), _who()]
        if not shadows.is_elsewhere:
            return _result(told_of(shadows, asked))
        if not (answers := await self._siblings.gather("labels", asked)):
            raise Stopping("the process that takes labels is being replaced; ask again in a moment")
        return _result(answers[0])


def told_of(shadows: Shadows, asked: Any) -> Any:
    """Take a label, or list what waits for one, where the shadows are.

    Args:
        shadows: of this process.
        asked: the label, or None for the list; and who asks: key and team, or None for one who may label all.

    Returns:
        The result under `result`; or what was wrong: kind, message and field.
    """
    body, who = asked
    feedback = shadows.feedback
    try:
        if body is None:
            return {"result": feedback.wanted()}
        given = msgspec.convert(body, Label)
        owner = feedback.owner_of(given.action)
        if not (who is None or owner is None or owner[0] == who[0] or bool(owner[1] and owner[1] == who[1])):
            raise feedback.unknown(given.action)  # as if there were none
        return {"result": [*feedback.give(given)]}
    except SpecError as error:
        return {"error": [type(error).__name__, str(error), error.field]}


_WRONG: dict[str, type[SpecError]] = {one.__name__: one for one in (NotFound, AlreadyKnown, TooLate)}


def _result(told: Any) -> Any:
    if "error" in told:
        kind, message, field = told["error"]
        raise _WRONG.get(kind, SpecError)(message, field=field)
    return told["result"]


def _who() -> list[str] | None:
    """Key and team of the caller; None for an administrator, or where there are no keys."""
    caller = CALLER.get()
    return None if caller is None or caller.key.is_admin else [caller.key.id, caller.key.team]
