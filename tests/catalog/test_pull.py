import hashlib
import os

import pytest

from tierwise.catalog import CheckpointError, cache_folder, known_hash, local_path

WEIGHTS = b"GGUF" + os.urandom(20_000)


def hash_of(content):
    return hashlib.sha256(content).hexdigest()


HASH = hash_of(WEIGHTS)


@pytest.fixture
def whole(bench):
    """The weights in one file beside the config."""
    path = bench.base / "m.gguf"
    path.write_bytes(WEIGHTS)
    return path


@pytest.fixture
def parts(bench):
    """The weights in two files; the checkpoint that joins them, pinned."""
    (bench.base / "part1.bin").write_bytes(WEIGHTS[:7_000])
    (bench.base / "part2.bin").write_bytes(WEIGHTS[7_000:])
    return bench.checkpoint("file:part1.bin", "file:part2.bin", sha256=HASH)


def remove_parts(bench):
    for path in bench.base.iterdir():
        path.unlink()


def test_a_lone_file_is_used_where_it_lies(bench, whole):
    assert bench.pull(bench.checkpoint("file:m.gguf", sha256=HASH)) == whole
    assert not (bench.cache / "checkpoints").exists()


def test_a_lone_file_is_hashed_once_and_again_when_it_was_touched(bench, whole):
    pinned = bench.checkpoint("file:m.gguf", sha256=HASH)
    assert local_path(pinned, cache=bench.cache) is None
    bench.pull(pinned)
    assert bench.steps == ["tiny: verifying m.gguf"]
    assert local_path(pinned, cache=bench.cache) == whole
    bench.pull(pinned)
    assert bench.steps == []
    os.utime(whole)
    assert local_path(pinned, cache=bench.cache) is None
    bench.pull(pinned)
    assert bench.steps == ["tiny: verifying m.gguf"]


def test_a_lone_file_with_another_hash_is_named_with_both_and_left_alone(bench, whole):
    with pytest.raises(CheckpointError, match=f"is {HASH}, expected {'0' * 64}"):
        bench.pull(bench.checkpoint("file:m.gguf", sha256="0" * 64))
    assert whole.read_bytes() == WEIGHTS


def test_a_hash_that_nobody_pinned_is_reported(bench, whole):
    open_ended = bench.checkpoint("file:m.gguf")
    assert local_path(open_ended, cache=bench.cache) == whole
    assert known_hash(open_ended, cache=bench.cache) is None
    bench.pull(open_ended)
    assert bench.steps[-1] == f"tiny: its sha256 is {HASH}; pin it in the config file"
    assert known_hash(open_ended, cache=bench.cache) == HASH


@pytest.mark.parametrize("source", ["file:other.gguf", "file:."])
def test_a_path_that_is_no_file_is_shown_in_full(bench, source):
    with pytest.raises(CheckpointError, match=str(bench.base)):
        bench.pull(bench.checkpoint(source))


def test_parts_are_joined_in_order_under_a_name_that_says_what_they_are(bench, parts):
    path = bench.pull(parts)
    assert path == bench.cache / "checkpoints" / HASH[:16] / "tiny.gguf"
    assert path.read_bytes() == WEIGHTS
    assert local_path(parts, cache=bench.cache) == path
    assert list((bench.cache / "partial").glob("*/")) == []


def test_what_was_pulled_needs_its_parts_no_more(bench, parts):
    path = bench.pull(parts)
    remove_parts(bench)
    assert bench.pull(parts) == path
    assert bench.steps == []


def test_the_reported_hash_can_be_pinned_without_pulling_again(bench, parts):
    path = bench.pull(bench.checkpoint("file:part1.bin", "file:part2.bin"))
    assert bench.steps[-1] == f"tiny: its sha256 is {HASH}; pin it in the config file"
    remove_parts(bench)
    assert bench.pull(parts) == path


def test_unpinned_parts_are_found_again_until_one_of_them_changes(bench, parts):
    unpinned = bench.checkpoint("file:part1.bin", "file:part2.bin")
    path = bench.pull(unpinned)
    assert bench.pull(unpinned) == path
    assert len(bench.steps) == 1
    (bench.base / "part2.bin").write_bytes(b"other")
    assert bench.pull(unpinned).read_bytes() == WEIGHTS[:7_000] + b"other"


def test_a_wrong_pin_keeps_what_came_for_whoever_corrects_the_pin(bench, parts):
    with pytest.raises(CheckpointError, match=f"is {HASH}, expected {'1' * 64}; it is kept as"):
        bench.pull(bench.checkpoint("file:part1.bin", "file:part2.bin", sha256="1" * 64))
    remove_parts(bench)
    assert bench.pull(parts).read_bytes() == WEIGHTS


def test_a_wrong_pin_harms_nothing_that_was_good(bench, parts):
    path = bench.pull(parts)
    with pytest.raises(CheckpointError):
        bench.pull(bench.checkpoint("file:part1.bin", "file:part2.bin", sha256="1" * 64))
    assert bench.pull(parts) == path
    assert path.read_bytes() == WEIGHTS


def test_a_damaged_file_in_the_cache_is_noticed_and_replaced(bench, parts):
    path = bench.pull(parts)
    path.write_bytes(WEIGHTS[:-1])
    assert local_path(parts, cache=bench.cache) is None
    assert bench.pull(parts).read_bytes() == WEIGHTS
    assert "tiny: tiny.gguf was damaged in the cache; fetching it again" in bench.steps


def test_a_touched_but_whole_file_in_the_cache_is_hashed_not_fetched(bench, parts):
    path = bench.pull(parts)
    os.utime(path)
    remove_parts(bench)
    assert bench.pull(parts) == path
    assert bench.steps == ["tiny: verifying tiny.gguf"]


def test_a_cache_that_moved_is_hashed_not_fetched(bench, parts):
    bench.pull(parts)
    bench.cache = bench.cache.rename(bench.cache.with_name("elsewhere"))
    remove_parts(bench)
    assert bench.pull(parts).is_relative_to(bench.cache)


def test_one_content_under_two_names_lies_in_the_cache_once(bench, parts):
    path = bench.pull(parts)
    remove_parts(bench)
    again = bench.checkpoint("file:elsewhere1.bin", "file:elsewhere2.bin", sha256=HASH, name="other")
    assert bench.pull(again) == path


def test_a_missing_part_is_said_before_the_others_are_paid_for(bench, parts):
    (bench.base / "part2.bin").unlink()
    with pytest.raises(CheckpointError, match=r"part2\.bin does not exist"):
        bench.pull(parts)
    assert bench.steps == []


def test_a_name_that_no_file_can_have_still_names_the_file(bench, parts):
    unruly = bench.checkpoint("file:part1.bin", "file:part2.bin", sha256=HASH, name="../qwen 2.5/coder.gguf")
    assert bench.pull(unruly).name == "qwen-2.5-coder.gguf"


def test_a_cache_that_may_not_be_written_says_which_variable_moves_it(bench, parts, tmp_path):
    bench.cache = tmp_path / "file"
    bench.cache.write_text("in the way")
    with pytest.raises(CheckpointError, match="TIERWISE_CACHE"):
        bench.pull(parts)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"TIERWISE_CACHE": "/one", "XDG_CACHE_HOME": "/two"}, "/one"),
        ({"XDG_CACHE_HOME": "/two"}, "/two/tierwise"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.cache/tierwise"),
        ({"HOME": "/home/me"}, "/home/me/.cache/tierwise"),
    ],
)
def test_the_cache_folder_follows_the_environment(monkeypatch, variables, folder):
    for name in ("TIERWISE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == folder
