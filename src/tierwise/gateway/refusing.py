"""How an API refuses: an error as a complete response, in its own format and with its own status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tierwise.gateway.apis.api import OwnErrors
from tierwise.gateway.failures import headers_of, status_of
from tierwise.gateway.reply import encoded, send_encoded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.gateway.apis.api import Api
    from tierwise.gateway.exchange import Exchange
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json


class Refusals:
    """The error responses of one API.

    Attributes:
        own: the API, if its errors have statuses of their own and name the request.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self.own = api if isinstance(api, OwnErrors) else None

    def status(self, error: TierwiseError) -> int:
        """The HTTP status of an error."""
        return status_of(error).http if self.own is None else self.own.status(error)

    def body(self, error: TierwiseError, usage: Json = None, *, request: str = "") -> bytes:
        """The body of an error.

        Args:
            error: what is answered.
            usage: the spending so far.
            request: the id of the request; empty if it has none yet.
        """
        failure = self._api.failure if self.own is None else self.own.failure_of(request)
        return encoded(failure(error, usage))

    async def send(
        self,
        exchange: Exchange,
        error: TierwiseError,
        headers: Mapping[str, str],
        usage: Json = None,
        *,
        request: str = "",
    ) -> None:
        """Send an error as a complete response.

        Args:
            exchange: what is answered.
            error: the answer.
            headers: besides those of the error.
            usage: as of `body`.
            request: as of `body`.
        """
        body = self.body(error, usage, request=request)
        await send_encoded(exchange, self.status(error), body, {**headers, **headers_of(error)})
