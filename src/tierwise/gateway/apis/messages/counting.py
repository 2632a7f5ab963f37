"""`POST /v1/messages/count_tokens`: the tokens of a prompt. No pass runs, so nothing is recorded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tierwise.engines.engine import CountsTokens
from tierwise.gateway.addressing import addressed
from tierwise.gateway.apis.messages.api import Messages
from tierwise.gateway.apis.messages.reading import WISHES, chat_value, converted
from tierwise.gateway.apis.messages.schema import Counted
from tierwise.gateway.body import read_body
from tierwise.gateway.decoding import decoded
from tierwise.gateway.exchange import HungUp
from tierwise.gateway.headers import RequestHeaders
from tierwise.gateway.refusing import Refusals
from tierwise.gateway.reply import encoded, send_encoded
from tierwise.gateway.wire import SMALL_BYTES, read_translated
from tierwise.keys.caller import CALLER
from tierwise.keys.limiter import check_model
from tierwise.spec import turns
from tierwise.spec.errors import Refused, TierwiseError

if TYPE_CHECKING:
    from tierwise.gateway.exchange import Exchange
    from tierwise.gateway.metrics import Metrics
    from tierwise.service import Service

COUNT = "/v1/messages/count_tokens"


class TokenCounting:
    """Counts for one service.

    Attributes:
        refusals: its error responses.
    """

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self.refusals = Refusals(Messages())
        self._service, self._metrics = service, metrics

    async def __call__(self, exchange: Exchange) -> None:
        given = RequestHeaders.of(exchange.headers)
        action = self._service.new_trace().action
        ids = {"x-request-id": given.request_id or action, "request-id": action}
        try:
            tokens = await self._count(await read_body(exchange, given))
        except HungUp:
            return
        except TierwiseError as error:
            self._metrics.refused(self.refusals.status(error))
            await self.refusals.send(exchange, error, ids, request=action)
            return
        await send_encoded(exchange, 200, encoded({"input_tokens": tokens}), ids)

    async def _count(self, body: bytes | bytearray) -> int:
        """The tokens of the prompt of a body, on the deployment of the tier that it names."""
        is_large = len(body) > SMALL_BYTES
        value = await turns.made(lambda: chat_value(converted(decoded(body), Counted)), is_large=is_large)
        asked = await read_translated(value, is_large=is_large)
        parsed = addressed(asked, self._service.router)
        if (caller := CALLER.get()) is not None:
            check_model(caller, parsed.model)
        tier = self._service.router.route(parsed.model)
        prompt = replace(parsed.prompt, optional=WISHES).by_default(tier.sampling)
        deployment = tier.deployment
        if not isinstance(deployment.engine, CountsTokens):
            raise Refused(
                f"deployment {deployment.name!r} cannot count the tokens of a prompt; send it with max_tokens 1, and "
                "usage.input_tokens has them",
                engine=deployment.name,
            )
        try:
            return await deployment.engine.count_tokens(prompt)
        except Refused as error:  # without the wishes that it may be about
            if not WISHES & prompt.fields.keys() or not any(name in str(error) for name in WISHES):
                raise
            return await deployment.engine.count_tokens(prompt.without(*WISHES))
