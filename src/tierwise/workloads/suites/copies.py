"""Where the user's copy of a suite lies: a folder, the cache of the Hugging Face Hub, and what is no copy at all."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePath

from tierwise.spec.errors import NotFound, SpecError
from tierwise.workloads.suites.shards import copies_in

_NO_COPY = (
    (b"version https://git-lfs", "is a pointer of Git LFS, not the data; run `git lfs pull`, or download the file"),
    (b"PK\x03\x04", "is an archive; unpack it, and give the file that is in it"),
    (b"ARROW1", "is an Arrow file; save its rows as JSON Lines, with the same names of columns"),
    (b"PARE", "is encrypted Parquet; save its rows as Parquet without encryption, or as JSON Lines"),
    (b"\xff\xff\xff\xff", "is an Arrow stream; save its rows as JSON Lines, with the same names of columns"),
    (b"\xfd7zXZ\x00", "is compressed; unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "is compressed; unpack it with zstd -d"),
    (b"<", "is a web page, not the data: the download may have asked to log in or to accept terms"),
)
"""How files begin that are not what a suite reads, and what to do about it."""

_GZIP = b"\x1f\x8b"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOCK = 2**20
_LISTED = 5


def why_no_copy(raw: bytes) -> str:
    """What a file is that no suite reads, and what to do; empty if it may be one."""
    if not raw.strip():
        return "is empty; is the download complete?"
    if raw.startswith(_GZIP):
        cut = "" if _is_whole_gzip(raw) else ", and cut off or damaged: download it again, then"
        return f"is compressed{cut or ';'} unpack it with gunzip"
    begins = raw[:256].lstrip()
    return next((why for beginning, why in _NO_COPY if begins.startswith(beginning)), "")


def _is_whole_gzip(raw: bytes) -> bool:
    try:
        with gzip.open(io.BytesIO(raw)) as file:
            while file.read(_BLOCK):
                pass
    except (EOFError, OSError, zlib.error):
        return False
    return True


def named(path: Path) -> str:
    """The name of a copy: of a file in the Hub's cache after its dataset too, as many are named `test.jsonl`."""
    parts = path.parts
    found = next((at for at, part in enumerate(parts) if part.startswith("datasets--")), None)
    if found is None or "snapshots" not in parts[found:]:
        return path.name
    dataset = parts[found].rpartition("--")[2]
    return path.name if dataset.casefold() in path.name.casefold() else f"{dataset}-{path.name}"


def telling(path: str) -> list[str]:
    """The parts of a path whose names people gave, its last three: no commit of the Hub's cache."""
    parts = [part for part in PurePath(path).parts if part != "snapshots" and not _COMMIT.fullmatch(part)]
    return parts[-3:]


def found_in(folder: Path, patterns: Iterable[str], title: str, *, is_one: bool = False) -> list[str]:
    """The files of a suite in a folder, by the names that they have where they are published.

    A dataset's folder in the cache of the Hugging Face Hub is read at its newest snapshot. Links are kept, as their
    targets there are named by hashes.

    Args:
        folder: where they are, or one level below.
        patterns: their names; with a `/` their paths, of which the last three parts that people named count.
        title: of the suite.
        is_one: the suite is one file, or all parts of one split.

    Raises:
        NotFound: there is none, or no such folder.
        SpecError: there are several, of which one is wanted; or a part of a split is missing.
    """
    patterns = list(patterns)
    if not folder.is_dir():
        raise NotFound(f"{folder} is not a folder", field="--data-dir")
    folder = _snapshot(folder)
    links = _named(folder.glob("*"), patterns) or _named(folder.glob("*/*"), patterns)
    for path in links:
        if not path.exists():
            raise NotFound(f"{path} is a link to a file that is not there; download it again", field="--data-dir")
    found = [path for path in links if path.is_file()]
    if not found:
        raise NotFound(
            f"{folder} has no file of {title}: none is named {' or '.join(patterns)}; {_content(folder)}",
            field="--data-dir",
        )
    copies = copies_in(list(map(str, found)), "--data-dir")
    if is_one and len(copies) > 1:
        names = " and ".join(str(found[copy[0]].relative_to(folder)) for copy in copies)
        raise SpecError(f"{folder} has several versions of {title}: {names}; name one with --file", field="--data-dir")
    return [str(path.absolute()) for path in found]


def _named(paths: Iterable[Path], patterns: list[str]) -> list[Path]:
    """The paths whose names fit; links to nothing are among them."""
    return sorted((path for path in paths if any(_fits(path, one) for one in patterns)), key=_in_order)


def _fits(path: Path, pattern: str) -> bool:
    return fnmatchcase("/".join(telling(str(path.absolute()))) if "/" in pattern else path.name, pattern)


def _snapshot(folder: Path) -> Path:
    """The snapshot of a dataset's folder in the Hub's cache; any other folder as it is.

    Raises:
        SpecError: it has none, or several and does not say which is the newest.
    """
    snapshots = folder / "snapshots"
    if not snapshots.is_dir():
        return folder
    there = sorted(path for path in snapshots.iterdir() if path.is_dir())
    main = folder / "refs" / "main"
    if main.is_file() and (newest := snapshots / main.read_text(encoding="utf-8").strip()) in there:
        return newest
    if len(there) == 1:
        return there[0]
    names = ", ".join(path.name for path in there) or "none"
    raise SpecError(f"{snapshots} has several versions or none ({names}); give the folder of one", field="--data-dir")


def _content(folder: Path) -> str:
    """What a folder has instead, and what to do."""
    files = sorted(str(path.relative_to(folder)) for path in (*folder.glob("*.*"), *folder.glob("*/*.*")))
    there = f"it has {', '.join(files[:_LISTED])}" + (" and more" if len(files) > _LISTED else "") if files else ""
    return f"{there}; name the file with --file".removeprefix("; ")


def _in_order(path: Path) -> tuple[int, str]:
    """`test.jsonl` before `test2.jsonl`, and that before `test10.jsonl`."""
    return len(path.name), path.name
