"""Model families: one YAML file per family, here and in the user's folder.

To add a family, add a file to this folder, or to the one in `$TIERWISE_FAMILIES`, whose files override built-in ones of
the same name. `family.py` defines the format.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

from tierwise.catalog.families.family import (
    ActiveExperts,
    EngineName,
    EngineSupport,
    Family,
    ThinkingSupport,
    Variant,
    Weights,
    read_family,
)
from tierwise.spec.errors import ConfigErrors, NotFound, SpecError
from tierwise.spec.reading import allowed

__all__ = [
    "ActiveExperts",
    "EngineName",
    "EngineSupport",
    "Family",
    "ThinkingSupport",
    "Variant",
    "Weights",
    "families",
    "family",
    "family_of",
    "read_family",
]


def families() -> Mapping[str, Family]:
    """Every family by name; read on first use, and again if `$TIERWISE_FAMILIES` changes.

    Raises:
        ConfigErrors: all errors of all files, with file and line.
        SpecError: `$TIERWISE_FAMILIES` is not a folder.
    """
    return _read_all(os.environ.get("TIERWISE_FAMILIES", ""))


def family(name: str) -> Family:
    """The family of a name, case-insensitively.

    Raises:
        NotFound: there is none; suggests the closest, and lists all.
    """
    known = families()
    if (found := known.get(name.lower())) is None:
        raise NotFound(f"there is no family {name!r}; {allowed(name.lower(), known)}", field="family")
    return found


def family_of(
    model_type: str, *, layers: int | None = None, hidden: int | None = None, experts: int | None = None
) -> Family | None:
    """The family that matches a checkpoint's architecture; None if unknown.

    Args:
        model_type: Transformers' `model_type`, or llama.cpp's architecture for a GGUF file.
        layers: layers of the checkpoint; needed, with the other two, for a `model_type` that many families share
            (`llama`).
        hidden: hidden size.
        experts: routed experts per layer; None for a dense checkpoint.
    """
    found = families().values()
    return next((one for one in found if one.is_of(model_type, layers=layers, hidden=hidden, experts=experts)), None)


@cache
def _read_all(extra: str) -> Mapping[str, Family]:
    folders = [Path(__file__).parent]
    if extra:
        folder = Path(extra).expanduser()
        if not folder.is_dir():
            raise SpecError(f"TIERWISE_FAMILIES is not a folder: {folder}")
        folders.append(folder)
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}
    found: dict[str, Family] = {}
    wrong: list[SpecError] = []
    for name, path in sorted(files.items()):
        try:
            found[name] = read_family(path)
        except ConfigErrors as error:
            wrong += error.errors
    if wrong:
        raise ConfigErrors(wrong)
    return MappingProxyType(found)
