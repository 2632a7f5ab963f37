"""Encodes a call as the body of a request, and knows which of its fields are ours and not the client's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from tierwise.spec import turns
from tierwise.spec.errors import Refused
from tierwise.spec.prompt import BOUNDS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from tierwise.engines.openai.failure import Failure
    from tierwise.spec.call import Call
    from tierwise.spec.json import Fields, Json
    from tierwise.spec.prompt import WrittenMessages

MULTIPLIERS = frozenset({"n", "n_cmpl", "best_of"})
"""Fields that start several passes, of which servers count one: `n_cmpl` is llama.cpp's, `best_of` vLLM's."""


class RequestEncoder:
    """Encodes calls for one deployment.

    Args:
        name: the deployment's, for error messages.
        model: sent as `model`.
        extras: fields sent with every request.
        drop: names of fields never sent, whoever sets them. Without `stream`, no request is streamed.
        translate: converts a prompt's fields to the engine's.
    """

    def __init__(
        self,
        name: str,
        model: str,
        *,
        extras: Fields,
        drop: Collection[str] = (),
        translate: Callable[[Fields], Fields] | None = None,
    ) -> None:
        self._name = name
        self._model = model
        self._extras = extras
        self._drop = frozenset(drop)
        self._translate = translate

    def streams(self, call: Call) -> bool:
        """Whether the answer to a call is requested as a stream."""
        return call.streamed and "stream" not in self._drop and not call.prompt.is_answered_whole

    async def encode(self, call: Call, *, streamed: bool = True) -> list[bytes]:
        """The body of a request, in parts. A large one is written in turn, and its messages only once.

        Raises:
            Refused: it would start several passes, or holds text that is not valid Unicode.
        """
        try:
            if call.prompt.written is None:
                return [msgspec.json.encode(self._body(call, streamed=streamed))]
            async with turns.turn():
                return self._in_parts(call, call.prompt.written, streamed=streamed)
        except UnicodeEncodeError as error:
            raise Refused(f"the request contains text that is not valid Unicode: {error}", engine=self._name) from error

    def _in_parts(self, call: Call, written: WrittenMessages, *, streamed: bool) -> list[bytes]:
        body = self._body(call, streamed=streamed)
        if body.pop("messages", None) is None:
            return [msgspec.json.encode(body)]
        messages = written.of(call.prompt.messages, msgspec.json.encode)
        rest = msgspec.json.encode(body)[1:]
        return [b'{"messages":', messages, rest if rest == b"}" else b"," + rest]

    def _body(self, call: Call, *, streamed: bool) -> dict[str, Json]:
        if call.prompt.embeds is not None:
            # What a tier sets is about answers.
            own = call.prompt.fields.keys() - call.prompt.filled - {*BOUNDS, *self._drop}
            fields = {name: call.prompt.fields[name] for name in own}
            return {**fields, "model": self._model, "input": call.prompt.embeds}
        asked = call.prompt.fields if self._translate is None else self._translate(call.prompt.fields)
        fields = {**asked, **self._extras}
        for name in MULTIPLIERS & fields.keys():
            if fields.pop(name) not in (1, None):
                why = f"{name}: a pass is one completion; request several with `n` or a policy"
                raise Refused(why, engine=self._name)
        body: dict[str, Json] = {
            **fields,
            "model": self._model,
            "messages": [dict(message) for message in call.prompt.messages],
            "stream": streamed,
            "stream_options": {
                **_mapping(call.prompt.fields.get("stream_options")),
                **_mapping(self._extras.get("stream_options")),
                "include_usage": True,
            },
        }
        if call.prompt.raw is not None:
            del body["messages"]
            raw = call.prompt.raw
            body["prompt"] = raw if isinstance(raw, str) else list(raw)
        if call.sends_seed:
            body["seed"] = call.seed
        if not streamed:
            del body["stream_options"]
        for name in self._drop & body.keys():
            del body[name]
        return body

    def fault(self, call: Call, failure: Failure) -> str:
        """What to change in our settings if a refusal is about a field that they add; empty if it is the client's."""
        words = f"{failure.message} {failure.param}"
        return next((advice for name, advice in self._ours(call) if re.search(rf"\b{re.escape(name)}\b", words)), "")

    def _ours(self, call: Call) -> Iterator[tuple[str, str]]:
        """The fields that our settings add, each with what to change. Not those that a pass can be repeated without."""
        for name in self._extras:
            yield name, f"remove {name} from `extra` of the deployment"
        for name in call.prompt.filled - call.prompt.optional:
            yield name, f"remove {name} from `sampling` of the tier, or set `drop: [{name}]` on the deployment"
        for name in ("stream_options", "include_usage"):
            yield name, "set `drop: [stream_options]` on the deployment"


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}
