"""Where the paths of a JSON text stand, which keys are repeated, and why a text is not JSON."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.json_text import has_repeated_keys, paths, why_not_json

TEXT = """\

{
  "run": {"id": "a{\\"b[", "seconds": [1.5,
    null]},
  "empty": {}, "none": [],
  "tasks": [
    {"id": 1},

    {"id": 2}
  ]
}
"""


def test_every_path_knows_its_line():
    assert {path: line for path, line, _ in paths(TEXT)} == {
        "": 2, "run": 3, "run.id": 3, "run.seconds": 3, "run.seconds[0]": 3, "run.seconds[1]": 4,
        "empty": 5, "none": 5, "tasks": 6, "tasks[0]": 7, "tasks[0].id": 7, "tasks[1]": 9, "tasks[1].id": 9,
    }  # fmt: skip


def test_a_part_of_a_file_counts_from_its_first_line():
    assert list(paths('{"a": 1}', 7)) == [("", 7, None), ("a", 7, None)]


def test_a_repeated_key_tells_the_line_of_the_one_before_it():
    text = '{"a": 1,\n"b": {"a": 2, "c": 3,\n"c": 4},\n"a": 5}'
    assert has_repeated_keys(text)
    assert [found for found in paths(text) if found[2] is not None] == [("b.c", 3, 2), ("a", 4, 1)]


def test_the_same_key_in_two_objects_is_no_repetition():
    assert not has_repeated_keys('[{"a": {"a": 1}}, {"a": 2}]')


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ('{"a": 1\n"b": 2}', 2, "column 1: expecting ',' delimiter"),
        ('{"a":\n[1, 2', 2, "column 6: expecting ',' delimiter"),
        ("{'a': 1}", 1, "column 2: expecting property name enclosed in double quotes"),
        ('{"a": 1}\n{"b": 2}', 2, "column 1: extra data"),
        ('{"a": "x\ty"}', 1, "column 9: invalid control character at"),
        ('{"a": 1,\n\n"é": NaN}', 3, "NaN is not a JSON number"),
        ('{"a": -Infinity}', 1, "-Infinity is not a JSON number"),
        ('{"a": 1e999}', None, "Number out of range"),
        ('{"a": "\\ud800"}', None, "a string holds half of a surrogate pair, such as \\ud800 alone"),
        ("[" * 100_000, None, "it is nested too deeply"),
    ],
)
def test_the_place_and_the_reason_are_told(text, line, reason):
    with pytest.raises((msgspec.DecodeError, RecursionError)) as failure:
        msgspec.json.decode(text)
    assert why_not_json(text, failure.value) == (line, reason)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def places(value: object, path: str = "") -> list[str]:
    """All paths of a value, in the order of its text."""
    inner = []
    if isinstance(value, dict):
        inner = [(f"{path}.{name}" if path else name, one) for name, one in value.items()]
    elif isinstance(value, list):
        inner = [(f"{path}[{position}]", one) for position, one in enumerate(value)]
    return [path, *(place for where, one in inner for place in places(one, where))]


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_the_paths_are_those_of_the_value_however_it_is_written(value, indent, is_ascii):
    text = json.dumps(value, indent=indent, ensure_ascii=is_ascii)
    assert [path for path, _, _ in paths(text)] == places(value)


@given(st.text('{}[]:,"\\ \n1eE.-atrufslnN', max_size=20))
def test_no_text_breaks_the_explanation(text):
    try:
        msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        line, reason = why_not_json(text, error)
        assert reason
        assert line is None or 1 <= line <= text.count("\n") + 1
