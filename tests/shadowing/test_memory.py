"""The files beside the ledger: damaged, full, shared by several endpoints, and older than texts may be."""

from __future__ import annotations

import logging
import stat

import msgspec
import pytest

from observed_routes import certificate
from tierwise.shadowing.memory import KeptTexts, ShadowMemory
from tierwise.shadowing.watching import Observed, WatchState

DAY = 86_400.0


def state(*, alarm=False, **certified):
    found = WatchState.fresh(certificate(**certified))
    for _ in range(40 if alarm else 1):
        found = found.after(Observed(action="act_1", differs=alarm, strata={}))
    assert bool(found.alarm) == alarm
    return found


def test_states_are_read_as_they_were_written(tmp_path):
    ShadowMemory(tmp_path / "s.json").write({"auto": state()})

    assert ShadowMemory(tmp_path / "s.json").read() == {"auto": state()}


def test_without_a_file_nothing_is_stored():
    ShadowMemory().write({"auto": state()})

    assert ShadowMemory().read() == {}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"auto": {}}', b"\xff", b'{"auto": {"certificate": 1}}'])
def test_a_damaged_file_is_logged_and_begins_anew(tmp_path, caplog, content):
    (tmp_path / "s.json").write_bytes(content)

    assert ShadowMemory(tmp_path / "s.json").read() == {}
    assert "cannot be read" in caplog.text


def test_a_limit_that_was_changed_by_hand_to_nonsense_is_a_damaged_file(tmp_path, caplog):
    ShadowMemory(tmp_path / "s.json").write({"auto": state()})
    changed = msgspec.json.decode((tmp_path / "s.json").read_bytes())
    changed["auto"]["promise"]["limit"] = 7
    (tmp_path / "s.json").write_bytes(msgspec.json.encode(changed))

    assert ShadowMemory(tmp_path / "s.json").read() == {}
    assert "cannot be read" in caplog.text


def test_a_folder_that_cannot_be_written_is_logged(tmp_path, caplog):
    with caplog.at_level(logging.ERROR):
        ShadowMemory(tmp_path / "none" / "s.json").write({"auto": state()})

    assert "cannot be written" in caplog.text


def test_an_alarm_of_another_endpoint_and_its_routes_are_kept(tmp_path):
    one, other = ShadowMemory(tmp_path / "s.json"), ShadowMemory(tmp_path / "s.json")
    one.write({"auto": state(alarm=True), "mine": state()})
    other.write({"auto": state()})

    assert other.read() == {"auto": state(alarm=True), "mine": state()}
    other.write({"auto": state(limit=0.2)})
    assert not other.read()["auto"].alarm  # another certificate


def lines(path):
    return [msgspec.json.decode(line)["n"] for line in path.read_bytes().splitlines()]


def test_texts_are_removed_once_they_are_too_old(tmp_path):
    path = tmp_path / "t.jsonl"
    texts = KeptTexts(path)
    for day in range(5):
        texts.add({"n": day}, day * DAY, 2)

    assert lines(path) == [2, 3, 4]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["t.jsonl"]
    KeptTexts(path).forget(9 * DAY, 0)
    assert not path.exists()


def test_a_clock_that_is_set_back_keeps_no_text_for_longer(tmp_path):
    path = tmp_path / "t.jsonl"
    texts = KeptTexts(path)
    for day in (100, 3, 4):  # at first the clock was wrong
        texts.add({"n": day}, day * DAY, 2)
    assert lines(path) == [3, 4]


def test_lines_that_cannot_be_read_are_removed_too(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'not json\n{"n": 1}\n{"at": "x", "n": 2}\n')
    KeptTexts(path).add({"n": 3}, 10 * DAY, 1)

    assert lines(path) == [3]


def test_texts_that_cannot_be_kept_are_logged(tmp_path, caplog):
    KeptTexts(tmp_path / "none" / "t.jsonl").add({"n": 1}, 0.0, 1)
    KeptTexts(tmp_path / "t.jsonl").add({"n": object()}, 0.0, 1)

    assert caplog.text.count("are not kept") == 2
