"""Finds the Python of a harness, which has an environment of its own, and what is installed there."""

from __future__ import annotations

import os
import shutil
import subprocess
from hashlib import file_digest
from pathlib import Path

from tierwise.spec.errors import SpecError

_SECONDS = 60.0
_ASK = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"


def python_of(variable: str, program: str, package: str) -> Path:
    """The Python that a harness is installed for.

    Args:
        variable: that names its program, if that is not on the path.
        program: its name.
        package: what to install.

    Raises:
        SpecError: there is none; the message says how to get it.
    """
    named = os.environ.get(variable) or shutil.which(program)
    python = None if named is None else beside(Path(named))
    if python is None:
        seen = f"{named!r} is not in an environment of Python" if named else f"no {program} is on the path"
        raise SpecError(
            f"{seen}: `python -m venv agent && agent/bin/pip install {package}`, and name its program in "
            f"{variable}=agent/bin/{program}",
            field="--runner",
        )
    return python


def beside(program: Path) -> Path | None:
    """The Python of the environment that a program is in; None if it is in none."""
    python = program.resolve().with_name("python")
    return python if python.exists() else None


def installed(python: Path | None, package: str, program: Path | None = None) -> dict[str, str]:
    """The version of a harness's package. Where its Python does not know it, the hash of its program stands for it.

    Raises:
        SpecError: neither is known.
    """
    if python is not None:
        try:
            asked = [str(python), "-I", "-c", _ASK, package]
            said = subprocess.run(asked, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            said = ""
        if version := said.strip():
            return {package: version}
    if program is None:
        raise SpecError(f"{python} has no package {package}: `{python} -m pip install {package}`", field="--runner")
    return {package: file_hash(program)}


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, as versions show it.

    Raises:
        SpecError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return shown(file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise SpecError(f"cannot read {path}, which the agent runs: {error.strerror}", field="--runner") from error


def shown(sha256: str) -> str:
    """A hash in the place of a version."""
    return f"sha256:{sha256[:16]}"
