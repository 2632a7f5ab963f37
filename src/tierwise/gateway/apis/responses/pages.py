"""`GET` and `DELETE /v1/responses/{id}`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from tierwise.keys.caller import owner_now
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from starlette.requests import Request

    from tierwise.gateway.apis.responses.store import ResponseStore


class StoredPage:
    """A stored response.

    Args:
        store: has it.
    """

    path = "/v1/responses/{response_id}"
    methods = ("GET", "DELETE")

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def __call__(self, request: Request) -> Response:
        """Shows or deletes it."""
        name, owner = request.path_params["response_id"], owner_now()
        if request.method == "DELETE":
            if not await self._store.delete_everywhere(name, owner):
                raise self._store.missing(name)
            return JSONResponse({"id": name, "object": "response", "deleted": True})
        if request.query_params.get("stream", "false") not in ("false", "0"):
            raise SpecError("stream: true is not allowed: events are not stored; leave it out", field="stream")
        await self._store.bring(name.encode(), owner)
        return Response(self._store.response(name, owner), media_type="application/json")
