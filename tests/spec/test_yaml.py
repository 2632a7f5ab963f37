"""YAML in which every name stands once and every value knows its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.reading import Reading
from tierwise.spec.yaml import read_yaml

FILE = """\
tiers:
  fast:
    policy: single
  max: {policy: single,
        budget: {passes: 3}}
routes:
- auto
- [a,
   b]
"""


def read(text: str):
    reading = Reading()
    value, lines = read_yaml(text, reading)
    return value, lines, [(error.field, str(error)) for error in reading.errors]


def test_every_path_knows_its_line():
    value, lines, errors = read(FILE)
    assert errors == []
    assert value["routes"] == ["auto", ["a", "b"]]
    assert lines == {
        "": 1, "tiers": 1, "tiers.fast": 2, "tiers.fast.policy": 3, "tiers.max": 4, "tiers.max.policy": 4,
        "tiers.max.budget": 5, "tiers.max.budget.passes": 5, "routes": 6, "routes[0]": 7, "routes[1]": 8,
        "routes[1][0]": 8, "routes[1][1]": 9,
    }  # fmt: skip


def test_a_name_that_stands_twice_is_wrong_wherever_it_does():
    _, _, errors = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\nl:\n- {x: 1, x: 2}\n")
    assert errors == [
        ("b.c", "stands twice, at line 3 and at line 5; names are given once"),
        ("a", "stands twice, at line 1 and at line 6; names are given once"),
        ("l[0].x", "stands twice, at line 8 and at line 8; names are given once"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("# only this", "the file is empty"),
        ("a: b: c", "not YAML: line 1, column 5: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", "not YAML: line 2, column 1: found character '\\t' that cannot start any token"),
        ("a: *b", "not YAML: line 1, column 4: found undefined alias 'b'"),
        ("a: &a [*a]", "not YAML: a[0] holds itself; an alias may only name what stands elsewhere"),
        ("a: 1\n---\nb: 2", "not YAML: line 2, column 1: but found another document"),
        ("a: 2024-13-45", "not YAML: month must be in 1..12"),
        ("a: " + "[" * 3000, "not YAML: it nests too deep"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text, said):
    value, _, errors = read(text)
    assert (value, errors) == (None, [("", said)])


@pytest.mark.parametrize(
    "text", ["a: !!python/object/apply:os.system [ls]", "a: !!python/name:os.system", "a: !mine 3"]
)
def test_no_tag_runs_anything(text):
    value, _, ((_, said),) = read(text)
    assert value is None
    assert "could not determine a constructor for the tag" in said


@given(st.text("ab:[]{}&*!-?|>'\"\n\t #,1.é\x00\\", max_size=40) | st.text(max_size=20))
def test_no_text_breaks_the_reading(text):
    read(text)
