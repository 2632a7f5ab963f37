"""Third-party graders that evaluate model output: they run in the sandbox only.

SymPy's `parse_expr` is Python's `eval`, and several scorers of reasoning-gym call `eval` by name: an answer such as
`__import__("os").system(…)` is executed. They can read only the files of their own package.
"""

from __future__ import annotations

import secrets
from typing import Any

import msgspec

from tierwise.spec.errors import SpecError, TierwiseError
from tierwise.spec.json import Json
from tierwise.verifiers.packages import files_of, is_installed
from tierwise.verifiers.sandbox import MIB, PACKAGES, Limits, run_for_grade

_RUN = """
import json, os, sys
sys.path.append({packages!r})
given = json.loads({given!r})
def begin():
    os.write(1, b"\\n")
def report(value, word={word!r}):
    os.write(1, ("\\n" + word + json.dumps(value) + "\\n").encode())
"""

MEMORY = 2048 * MIB
"""Address-space limit: numpy's libraries reserve much and use little."""


class LimitExceeded(Exception):
    """The grader exceeded a limit; the message names it."""


async def run_contained(program: str, given: Any, *, distribution: str, extra: str, seconds: float) -> Json:
    """Run a program in the sandbox and return the JSON value that it passes to `report(value)`.

    It calls `begin()` once it has imported what it needs: importing a package takes seconds on a busy machine, and is
    nothing that the answer can help.

    Args:
        program: runs after a prelude that defines `given`, `begin` and `report`, and makes the package importable.
        given: its JSON input.
        distribution: the package that it needs, by its pip name.
        extra: the extra of Tierwise that installs it.
        seconds: CPU seconds from `begin()` on.

    Raises:
        LimitExceeded: it exceeded the time or memory limit.
        TierwiseError: the package is missing, there is no sandbox, the machine is overloaded, or the program failed.
    """
    if not is_installed(distribution):
        raise SpecError(needs(distribution, extra))
    word = secrets.token_hex(16)
    text = msgspec.json.encode(given).decode()
    source = _RUN.format(packages=PACKAGES, given=text, word=word) + program
    limits = Limits.of_grade(seconds, MEMORY)
    done = await run_for_grade(source, limits=limits, packages=files_of(distribution), prepares=True)
    said = [line[len(word) :] for line in done.stdout.splitlines() if line.startswith(word)]
    if said and not done.stopped:
        value: Json = msgspec.json.decode(said[-1])
        return value
    if done.stopped:
        raise LimitExceeded(f"stopped: {done.stopped}")
    lines = (done.stderr.strip() or f"exit code {done.exit_code}").splitlines()
    # Python 3.13 lacks the memory to print the error itself, and names its type a few lines before the last.
    if limit := next((line for line in lines[-6:] if "MemoryError" in line or "RecursionError" in line), None):
        raise LimitExceeded(f"stopped: {limit[:80]}")
    last = lines[-1]
    raise TierwiseError(f"{distribution} failed: {last[:200]}")


def needs(distribution: str, extra: str) -> str:
    """The error message for a missing package."""
    return f"the package {distribution} is not installed; install it with: pip install 'tierwise[{extra}]'"
