"""A new file is whole or absent, and never takes the place of another."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tierwise.setup.output import require_new, write_new
from tierwise.spec.errors import SpecError


def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path):
    write_new(tmp_path / "a.yaml", "tiers: {}\n")
    assert (tmp_path / "a.yaml").read_text() == "tiers: {}\n"
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]


def test_it_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_new(tmp_path / "a.yaml", "x")
    assert stat.S_IMODE((tmp_path / "a.yaml").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.mark.parametrize("kind", ["file", "folder", "link to nowhere"])
def test_what_is_there_is_refused_by_name_and_left_alone(tmp_path, kind):
    place = tmp_path / "a.yaml"
    {
        "file": lambda: place.write_text("mine"),
        "folder": place.mkdir,
        "link to nowhere": lambda: place.symlink_to(tmp_path / "gone"),
    }[kind]()
    for step in (require_new, lambda path: write_new(path, "other")):
        with pytest.raises(SpecError, match=r"a\.yaml exists and is never overwritten; .* with --out"):
            step(place)
    assert [one.name for one in tmp_path.iterdir()] == ["a.yaml"]
    assert kind != "file" or place.read_text() == "mine"


def test_a_file_that_appears_while_the_other_is_written_wins(tmp_path):
    require_new(tmp_path / "a.yaml")
    (tmp_path / "a.yaml").write_text("quicker")
    with pytest.raises(SpecError, match="exists and is never overwritten"):
        write_new(tmp_path / "a.yaml", "slower")
    assert (tmp_path / "a.yaml").read_text() == "quicker"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("none/a.yaml", "none does not exist; create it, or name another file with --out"),
        ("taken/a.yaml", "taken is not a folder"),
    ],
)
def test_a_folder_that_is_none_is_refused_before_anything_is_asked(tmp_path, place, message):
    (tmp_path / "taken").touch()
    with pytest.raises(SpecError, match=message):
        require_new(tmp_path / place)


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked():
    with pytest.raises(SpecError, match=r"/proc/a\.yaml cannot be written: .*; name a writable place"):
        require_new(Path("/proc/a.yaml"))


def test_a_disk_without_hard_links_will_do(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    write_new(tmp_path / "a.yaml", "whole")
    assert (tmp_path / "a.yaml").read_text() == "whole"
    with pytest.raises(SpecError, match="exists and is never overwritten"):
        write_new(tmp_path / "a.yaml", "other")
    assert (tmp_path / "a.yaml").read_text() == "whole"
