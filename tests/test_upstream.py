"""Packages of others: which versions count as tested, and what they say is deprecated while they are imported."""

from __future__ import annotations

import pytest

from tierwise import upstream
from tierwise.upstream import Notice, Versions, notices, untested


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes packages of one module each importable, here and in the processes that are started."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)

    def make(name, version, source=""):
        (tmp_path / f"{name}.py").write_text(source)
        info = tmp_path / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "top_level.txt").write_text(f"{name}\n")

    return make


@pytest.mark.parametrize(
    ("here", "words"),
    [
        ("5.16", []),
        ("5.16.0rc1", []),
        ("5.24", []),
        ("5.24.0+cpu", []),
        ("5.24.0.post1", []),
        ("5.24.1", ["foreign 5.24.1 is newer than 5.24.0, the newest that was tested"]),
        ("5.100", ["foreign 5.100 is newer than 5.24.0, the newest that was tested"]),
        ("6.0.0rc1", ["foreign 6.0.0rc1 is newer than 5.24.0, the newest that was tested"]),
        ("5.9.9", ["foreign 5.9.9 is older than 5.16, the oldest that Tierwise works with"]),
    ],
)
def test_versions_are_compared_by_their_numbers(install, here, words):
    install("foreign", here)
    assert untested([Versions(package="foreign", oldest="5.16", newest="5.24.0")]) == words


def test_a_package_that_is_not_installed_is_not_untested():
    assert untested([Versions(package="no-such-package", oldest="1", newest="2")]) == []


def test_the_table_of_tested_versions_is_read():
    rows = {one.package: one for one in upstream.tested()}
    assert rows["transformers"].oldest == "5.16"
    assert upstream.version("msgspec") is not None
    assert "msgspec" in rows
    assert "pytest" not in rows  # it is no package of users


WARNS = """
import warnings
warnings.warn("old is deprecated, use new", FutureWarning, stacklevel=2)
warnings.warn("old is deprecated, use new", FutureWarning, stacklevel=2)
warnings.warn("not about versions", UserWarning, stacklevel=2)
"""


def test_what_a_package_deprecates_is_told_once_with_its_version(install):
    install("foreign", "1.2", WARNS)
    said = [Notice(package="foreign 1.2", kind="FutureWarning", text="old is deprecated, use new")]
    assert notices(["foreign", "no-such-package"]) == said


def test_threads_and_logs_are_heard_too(install):
    source = """
import logging, threading, warnings
thread = threading.Thread(target=warnings.warn, args=("in a thread", FutureWarning))
thread.start()
thread.join()
logging.getLogger("foreign.part").warning("`old` is deprecated")
logging.getLogger("foreign.part").warning("something else")
"""
    install("foreign", "1.2", source)
    assert [(one.kind, one.text) for one in notices(["foreign"])] == [
        ("FutureWarning", "in a thread"),
        ("log", "`old` is deprecated"),
    ]


def test_what_a_package_says_of_its_own_code_is_left_out_and_what_it_says_of_others_is_not(install, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "part.py").write_text(
        "import warnings\n"
        "def use():\n    warnings.warn('use is deprecated', DeprecationWarning, stacklevel=2)\n"
        "def user():\n    use()\n"
    )
    install("old", "3", "")
    (tmp_path / "old.py").unlink()
    (tmp_path / "old" / "__init__.py").write_text("from old.part import use, user\nuser()\n")
    assert notices(["old"]) == []
    install("user", "1", "import old\nold.use()\n")
    said = [Notice(package="old 3", kind="DeprecationWarning", text="use is deprecated")]
    assert notices(["user"]) == said


def test_a_package_that_cannot_be_imported_is_told_and_the_others_are_heard(install):
    install("broken", "1.0", "raise ImportError('libfoo.so is missing')")
    install("foreign", "1.2", WARNS)
    fault, notice = notices(["broken", "foreign"])
    assert fault == Notice(package="broken 1.0", kind="ImportError", text="libfoo.so is missing", is_fault=True)
    assert notice.package == "foreign 1.2"


def test_a_package_that_ends_the_process_is_told_by_its_last_words(install):
    install("deadly", "1.0", "import os, sys\nprint('out of luck', file=sys.stderr, flush=True)\nos._exit(3)")
    (fault,) = notices(["deadly"])
    assert (fault.is_fault, fault.text) == (True, "out of luck")


def test_warnings_that_are_errors_for_us_are_none_for_it(install, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    install("foreign", "1.2", WARNS)
    assert [one.is_fault for one in notices(["foreign"])] == [False]


def test_the_worker_runs_a_pass_without_a_word_of_deprecation():
    """What `make latest` is for: the day that Transformers deprecates what the worker calls, this fails."""
    for package in ("torch", "transformers"):
        pytest.importorskip(package, reason="pip install 'tierwise[transformers]' to test the Transformers worker")
    assert notices(["torch", "transformers"]) == []
