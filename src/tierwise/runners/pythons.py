"""Finds the Python of a harness, which has an environment of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tierwise.spec.errors import SpecError


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
    python = None if named is None else Path(named).resolve().with_name("python")
    if python is None or not python.exists():
        seen = f"{named!r} is not in an environment of Python" if named else f"no {program} is on the path"
        raise SpecError(
            f"{seen}: `python -m venv agent && agent/bin/pip install {package}`, and name its program in "
            f"{variable}=agent/bin/{program}",
            field="--runner",
        )
    return python
