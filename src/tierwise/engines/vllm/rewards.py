"""The client of a reward model on vLLM. A pass is a conversation that ends with an answer, and it brings logits.

`/classify` takes `messages` and renders them with the model's chat template. With `use_activation: false` its `probs`
are the logits themselves (vLLM 0.32.0, entrypoints/pooling/classify, model_executor/layers/pooler/seqwise/heads.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tierwise.engines.engine import PassOn
from tierwise.engines.openai.client import ChatClient
from tierwise.engines.openai.counts import read_usage
from tierwise.engines.openai.wire import json_of
from tierwise.spec.call import Chunk, Usage
from tierwise.spec.errors import Misconfigured

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from typing import Unpack

    from tierwise.engines.openai.failure import Failure
    from tierwise.engines.served.client import ClientOptions
    from tierwise.spec.call import Call
    from tierwise.spec.errors import EngineError
    from tierwise.spec.json import Fields

_NO_PATH = (404, 405, 501)
_LARGEST = 3.5e38  # of the type float32; that of NaN compares false


class RewardClient(ChatClient):
    """Has conversations graded. A pass has `scores`, prompt tokens, and no output.

    Args:
        name: the deployment's, for error messages.
        model: the server's name for the model.
        options: see `ClientOptions`; those about answers are not used.
    """

    def __init__(self, name: str, model: str, **options: Unpack[ClientOptions]) -> None:
        super().__init__(
            name,
            model,
            api_key=options.get("api_key"),
            silent_seconds=options.get("silent_seconds", 600.0),
            proxy=options.get("proxy"),
            drop=("stream", "seed"),
            translate=_only_logits,
        )

    async def blocks(
        self,
        base_url: str,
        call: Call,
        *,
        at_once: bool = False,  # noqa: ARG002 - there is only one chunk
        pass_on: PassOn | None = None,  # noqa: ARG002
    ) -> AsyncGenerator[Sequence[Chunk], None]:
        """Run one pass, which is one chunk. Closing the generator aborts it."""
        body = await self._request.encode(call, streamed=False)
        document = await self._document(f"{base_url.removesuffix('/v1')}/classify", body, base_url, call)
        try:
            yield [read_grade(document)]
        except ValueError as error:
            raise self._garbled(str(error)) from error

    def _error(self, failure: Failure, base_url: str, call: Call) -> EngineError:
        if failure.status not in _NO_PATH:
            return super()._error(failure, base_url, call)
        what = f"deployment {self._name!r} has no /classify ({failure.status}: {failure.message})"
        advice = "serve a sequence classifier there, with vLLM's `--runner pooling`, or remove `rewards: true`"
        return Misconfigured(f"{what}; {advice}", engine=self._name)


def _only_logits(fields: Fields) -> Fields:  # noqa: ARG001 - nothing that the client asks of an answer is for a grade
    return {"use_activation": False}


class _Grade(msgspec.Struct):
    probs: list[Any]


class _Grades(msgspec.Struct):
    data: list[_Grade]
    usage: Any = None


def read_grade(body: bytes) -> Chunk:
    """The answer to one conversation.

    Raises:
        ValueError: it has none, several, or others than finite numbers.
    """
    try:
        said = msgspec.convert(json_of(body), type=_Grades)
    except ValueError as error:
        raise ValueError(
            f"sent {body[:120].decode(errors='replace')!r}, which is no classification: {error}"
        ) from error
    if len(said.data) != 1:
        raise ValueError(f"sent {len(said.data)} grades for one conversation")
    scores = said.data[0].probs
    if scores and all(isinstance(one, list) for one in scores):
        raise ValueError(
            f"sent {len(scores)} vectors of scores, as a process reward model does for each step; serve a model that "
            "grades the whole answer"
        )
    if not scores or not all(type(one) in (int, float) and abs(one) <= _LARGEST for one in scores):
        raise ValueError(f"sent {str(scores)[:80]} instead of finite scores")
    usage = read_usage(said.usage) or Usage(exact=False)
    return Chunk(scores=tuple(map(float, scores)), finish="stop", usage=usage)
