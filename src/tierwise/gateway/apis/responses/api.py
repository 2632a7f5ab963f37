"""`POST /v1/responses`: read into a chat request, which tiers answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.gateway.apis.api import Request
from tierwise.gateway.apis.responses.fields import Asked, chat_fields, renamed, validated
from tierwise.gateway.apis.responses.items import Messages
from tierwise.gateway.apis.responses.objects import Frame
from tierwise.gateway.apis.responses.output import Output
from tierwise.gateway.apis.responses.reading import refuse
from tierwise.gateway.apis.responses.tools import Tools
from tierwise.gateway.apis.responses.writer import ResponseWriter
from tierwise.gateway.decoding import decoded
from tierwise.gateway.reply import failure
from tierwise.gateway.wire import SMALL_BYTES, read_translated
from tierwise.keys.caller import owner_now
from tierwise.spec import turns
from tierwise.spec.errors import SpecError

if TYPE_CHECKING:
    from tierwise.gateway.apis.responses.store import ResponseStore
    from tierwise.spec.errors import TierwiseError
    from tierwise.spec.json import Json

RESPONSES = "/v1/responses"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Translated:
    """A request, and the chat request that it becomes."""

    asked: Asked
    chat: dict[str, Any]
    tools: Tools
    before: tuple[bytes, ...]
    """The stored conversation that it continues."""
    items: list[Any]
    """Its own input items, without references."""
    is_stored: bool


class Responses:
    """The API.

    Args:
        store: of responses that requests may continue.
    """

    path = RESPONSES

    def __init__(self, store: ResponseStore) -> None:
        self._store = store

    async def read(self, body: bytes | bytearray) -> Request:
        """Parse, validate and translate a body.

        Raises:
            SpecError: it is invalid, or has no counterpart in a chat request; the error names the field.
        """
        owner = owner_now()
        is_large = len(body) > SMALL_BYTES
        await self._store.bring(body, owner)
        made = await turns.made(lambda: self._translated(body, owner), is_large=is_large)
        try:
            parsed = await read_translated(made.chat, is_large=is_large)
        except SpecError as error:
            raise renamed(error) from error
        if made.tools.left_out:
            left_out = ", ".join(dict.fromkeys(made.tools.left_out))
            parsed = replace(parsed, notes=(f"{left_out} runs only at OpenAI: the model was not offered it",))
        return Request(parsed=parsed, writer=lambda action, created: self._writer(made, owner, action, created))

    def failure(self, error: TierwiseError, usage: Json = None) -> Json:
        """An error in OpenAI's format."""
        return failure(error, usage)

    def _translated(self, body: bytes | bytearray, owner: str) -> _Translated:
        asked = validated(decoded(body))
        if asked.store and not self._store.is_on:
            raise refuse("store", "true, but `stored_responses.count` of this endpoint is 0; send false")
        tools = Tools()
        for index, tool in enumerate(asked.tools or ()):
            tools.add(tool, f"tools[{index}]")
        previous = asked.previous_response_id
        before = () if previous is None else self._store.segments(previous, owner)
        items = self._items(asked, owner)
        if not items and not before:
            raise refuse("input", "is missing; send a string, or a list of items")
        messages = Messages()
        if asked.instructions:
            messages.instruct(asked.instructions)
        for segment in before:
            for item in msgspec.json.decode(segment):
                messages.add(item, "previous_response_id")
        for index, item in enumerate(items):
            messages.add(item, f"input[{index}]")
        chat = {**chat_fields(asked, tools), "messages": messages.list()}
        is_stored = self._store.is_on and asked.store is not False
        return _Translated(asked=asked, chat=chat, tools=tools, before=before, items=items, is_stored=is_stored)

    def _items(self, asked: Asked, owner: str) -> list[Any]:
        """The input items, with stored ones in the place of references."""
        if isinstance(asked.input, str):
            return [{"role": "user", "content": asked.input}] if asked.input else []
        items: list[Any] = []
        for index, item in enumerate(asked.input):
            if isinstance(item, dict) and _is_reference(item):
                where = f"input[{index}].id"
                if not isinstance(name := item.get("id"), str):
                    raise refuse(where, "is missing; send the id of a stored item")
                items.append(self._store.item(name, owner, where))
            else:
                items.append(item)
        return items

    def _writer(self, made: _Translated, owner: str, action: str, created: int) -> ResponseWriter:
        asked = made.asked
        response = f"resp_{action.removeprefix('act_')}"

        def keep(output: Sequence[Any], done: dict[str, Any]) -> None:
            if made.is_stored:
                value = msgspec.json.encode(done)
                done["store"] = self._store.put(response, owner, value, made.before, [*made.items, *output])

        frame = Frame(response, created, asked, made.is_stored)
        output = Output(
            action,
            made.tools,
            is_summary=asked.sends_summary,
            is_sealed=asked.sends_sealed,
            has_logprobs=asked.wants_logprobs,
        )
        return ResponseWriter(frame, output, keep)


def _is_reference(item: dict[str, Any]) -> bool:
    """Whether an item only refers to a stored one. Its type may be left out."""
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "id" in item and "role" not in item)
