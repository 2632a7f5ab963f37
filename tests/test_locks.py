"""The locks in requirements/ hold what pyproject.toml asks for, each file by its hash and none by an address."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tierwise import upstream

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "requirements"
LOCKS = sorted(path.stem for path in FOLDER.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]


def text(name):
    """A lock's own text and that of the locks it starts from."""
    own = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return "".join([own, *(text(other) for other in re.findall(r"^-r (\S+)\.txt$", own, re.MULTILINE))])


def locked(name):
    """Requirement and hashes of each package."""
    blocks = re.findall(r"^(\w[^\\\n]*?)(?: \\)?\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)*)", text(name), re.MULTILINE)
    return [(Requirement(line), re.findall(r"sha256:[0-9a-f]{64}", hashes)) for line, hashes in blocks]


def versions(name):
    found = {}
    for requirement, _ in locked(name):
        (one,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(one.version)
    return found


def missing(wanted, name):
    """Requirements that a lock does not satisfy."""
    have = versions(name)
    return [
        line
        for line in wanted
        for one in [Requirement(line)]
        if not (found := have.get(canonicalize_name(one.name))) or not all(map(one.specifier.contains, found))
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_is_pinned_with_hashes_and_nothing_says_where_it_comes_from(name):
    packages = locked(name)
    assert packages
    assert [str(one) for one, hashes in packages if not hashes or not str(one.specifier).startswith("==")] == []
    assert re.findall(r"://|^--(?!hash)|(?<![\w.])/\w|@ ", text(name), re.MULTILINE) == []


@pytest.mark.parametrize("extra", [*(name for name in EXTRAS if name != "dev"), "core"])
def test_what_an_extra_asks_for_is_in_its_lock(extra):
    assert missing([*PROJECT["project"]["dependencies"], *EXTRAS.get(extra, [])], extra) == []


def test_the_tests_lock_holds_every_extra_and_all_but_the_libraries_for_gpus():
    wanted = [*PROJECT["project"]["dependencies"], *(line for lines in EXTRAS.values() for line in lines)]
    assert missing(wanted, "tests") == []
    assert [name for name in versions("tests") if re.match("nvidia|cuda|triton", name)] == []
    assert "nvidia-cublas" in versions("cuda")


def test_what_builds_tierwise_is_locked():
    assert missing(PROJECT["build-system"]["requires"], "build") == []


def test_locks_of_one_environment_agree():
    tests = versions("tests") | versions("cuda")
    for name in [*EXTRAS.keys() - {"dev"}, "core", "quickstart"]:
        differing = {one for one, found in versions(name).items() if found != tests.get(one)}
        assert differing == set(), name


def test_torchs_builds_for_cpus_may_be_taken_wherever_torch_is_locked():
    ((torch, hashes),) = locked("torch-cpu")
    assert str(torch.specifier).endswith("+cpu")
    for name in ("tests", "transformers", "vllm"):
        (found,) = (all_hashes for one, all_hashes in locked(name) if one.name == "torch")
        assert set(hashes) < set(found)
        assert versions(name)["torch"] == {str(torch.specifier).removeprefix("==").partition("+")[0]}


def test_the_table_of_tested_versions_is_that_of_the_lock():
    wanted = [*PROJECT["project"]["dependencies"], *(line for name in EXTRAS.keys() - {"dev"} for line in EXTRAS[name])]
    allowed = {canonicalize_name(one.name): one.specifier for one in map(Requirement, wanted)}
    have = versions("tests")
    rows = upstream.tested()
    assert [one.package for one in rows] == sorted(allowed)
    for one in rows:
        assert f">={one.oldest}" in str(allowed[one.package])
        assert one.newest in have[one.package]


def test_make_latest_takes_every_extra():
    (listed,) = re.findall(r"--editable '\.\[(.*)\]'", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert sorted(listed.split(",")) == sorted(EXTRAS)
