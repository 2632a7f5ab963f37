"""Runs the tests of a state of a repository in the sandbox, offline, and says how each test ended."""

from __future__ import annotations

import functools
import json
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.verifiers.repository.answer import Edit, as_json
from tierwise.verifiers.repository.environment import PLACE, REPOSITORY, Environment
from tierwise.verifiers.sandbox import MIB, Limits, run_for_grade
from tierwise.verifiers.sandbox.view import Mount, programs

IS_TEST = r"(?:^|/)(?:tests?/.*|test_[^/]*\.py|[^/]*_test\.py|conftest\.py)$"
"""Paths that belong to the tests: an answer's changes to them do not count."""
IS_MODULE = r"(?:^|/)(?:test_[^/]*|[^/]*_test)\.py$"
"""Test files that a runner is given."""
RESULTS = "/tmp/results.xml"  # noqa: S108 -- in the sandbox
GIB = 1024 * MIB

_MAKERS = ("tox", "nox")
Outcome = Literal["passed", "failed", "skipped"]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """A state of a repository: a tar file, changes to it, and test files that lie over both."""

    base: bytes
    edits: list[Edit] = []
    tests: bytes = b""
    removed: list[str] = []
    """Test files that go before those of `tests` come."""


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of the tests gave."""

    outcomes: dict[str, Outcome] = {}
    failures: list[str] = []
    """Messages and last lines of the first failures."""
    skips: list[str] = []
    """Why the first skipped tests were."""
    refused: str = ""
    """Why the answer could not be applied, so that nothing ran."""
    missing: str = ""
    """A program that this machine lacks, so that nothing ran."""
    exit_code: int = 0
    has_results: bool = False
    tail: str = ""
    """The end of what the runner printed."""
    stopped: str = ""
    """The limit that ended it."""
    seconds: float = 0.0
    """Of the tests, without setting up."""
    cpu_seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    @property
    def passed(self) -> set[str]:
        return self.ended("passed")

    def ended(self, outcome: Outcome) -> set[str]:
        """The names of the tests with this outcome."""
        return {name for name, found in self.outcomes.items() if found == outcome}


def command_of(tests: str, files: Sequence[str]) -> list[str]:
    """The command line of a run.

    Args:
        tests: as the user gave it. `{junit}` and `{files}` are the path of the results, which any runner may write in
            JUnit's XML format, and the files to run. pytest gets both without them.
        files: paths of test files, or folders; empty for the whole suite. Within a longer word, as in `sh -c`, they are
            quoted for a shell.

    Raises:
        SpecError: it is no command, or it names no `{junit}` and is not pytest.
    """
    try:
        words = shlex.split(tests)
    except ValueError as error:
        raise SpecError(f"{tests!r} is not a command: {error}", field="--tests") from error
    if not words:
        raise SpecError('is empty; give a command such as "pytest -q"', field="--tests")
    if words[0] in _MAKERS or (words[1:2] == ["-m"] and words[2:3] and words[2] in _MAKERS):
        raise SpecError(
            f"{tests!r} makes environments of its own, for which the sandbox has no network; give the command that it "
            "runs in them, such as pytest -q, and what it installs as --install COMMAND",
            field="--tests",
        )
    ours = is_pytest(tests)
    if not ours and not any("{junit}" in word for word in words):
        raise SpecError(
            f"{tests!r} is not pytest, so it must say where its results go: a runner that writes JUnit's XML format, "
            'such as "python run.py --xml {junit} {files}"; pytest runs tests of unittest, too',
            field="--tests",
        )
    if ours:
        extra = ["-o", "junit_family=xunit1", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
        extra += [] if "--rootdir" in tests else ["--rootdir=."]  # names of tests are paths from here, in a package too
        words += extra + ([] if "{junit}" in tests else ["--junitxml={junit}"])
        words += [] if "{files}" in tests else ["{files}"]
    line: list[str] = []
    for word in words:
        line += files if word == "{files}" else [word.replace("{junit}", RESULTS).replace("{files}", shlex.join(files))]
    return line


def is_pytest(tests: str) -> bool:
    """Whether a command of tests runs pytest."""
    words = tests.split()
    return words[0] in ("pytest", "py.test") or words[1:3] == ["-m", "pytest"]


async def run_tests(state: State, command: Sequence[str], environment: Environment, seconds: float) -> Ran:
    """Run tests once.

    Args:
        state: what they run on.
        command: from `command_of`.
        environment: what is installed.
        seconds: of elapsed time, and of CPU time on each of four cores.

    Raises:
        TierwiseError: nothing is known about the state: no sandbox, an overloaded machine, a missing program.
    """
    own = {
        "PATH": f"{PLACE}/bin:/usr/local/bin:/usr/bin:/bin",
        "VIRTUAL_ENV": PLACE,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    given = {
        "base": len(state.base),
        "tests": len(state.tests),
        "edits": as_json(state.edits),
        "removed": state.removed,
        "is_test": IS_TEST,
        "command": list(command),
        "environment": own,
    }
    stdin = json.dumps(given).encode() + b"\n" + state.base + state.tests  # msgspec refuses what is no UTF-8
    limits = Limits(
        seconds=seconds,
        cpu_seconds=4 * seconds,
        memory_bytes=8 * GIB,
        processes=256,
        output_bytes=16 * MIB,
        scratch_bytes=2 * GIB,
        files=200_000,
        open_files=1024,
        ipc=True,
    )
    done = await run_for_grade(_inside(), limits=limits, shown=_shown(environment), stdin=stdin)
    if done.stopped:
        return Ran(stopped=done.stopped, seconds=done.seconds, cpu_seconds=done.cpu_seconds)
    line = done.stdout.rpartition("\n{")[2] if "\n{" in done.stdout else done.stdout.removeprefix("{")
    try:
        ran = msgspec.json.decode("{" + line, type=Ran)
    except msgspec.DecodeError as error:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.exit_code}"])[-1]
        raise TierwiseError(f"the tests could not be started in the sandbox: {said}") from error
    if ran.missing:
        raise TierwiseError(f"{ran.missing} is not installed on this machine, and applies an answer; install it")
    return ran


@functools.cache
def _inside() -> str:
    return Path(__file__).with_name("inside.py").read_text(encoding="utf-8")


_SETTINGS = ("passwd", "group", "hosts")


def _shown(environment: Environment) -> list[Mount]:
    """What tests see of this machine: programs, the interpreter, the environment, and their own processes."""
    rows: list[Mount] = [*programs(*_SETTINGS), ("processes", "", "/proc")]
    if not environment.prefix.is_relative_to("/usr"):
        rows.append(("files", str(environment.prefix), str(environment.prefix)))
    rows.append(("files", str(environment.folder), PLACE))
    return rows


_HINTS: Mapping[str, str] = {
    r"Read-only file system|Errno 30": f"writes outside of its folder: in the sandbox only {REPOSITORY} "
    "and /tmp can be written",
    r"Temporary failure in name resolution|Name or service not known|Network is unreachable|Errno 101"
    r"|NewConnectionError|gaierror": "needs the network, which the sandbox does not have",
    r"Connection refused|ECONNREFUSED|Errno 111|Connect call failed": "needs a service that is not running",
    r"No module named '?([\w.]+)": "lacks the module {0}; name it in the repository's test requirements, or "
    "give --install",
    r"(?:No such file or directory|not found)[^\n]*/proc/": "needs /proc, which this machine does not let a sandbox "
    "mount, as in a container with a masked one (docker: --security-opt systempaths=unconfined)",
    r"(?:not found|No such file or directory): '([\w.-]+)'": "lacks the program or file {0}",
    r"unrecognized arguments: ([^\n]+)": "pytest does not know {0}: a plugin is missing, or --tests is wrong",
}
_PORTS = {
    "5432": "PostgreSQL",
    "3306": "MySQL",
    "6379": "Redis",
    "27017": "MongoDB",
    "9200": "Elasticsearch",
    "5672": "RabbitMQ",
}


def _end(code: int) -> str:
    """How a process ended, in words; below 0 it is the number of a signal."""
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"exit code {code}"


def reason(ran: Ran) -> str:
    """The likely reason for which tests failed, in a clause; empty if none is known."""
    if ran.stopped:
        return {"time": "ran into the time limit; give more --seconds", "cpu": "ran into the limit of CPU time"}.get(
            ran.stopped, f"was stopped by the sandbox's limit of {ran.stopped}"
        )
    for said in [*ran.failures, ran.tail]:
        for pattern, words in _HINTS.items():
            if found := re.search(pattern, said):
                service = [name for port, name in _PORTS.items() if re.search(rf"\b{port}\b", said)]
                named = f" ({', '.join(service)})" if service and "service" in words else ""
                return words.format(*found.groups()) + named
    last = next(reversed(ran.tail.strip().splitlines()), "it printed nothing")[:200]
    if not ran.has_results:
        return f"wrote no results ({_end(ran.exit_code)}): {last}"
    for said in ran.failures:
        lines = [line.strip() for line in said.split("\n") if line.strip()]
        errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E  ")]
        if shown := (errors or lines)[:1]:
            return f"fails with {shown[0][:200]!r}"
    if not ran.outcomes and ran.exit_code:
        return f"ran no test ({_end(ran.exit_code)}): {last}"
    return f"skips tests: {ran.skips[0][:200]!r}" if ran.skips else ""
