"""Answers that are JSON matching a schema."""

from __future__ import annotations

from typing import Any

from tierwise.spec.ask import Verdict
from tierwise.spec.call import Completion
from tierwise.verifiers.answers import answer_key, json_in, spoken
from tierwise.verifiers.base import BaseVerifier, accepted, rejected


class JsonSchema(BaseVerifier, frozen=True, kw_only=True):
    """The answer is JSON that matches this schema."""

    kind = "json_schema"
    text_cost = 16

    schema: dict[str, Any] | bool
    """A JSON Schema of the draft in its `$schema`, else the newest.

    A schema that can never be applied is refused: a pattern of ECMA-262 that RE2 cannot match (look-around,
    back-references), a `$ref` that leads out of the schema or round in a circle, and `unevaluatedProperties` together
    with `patternProperties`."""

    def __post_init__(self) -> None:
        from tierwise.verifiers.schemas import require_sound  # noqa: PLC0415 - see readers.py

        require_sound(self.schema)

    def key(self, completion: Completion) -> str | None:
        return answer_key(completion, "json")

    async def verify(self, completion: Completion) -> Verdict:
        from tierwise.verifiers.schemas import first_error  # noqa: PLC0415 - see readers.py

        try:
            value = json_in(spoken(completion))
        except ValueError:
            return rejected("not JSON")
        wrong = first_error(self.schema, value)
        return accepted("matches the schema") if wrong is None else rejected(wrong)
