"""The kinds of traffic that an action belongs to, and the size of its request."""

from __future__ import annotations

import pytest

from tierwise.policies import Single
from tierwise.shadowing.answered import Answered, size_of, strata_of
from tierwise.testing import ScriptedEngine, ask_user, solve


def answered(*, tokens=3, **fields):
    answer, trace = solve(Single(), engine=ScriptedEngine("4", prompt_tokens=tokens))
    return Answered(route="auto", action="act_1", prompt=ask_user("2+2?", **fields), answer=answer, passes=trace.passes)


@pytest.mark.parametrize(
    ("tokens", "band"), [(1, "1 to 1"), (3, "2 to 3"), (256, "256 to 511"), (511, "256 to 511"), (512, "512 to 1023")]
)
def test_prompts_are_grouped_by_powers_of_two_of_their_tokens(tokens, band):
    assert strata_of(answered(tokens=tokens)) == {"tier": "tier", "prompt tokens": band}


@pytest.mark.parametrize("key", ["task", "label"])
def test_a_name_in_the_metadata_is_a_kind_of_traffic(key):
    assert strata_of(answered(metadata={key: "team-a/sums:2"}))[key] == "team-a/sums:2"


@pytest.mark.parametrize("value", ["", "Please call Jane Doe", "x" * 41, "new\nline", 7, None, ["a"], "größe"])
def test_a_text_in_the_metadata_is_none_because_an_alarm_shows_it_to_everyone(value):
    assert "task" not in strata_of(answered(metadata={"task": value}))


@pytest.mark.parametrize("metadata", [None, "text", [1], 5])
def test_metadata_of_another_form_is_ignored(metadata):
    assert set(strata_of(answered(metadata=metadata))) == {"tier", "prompt tokens"}


def test_the_size_of_a_request_counts_its_texts():
    part = {"type": "image_url", "image_url": {"url": "x" * 1000}}

    assert size_of(({"role": "user", "content": [part, {"type": "text", "text": "abc"}]},)) == 1000 + 3 + 4 + 9 + 4
    assert size_of(({"role": "assistant", "content": None, "n": 5},)) == 9
