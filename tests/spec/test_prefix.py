"""What two sequences begin with alike."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from tierwise.spec.prefix import common_length

BEGINNINGS = st.tuples(*[st.text("ab", max_size=8)] * 3)


@given(BEGINNINGS)
@example(("", "", "a"))
def test_it_is_the_length_of_the_longest_common_prefix(parts):
    shared, one, other = parts
    texts = [shared + one, shared + other]
    one, other = texts
    length = common_length(one, other)
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or length == len(one) == len(other)
    assert common_length(tuple(one), tuple(other)) == length
