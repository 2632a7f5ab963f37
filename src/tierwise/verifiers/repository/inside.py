"""Runs the tests of a repository in the sandbox: unpacks it, applies an answer, starts the tests, reads their results.

It is never imported: the sandbox gets it as text, where Tierwise is not installed. stdin is a line of JSON, then two
tar files: the repository, and the test files that lie over it. stdout is one line of JSON.
"""

# This /tmp is private, and stdout is where the result goes:
# ruff: noqa: S108, T201
from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

REPOSITORY = Path("/tmp/repo")
RESULTS = Path("/tmp/results.xml")
OUTPUT = Path("/tmp/output.txt")
PATCH = Path("/tmp/answer.diff")
TAIL = 6000
MOST_FAILURES = 20
WORST = {"passed": 0, "skipped": 1, "failed": 2}

Given = dict[str, Any]


def unpack(packed: bytes, wanted: re.Pattern[str] | None = None) -> None:
    if not packed:
        return
    with tarfile.open(fileobj=io.BytesIO(packed)) as file:
        members = [one for one in file if wanted is None or wanted.search(one.name)]
        if hasattr(tarfile, "data_filter"):
            file.extractall(REPOSITORY, members, filter="tar")
        else:
            file.extractall(REPOSITORY, members)  # noqa: S202 -- in a private /tmp


def tests_there(is_test: re.Pattern[str]) -> list[Path]:
    return [one for one in REPOSITORY.rglob("*") if is_test.search(one.relative_to(REPOSITORY).as_posix())]


def apply(edits: list[dict[str, str]]) -> str:
    """Why an answer cannot be applied; empty if it was."""
    for edit in edits:
        if "diff" in edit:
            if why := apply_diff(edit["diff"]):
                return why
            continue
        place = REPOSITORY / edit["path"]
        if not place.resolve().is_relative_to(REPOSITORY):
            return f"{edit['path']} is outside of the repository"
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(edit["content"], encoding="utf-8", errors="surrogatepass")
        except OSError as error:
            return f"{edit['path']} cannot be written: {error.strerror}"
    return ""


def apply_diff(diff: str) -> str:
    """Apply a unified diff: exactly, then with fuzz; paths with one leading folder, then without."""
    PATCH.write_text(diff, encoding="utf-8", errors="surrogateescape")
    said = ""
    for level in ("1", "0"):
        exact = ["git", "apply", f"-p{level}", "--recount", "--whitespace=nowarn", str(PATCH)]
        fuzzy = ["patch", f"-p{level}", "--batch", "--forward", "--fuzz=3", "--no-backup-if-mismatch", "-i", str(PATCH)]
        for line in (exact, fuzzy):
            if line is fuzzy:
                tried = subprocess.run([*fuzzy, "--dry-run"], cwd=REPOSITORY, capture_output=True, check=False)
                if tried.returncode:
                    continue
            done = subprocess.run(line, cwd=REPOSITORY, capture_output=True, check=False)
            if done.returncode == 0:
                return ""
            said = said or (done.stderr or done.stdout).decode(errors="replace").strip().split("\n", 1)[0]
    return f"the patch does not apply: {said}"


def run(given: Given) -> Given:
    environment = {**os.environ, **given["environment"]}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with OUTPUT.open("wb") as output:
        try:
            done = subprocess.run(
                given["command"],
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
            code = done.returncode
        except OSError as error:
            code = 127
            output.write(f"{given['command'][0]}: {error.strerror}\n".encode())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcomes, failures, skips = read(RESULTS)
    return {
        "exit_code": code,
        "seconds": time.monotonic() - began,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "outcomes": outcomes,
        "failures": failures,
        "skips": skips,
        "has_results": RESULTS.exists(),
        "tail": OUTPUT.read_bytes()[-TAIL:].decode(errors="replace"),
    }


def read(path: Path) -> tuple[dict[str, str], list[str], list[str]]:
    """The outcome of each test in a JUnit XML file, and what the first failures and skipped tests say."""
    outcomes: dict[str, str] = {}
    failures: list[str] = []
    skips: list[str] = []
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))  # noqa: S314 -- see above
    except (OSError, ET.ParseError):
        return outcomes, failures, skips
    for case in cases:
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        name = identity(case.get("file") or "", case.get("classname") or "", case.get("name") or "")
        if WORST[outcome] >= WORST[outcomes.get(name, "passed")]:
            outcomes[name] = outcome
        if outcome == "failed" and len(failures) < MOST_FAILURES:
            for child in case:
                said = child.text or ""
                failures.append("\n".join([child.get("message") or "", said[:1500], said[1500:][-1500:]]))
        if outcome == "skipped" and len(skips) < MOST_FAILURES:
            skips += [child.get("message") or child.text or "" for child in case if child.tag == "skipped"]
    return outcomes, failures, skips


def identity(file: str, classes: str, name: str) -> str:
    """A test as pytest names it, `tests/test_a.py::TestB::test_c`, where the file says so; else `class::name`."""
    module = re.sub(r"\.py$", "", file).replace("/", ".")
    if not file or not (classes == module or classes.startswith(f"{module}.")):
        return f"{classes}::{name}" if classes else name
    return "::".join([file, *filter(None, classes[len(module) + 1 :].split(".")), name])


def main() -> None:
    given = json.loads(sys.stdin.buffer.readline())
    base = sys.stdin.buffer.read(given["base"])
    tests = sys.stdin.buffer.read(given["tests"])
    REPOSITORY.mkdir()
    unpack(base)
    if given["edits"]:
        for tool in ("git", "patch"):
            if shutil.which(tool) is None:
                print(json.dumps({"missing": tool}))
                return
        if why := apply(given["edits"]):
            print(json.dumps({"refused": why}))
            return
        is_test = re.compile(given["is_test"])  # what an answer does to tests does not count
        for one in sorted(tests_there(is_test), reverse=True):
            if not one.is_dir() or one.is_symlink():
                one.unlink()
        unpack(base, is_test)
    for path in given["removed"]:
        (REPOSITORY / path).unlink(missing_ok=True)
    unpack(tests)
    print(json.dumps(run(given)))


if __name__ == "__main__":
    main()
