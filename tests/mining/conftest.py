"""A cache of environments that install nothing, and a repository that is mined once for all tests of a file."""

from __future__ import annotations

import json
import sys

import pytest

from mining.made_repositories import COPY, flat, mine
from tierwise.verifiers.sandbox import backend
from tierwise.workloads.files import load


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of environments for all tests of this file; they install pytest by copying it."""
    if backend().name == "none":
        pytest.skip(backend().reason)
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("TIERWISE_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def install(tmp_path_factory):
    script = tmp_path_factory.mktemp("install") / "copy.py"
    script.write_text(COPY)
    return f"{sys.executable} {script}"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory, install, cache):
    """The flat repository, mined: its folder, the workload, and what was printed."""
    folder = tmp_path_factory.mktemp("shapes")
    made = flat(folder / "shapes")
    issues = [
        {"number": 9, "title": "Ten times", "body": "We need join()."},
        {"number": 1, "title": "no", "body": None},
    ]
    (folder / "issues.json").write_text(json.dumps(issues))
    said = mine(made.folder, folder / "out", install, "--limit", 4, "--issues", folder / "issues.json",
                "--released", "2025-07-09")  # fmt: skip
    return made, load(folder / "out"), said
