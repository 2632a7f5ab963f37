"""The files of an installed package and its dependencies. Only these are mounted in a sandbox, because other installed
packages may hold private data.
"""

from __future__ import annotations

import functools
import re
from importlib import metadata
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def is_installed(distribution: str) -> bool:
    """Whether a package is installed, by its pip name."""
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


@functools.cache
def files_of(distribution: str) -> tuple[Path, ...]:
    """Top-level files and folders in site-packages of a package and its dependencies.

    Raises:
        PackageNotFoundError: it is not installed. Missing dependencies are skipped.
    """
    found: dict[str, tuple[Path, ...]] = {}
    waiting = [distribution]
    while waiting:
        name = waiting.pop()
        if name.lower() in found:
            continue
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if name == distribution:
                raise
            continue
        root = Path(str(package.locate_file(""))).resolve()
        tops = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
        found[name.lower()] = tuple(root / top for top in sorted(tops) if (root / top).exists())
        for line in package.requires or ():
            wanted = _NAME.match(line)
            if wanted is not None and "extra ==" not in line:
                waiting.append(wanted[0])
    return tuple(sorted({path for paths in found.values() for path in paths}))
