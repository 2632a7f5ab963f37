"""Files that people and earlier runs wrote become values, or errors that name the file and the line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.files import (
    MOST_ERRORS,
    Document,
    decode_json,
    decode_json_lines,
    json_document,
    numbered_lines,
    read_text,
    read_yaml,
)


def read_json(path: Path, what: str) -> Document:
    return json_document(read_text(path, what), str(path))


class Task(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    tokens: int = 0


class Run(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str
    tasks: list[Task] = []


def test_text_is_read_without_its_byte_order_mark(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes("\ufeffname: é".encode())
    assert read_text(path, "run") == "name: é"
    assert read_yaml(path, "run").convert(Run) == Run(name="é")
    path.write_bytes(b'\xef\xbb\xbf{"name": "a"}')
    assert read_json(path, "run").convert(Run) == Run(name="a")


@pytest.mark.parametrize(
    ("raw", "seen"),
    [
        (b"a: 1\nb: \xff\n", "line 2 is not UTF-8 (byte 0xff)"),
        (b"\xef\xbb\xbfa: 1\n\n\xc3(", "line 3 is not UTF-8 (byte 0xc3)"),
        ("a: 1".encode("utf-16"), "line 1 is not UTF-8 (it looks like UTF-16)"),
    ],
)
def test_a_file_that_is_not_utf8_is_named_with_the_line(tmp_path, raw, seen):
    path = tmp_path / "run.yaml"
    path.write_bytes(raw)
    with pytest.raises(SpecError) as failure:
        read_text(path, "run", field="--run")
    assert str(failure.value) == f"run {path} cannot be read: {seen}; save it as UTF-8"
    assert failure.value.field == "--run"


def test_a_missing_file_comes_with_advice(tmp_path):
    with pytest.raises(NotFound) as failure:
        read_text(tmp_path / "none.yaml", "run", advice="write one")
    assert str(failure.value) == f"there is no run {tmp_path / 'none.yaml'}; write one"
    with pytest.raises(NotFound, match=r"there is no run .*none\.yaml$"):
        read_text(tmp_path / "none.yaml", "run")


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(SpecError) as failure:
        read_yaml(tmp_path, "run")
    assert str(failure.value) == f"run {tmp_path} cannot be read: it is a folder, not a file"


def test_a_file_that_the_system_does_not_read_says_why():
    with pytest.raises(SpecError, match="run /proc/self/mem cannot be read: Input/output error"):
        read_yaml(Path("/proc/self/mem"), "run")


def test_a_name_that_no_system_takes_says_why(tmp_path):
    with pytest.raises(SpecError, match="cannot be read: embedded null byte"):
        read_text(tmp_path / "a\0b", "run")
    with pytest.raises(SpecError, match="cannot be read: File name too long"):
        read_text(tmp_path / ("a" * 300), "run")


def errors(document, kind) -> list[str]:
    assert document.convert(kind) is None
    with pytest.raises(ConfigErrors) as failure:
        document.done()
    return str(failure.value).split("\n")


def test_all_that_is_wrong_with_a_yaml_file_is_raised_at_once_with_its_lines(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("nam: x\ntasks:\n- id: a\n- {id: b, tokens: many,\n   size: 3}\n- id: c\n  id: d\n")
    assert errors(read_yaml(path, "run"), Run) == [
        "run.yaml:7: tasks[2].id: appears twice, on lines 6 and 7; give each key once",
        "run.yaml:1: nam: unknown key; did you mean 'name'? allowed: name, tasks",
        "run.yaml:4: tasks[1].tokens: Expected `int`, got `str`",
        "run.yaml:5: tasks[1].size: unknown key; allowed: id, tokens",
        "run.yaml:1: the key 'name' is missing",
    ]


def test_all_that_is_wrong_with_a_json_file_is_raised_at_once_with_its_lines(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{\n"tasks": [{"id": "a", "id": "b"},\n{"id": 3}]\n}')
    assert errors(read_json(path, "run"), Run) == [
        f"{path}:2: tasks[0].id: appears twice; give each key once",
        f"{path}:3: tasks[1].id: Expected `str`, got `int`",
        f"{path}:1: the key 'name' is missing",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ('{"name": "a"\n,}', "run.json:2: not JSON: column 2: expecting property name enclosed in double quotes"),
        ('{"name":\nNaN}', "run.json:2: not JSON: NaN is not a JSON number"),
        ("[" * 100_000, "not JSON: it is nested too deeply"),
        ("null", "run.json:1: Expected `object`, got `null`"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_names_the_file_and_the_line(tmp_path, text, said):
    path = tmp_path / "run.json"
    path.write_text(text)
    (error,) = errors(read_json(path, "run"), Run)
    assert error.startswith(str(path))
    assert error.endswith(said)


def test_an_empty_yaml_value_is_an_error_like_any_other(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("\n~\n")
    assert errors(read_yaml(path, "run"), Run) == ["run.yaml:2: Expected `object`, got `null`"]


def test_an_error_in_what_has_no_line_of_its_own_gets_that_of_what_is_around_it(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("name: a\ntasks:\n- id: b\n")
    document = read_yaml(path, "run")
    assert document.place("tasks[0].size[3].x") == "run.yaml:3"
    assert document.place("tasks[4]") == "run.yaml:2"
    assert document.place("none") == "run.yaml:1"


def test_json_from_a_command_line_has_no_lines():
    assert errors(json_document('{"nam": 1}', "--run", line=None), Run) == [
        "--run: nam: unknown key; did you mean 'name'? allowed: name, tasks",
        "--run: the key 'name' is missing",
    ]
    assert errors(json_document("{", "--run", line=None), Run)[0].startswith("--run: not JSON: column 2: ")


def test_lines_are_numbered_as_an_editor_does_and_blank_ones_left_out():
    assert list(numbered_lines("a\n\n \nb\u2028c\x85\r\nd")) == [(1, "a"), (4, "b\u2028c\x85\r"), (5, "d")]


def test_records_are_read_at_once():
    assert decode_json(b'{"name": "a"}', Run, "run.json") == Run(name="a")
    assert decode_json_lines(b'{"id": "a"}\n\n{"id": "b"}\n', Task, "tasks.jsonl") == [Task(id="a"), Task(id="b")]
    assert decode_json_lines(b"", Task, "tasks.jsonl") == []


def test_records_that_cannot_be_read_are_named_with_their_lines():
    with pytest.raises(ConfigErrors) as failure:
        decode_json_lines(b'{"id": "a"}\n{"id": 1, "x": 2}\n\nhello\n', Task, "tasks.jsonl")
    assert str(failure.value).split("\n") == [
        "tasks.jsonl:2: id: Expected `str`, got `int`",
        "tasks.jsonl:2: x: unknown key; allowed: id, tokens",
        "tasks.jsonl:4: not JSON: column 1: expecting value",
    ]
    with pytest.raises(ConfigErrors, match=r"run\.json:2: tasks\[0\]\.id: Expected `str`, got `int`"):
        decode_json(b'{"name": "a",\n"tasks": [{"id": 1}]}', Run, "run.json")
    with pytest.raises(SpecError, match=r"tasks\.jsonl cannot be read: line 2 is not UTF-8 \(byte 0xff\)"):
        decode_json_lines(b'{"id": "a"}\n{"id": "\xff"}', Task, "tasks.jsonl")


def test_a_file_of_broken_records_does_not_flood_the_terminal():
    with pytest.raises(ConfigErrors) as failure:
        decode_json_lines(b"{}\n" * 1000, Task, "tasks.jsonl")
    found = failure.value.errors
    assert len(found) == MOST_ERRORS + 1
    assert str(found[-1]) == "and 980 more errors"
