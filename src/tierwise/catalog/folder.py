"""Checkpoint folders: which files inference needs, and the combined hash.

The hash is the output of `sha256sum FILES | LC_ALL=C sort | sha256sum` in the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from tierwise.catalog import architecture
from tierwise.catalog.cache import Report, move, seal, sealed_hash, verified_hash, write_whole
from tierwise.catalog.errors import CheckpointError
from tierwise.catalog.source import Checkpoint
from tierwise.spec.errors import SpecError

_DESCRIPTION = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py", "additional_chat_templates/*.jinja")
_NO_DESCRIPTION = ("LICENSE*", "NOTICE*", "README*", "requirements*.txt", "trainer_state.json", "*.bin.index.json")
_OLD_WEIGHTS = ("pytorch_model*.bin", "*.pth")
_SAFETENSORS_INDEX = "model.safetensors.index.json"


def needed(names: Iterable[str]) -> list[str]:
    """The files that inference needs, from a folder's relative paths, sorted.

    Weights in one format only: safetensors, else PyTorch's. A second copy of the weights (`consolidated*`, as Mistral
    ships it) and subfolders are excluded, and no path can leave the folder.
    """
    names = sorted(set(names))
    described = [name for name in names if _is_any(name, _DESCRIPTION) and not _is_any(name, _NO_DESCRIPTION)]
    weights = [name for name in names if _is_any(name, ("*.safetensors",))]
    if usual := [name for name in weights if not name.startswith("consolidated")]:
        weights = usual
    if not weights:
        weights = [name for name in names if _is_any(name, _OLD_WEIGHTS)]
        described += [name for name in names if _is_any(name, ("*.bin.index.json",))]
    if _SAFETENSORS_INDEX not in described and "model.safetensors" in weights:
        weights = ["model.safetensors", *(name for name in weights if name.startswith("adapter"))]
    return sorted({*described, *weights})


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches; `*` matches neither a slash nor a leading dot."""
    steps = name.split("/")
    return not any(step.startswith(".") for step in steps) and any(
        len(parts := pattern.split("/")) == len(steps) and all(map(fnmatchcase, steps, parts)) for pattern in patterns
    )


def files_of(folder: Path) -> list[str]:
    """The files of a folder that inference needs, as relative paths."""
    held = (*folder.glob("*"), *folder.glob("additional_chat_templates/*"))
    return needed(path.relative_to(folder).as_posix() for path in held if path.is_file())


def hash_of_files(hashes: Mapping[str, str]) -> str:
    """The SHA-256 of a folder: over the sorted lines `HASH  PATH` of its files."""
    return hashlib.sha256(_lines(hashes).encode()).hexdigest()


def _lines(hashes: Mapping[str, str]) -> str:
    return "".join(sorted(f"{sha256}  {name}\n" for name, sha256 in hashes.items()))


def remember_files(hashes: Mapping[str, str], cache: Path) -> None:
    """Store the file hashes of a folder, so that later changes can be reported per file."""
    write_whole(_manifest_of(hash_of_files(hashes), cache), _lines(hashes))


def remembered_files(sha256: str, cache: Path) -> dict[str, str]:
    """The file hashes of a folder with this hash; empty if unknown."""
    try:
        lines = _manifest_of(sha256, cache).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {name: found for found, _, name in (line.partition("  ") for line in lines)}


def _manifest_of(sha256: str, cache: Path) -> Path:
    return cache / "manifests" / f"{sha256[:16]}.txt"


def sealed_folder(folder: Path, cache: Path) -> str | None:
    """The folder's remembered hash, if no file has changed; reads no weights."""
    hashes = {}
    for name in files_of(folder):
        sha256 = sealed_hash(folder / name, cache)
        if sha256 is None:
            return None
        hashes[name] = sha256
    return hash_of_files(hashes) if hashes else None


async def verified_files(folder: Path, cache: Path, report: Report) -> dict[str, str]:
    """The hash of each file by relative path, computed if it is not remembered."""
    names = files_of(folder)
    total = sum((folder / name).stat().st_size for name in names)
    hashes = {}
    before = 0
    for name in names:
        path = folder / name

        def step(done: int, _: int | None, *, before: int = before) -> None:
            report(before + done, total)

        hashes[name] = await verified_hash(path, cache, step)
        before += path.stat().st_size
    return hashes


async def verify_folder(folder: Path, checkpoint: Checkpoint, cache: Path, report: Report) -> None:
    """Raises CheckpointError if the folder is incomplete or does not match its pin."""
    hashes = await complete_files(folder, checkpoint, cache, report)
    found, pin = hash_of_files(hashes), checkpoint.pin
    if pin not in {None, found}:
        known = remembered_files(pin, cache) if pin else {}
        what = f" ({difference(known, hashes)})" if known else ""
        raise CheckpointError(
            f"checkpoint {checkpoint.name!r}: the SHA-256 of the folder {folder} is {found}, expected {pin}{what};"
            " correct the pin if this is the intended checkpoint, else replace the files"
        )
    remember_files(hashes, cache)


async def complete_files(folder: Path, checkpoint: Checkpoint, cache: Path, report: Report) -> dict[str, str]:
    """`verified_files` of a complete folder.

    Raises:
        CheckpointError: files are missing.
    """
    try:
        architecture.read(folder)
    except SpecError as error:
        raise CheckpointError(f"checkpoint {checkpoint.name!r}: {error}") from error
    return await verified_files(folder, cache, report)


def settle_folder(folder: Path, target: Path, hashes: Mapping[str, str], cache: Path) -> None:
    """Move a complete folder to its final place, and remember its hashes."""
    remember_files(hashes, cache)
    if not target.exists():  # two revisions of a repository may have identical files
        target.parent.mkdir(parents=True, exist_ok=True)
        move(folder, target)
    for name, sha256 in hashes.items():
        seal(target / name, sha256, cache)


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """A description of changes between a folder's files; empty if none."""
    words = {
        "missing": sorted(before.keys() - now.keys()),
        "changed": sorted(name for name in before.keys() & now.keys() if before[name] != now[name]),
        "new": sorted(now.keys() - before.keys()),
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in words.items() if names)
