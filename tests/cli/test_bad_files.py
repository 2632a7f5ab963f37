"""Whatever verb reads a file, one that cannot be read ends it with exit code 2 and names the file, and the line."""

from __future__ import annotations

import sys

import pytest

from tierwise import cli

READERS = {
    "config file": ("tierwise.yaml", ("check", "{}")),
    "workload": ("tasks.jsonl", ("workload", "check", "{}")),
    "workload.yaml": ("workload.yaml", ("workload", "check", "{}")),
    "another tool's log": ("log.json", ("import", "{}", "--out", "{}.runs")),
    "policy of a gate": ("gate.yaml", ("gate", "run", "--against", "run", "--policy", "{}")),
}


@pytest.fixture(params=READERS)
def tierwise(request, tmp_path, monkeypatch, capsys):
    """Gives a file's content to a verb that reads it; what it says, and the file's name."""
    name, arguments = READERS[request.param]
    monkeypatch.chdir(tmp_path)

    def run(content: bytes | None):
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["tierwise", *(word.format(path) for word in arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 2
        return capsys.readouterr().err, name

    return run


def test_bytes_that_are_no_text(tierwise):
    said, name = tierwise(b"name: a\nwhat: \xff\n")
    assert name in said
    assert "line 2 is not UTF-8 (byte 0xff); save it as UTF-8" in said


def test_utf16(tierwise):
    said, name = tierwise('{"a": 1}'.encode("utf-16"))
    assert name in said
    assert "it looks like UTF-16" in said


def test_nothing(tierwise):
    said, name = tierwise(b"")
    assert name in said
    assert "empty" in said or "has no tasks" in said


def test_what_nests_too_deep(tierwise):
    said, name = tierwise(b"[" * 100_000)
    assert f"{name}" in said
    assert "it is nested too deeply" in said


def test_what_breaks_off(tierwise):
    said, name = tierwise(b'\n\n{"a": [1, 2}')
    assert f"{name}:3: not " in said


def test_a_key_that_is_given_twice(tierwise):
    said, name = tierwise(b'{"id": "a", "id": "b"}')
    assert f"{name}:1: id: appears twice; give each key once" in said


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_a_number_that_is_none(tierwise, number):
    said, name = tierwise(f'{{"a": {number}}}'.encode())
    assert name in said


def test_a_byte_order_mark_is_no_mistake(tierwise):
    said, name = tierwise(b'\xef\xbb\xbf{"id": "a", "id": "b"}')
    assert f"{name}:1: id: appears twice" in said


def test_a_folder_in_its_place(tierwise):
    said, name = tierwise(None)
    assert name in said
    assert (
        "it is a folder, not a file" in said
        or "there is no workload" in said
        or "no .eval or .json or .jsonl file of results" in said
    )
