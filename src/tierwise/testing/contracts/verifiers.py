"""The contract of verifiers, for any completion: a verdict and never an exception, a score in [0, 1], stable keys."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import strategies as st

from tierwise.spec.call import Completion
from tierwise.testing.contracts.contract import Contract, with_data
from tierwise.verifiers import BaseVerifier

completions = st.builds(
    Completion,
    text=st.text(max_size=60)
    | st.sampled_from(["", "4", "The answer is 4.", "```python\nx = 1\n```", '{"a": 1}', "\0"]),
    reasoning=st.text(max_size=10),
    tool_calls=st.sampled_from([(), ({"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},)]),
    finish=st.sampled_from(["stop", "length", "tool_calls", "content_filter"]),
)


class VerifierContract(Contract):
    """Subclass it and set the three lists."""

    verifiers: ClassVar[Sequence[BaseVerifier]]
    """Some of yours, with different settings."""
    accepts: ClassVar[Sequence[tuple[BaseVerifier, str]]]
    """Pairs of a verifier and an answer that it accepts."""
    rejects: ClassVar[Sequence[tuple[BaseVerifier, str]]]
    """Pairs of a verifier and an answer that it rejects."""

    def test_it_accepts_and_rejects_the_listed_answers(self) -> None:
        for is_good, cases in ((True, self.accepts), (False, self.rejects)):
            for verifier, text in cases:
                verdict = asyncio.run(verifier.verify(Completion(text=text)))
                assert verdict.ok is is_good, f"{verifier} on {text!r}: {verdict}"

    @with_data
    def test_it_returns_a_verdict_for_any_completion(self, data: st.DataObject) -> None:
        verifier = data.draw(st.sampled_from(self.verifiers))
        verdict = asyncio.run(verifier.verify(data.draw(completions)))
        assert isinstance(verdict.ok, bool)
        assert math.isfinite(verdict.score)
        assert 0 <= verdict.score <= 1
        assert isinstance(verdict.why, str)

    @with_data
    def test_equal_answers_have_equal_keys(self, data: st.DataObject) -> None:
        verifier, completion = data.draw(st.sampled_from(self.verifiers)), data.draw(completions)
        key = verifier.key(completion)
        assert key is None or isinstance(key, str)
        assert verifier.key(completion) == key
        assert verifier.key(Completion(text="")) is None

    def test_it_round_trips_through_a_config_file(self) -> None:
        for verifier in self.verifiers:
            settings: Any = msgspec.to_builtins(verifier)
            assert msgspec.convert(settings, type(verifier)) == verifier
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({**settings, "unknown_setting": 1}, type(verifier))
            with pytest.raises(AttributeError):
                verifier.anything = 1  # type: ignore[attr-defined]
