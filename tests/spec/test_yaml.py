"""YAML in which every key is given once and every value knows its line."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tierwise.spec.errors import SpecError
from tierwise.spec.files import read_yaml, yaml_document

BOMB = "a0: &a0 [1, 1, 1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9))
"""A few hundred bytes that stand for 400 million values."""

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
    document = yaml_document(text, "tierwise.yaml")
    return document.value, document.lines, [(error.field, str(error)) for error in document.placed()]


def test_every_path_knows_its_line():
    value, lines, errors = read(FILE)
    assert errors == []
    assert value["routes"] == ["auto", ["a", "b"]]
    assert lines == {
        "": 1, "tiers": 1, "tiers.fast": 2, "tiers.fast.policy": 3, "tiers.max": 4, "tiers.max.policy": 4,
        "tiers.max.budget": 5, "tiers.max.budget.passes": 5, "routes": 6, "routes[0]": 7, "routes[1]": 8,
        "routes[1][0]": 8, "routes[1][1]": 9,
    }  # fmt: skip


def test_a_repeated_key_is_wrong_at_any_depth():
    _, _, errors = read("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\nl:\n- {x: 1, x: 2}\n")
    assert errors == [
        ("tierwise.yaml:5: b.c", "appears twice, on lines 3 and 5; give each key once"),
        ("tierwise.yaml:6: a", "appears twice, on lines 1 and 6; give each key once"),
        ("tierwise.yaml:8: l[0].x", "appears twice; give each key once"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ": the file is empty"),
        ("# only this", ": the file is empty"),
        ("a: b: c", ":1: not YAML: column 5: mapping values are not allowed here"),
        ("a: 1\n\tb: 2", ":2: not YAML: column 1: found character '\\t' that cannot start any token"),
        ("a: *b", ":1: not YAML: column 4: found undefined alias 'b'"),
        ("a: &a\n  [*a]", ":1: not YAML: a[0] contains itself; an alias must refer to a value outside of it"),
        ("a: 1\n---\nb: 2", ":2: not YAML: column 1: but found another document"),
        ("a: !!timestamp 2024-13-45", ": not YAML: month must be in 1..12"),
        ("a: " + "[" * 3000, ": not YAML: it is nested too deeply"),
        ("b: 1\na: !!float x", ": not YAML: could not convert string to float: 'x'"),
        (BOMB, ": holds more than 20,000 values"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text, said):
    value, _, errors = read(text)
    where, _, what = said.partition(": ")
    assert (value, errors) == (None, [(f"tierwise.yaml{where}", what)])


@pytest.mark.parametrize("number", [".nan", "-.inf", "1.0e+999"])
def test_a_number_must_be_finite(number):
    assert read(f"a: 1\nb: {number}")[2] == [("tierwise.yaml:2: b", f"{number} is not a finite number")]


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


def aliased(first: str, each: str, times: int) -> str:
    """Anchors of which each refers to the one before it."""
    lines = [f"a0: &a0 {first}", *(f"a{n}: &a{n} {each.replace('*', f'*a{n - 1}')}" for n in range(1, times))]
    return "\n".join(lines)


ATTACKS = {
    "aliases in lists": BOMB,
    "aliases in merges": aliased("{k0: 1, k1: 2}", "{<<: [*, *, *, *, *, *, *, *, *, *]}", 9),
    "aliases under long keys": aliased(f"{{{'k' * 200}: x}}", f"{{{'k' * 200}: *, {'l' * 200}: *}}", 16),
    "a chain of aliases": aliased("{b: 1}", "{x: *}", 3000),
    "open brackets": "[" * 200_000,
    "open braces": "{" * 200_000,
    "a list in a list": "- " * 200_000,
    "keys in keys": "? " * 200_000,
    "a number of sixties": "a: 1" + ":0" * 200_000,
    "a number of digits": "a: " + "1" * 400_000,
    "many values": "- x\n" * 400_000,
    "a long text": "x" * 3_000_000,
}

READ = """
import re, sys
from pathlib import Path
from tierwise.spec.files import yaml_document
document = yaml_document(sys.stdin.read(), "tierwise.yaml")
assert not document.is_readable
print(document.errors[0])
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_text_takes_long_or_much_memory(text):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", READ], input=text, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    error, kilobytes = done.stdout.splitlines()
    assert len(error) < 200
    assert int(kilobytes) < 150_000
    assert after.ru_utime - before.ru_utime < 10  # seconds of CPU; the slowest takes 2


def test_a_file_that_never_ends_is_not_read_to_its_end(tmp_path):
    with pytest.raises(SpecError, match="is too large; the most is 4,194,304 bytes"):
        read_yaml(Path("/dev/zero"), "config file")
    with (tmp_path / "sparse.yaml").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(SpecError, match="is too large"):
        read_yaml(tmp_path / "sparse.yaml", "config file")


def test_a_date_is_a_text_as_it_is_in_json():
    assert yaml_document("{day: 2026-11-30, since: 2026}", "file.yaml").value == {"day": "2026-11-30", "since": 2026}
