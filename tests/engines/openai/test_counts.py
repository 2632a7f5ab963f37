"""Token counts are believed only if they can be counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.engines.openai.counts import MOST_TOKENS, read_count, read_usage
from tierwise.spec.call import Usage


@pytest.mark.parametrize(("value", "count"), [(7, 7), (7.0, 7), ("7", 7), (0, 0), (MOST_TOKENS, MOST_TOKENS)])
def test_a_count_may_come_as_a_whole_float_or_as_text(value, count):
    assert read_count(value) == count


@pytest.mark.parametrize(
    "value", [None, True, -1, -1.0, 7.5, "seven", "-7", "٧", "9" * 400, MOST_TOKENS + 1, 10**400, float("inf"), [], {}]
)
def test_what_cannot_be_a_count_is_none(value):
    assert read_count(value) is None


def test_a_missing_completion_is_that_of_a_pass_that_has_not_begun():
    assert read_usage({"prompt_tokens": 5, "completion_tokens": None}) == Usage(prompt=5)
    assert read_usage({"prompt_tokens": 5, "completion_tokens": -1}) == Usage(prompt=5, exact=False)


def test_thinking_that_is_counted_apart_is_part_of_the_answers_tokens():
    details = {"completion_tokens_details": {"reasoning_tokens": 300}}
    counts = {"prompt_tokens": 7, "completion_tokens": 9, **details}
    assert read_usage({**counts, "total_tokens": 316}) == Usage(prompt=7, completion=309, reasoning=300)
    assert read_usage({**counts, "total_tokens": 16}) == Usage(prompt=7, completion=9, reasoning=9, exact=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens"]), inner, max_size=2)
    ),
)
NAMES = st.sampled_from(
    ["prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details"]
)


@given(VALUES | st.dictionaries(NAMES, VALUES))
def test_whatever_usage_is_its_counts_are_possible(value):
    usage = read_usage(value)
    if usage is not None:
        assert 0 <= usage.cached <= usage.prompt <= MOST_TOKENS
        assert 0 <= usage.reasoning <= usage.completion <= 2 * MOST_TOKENS
