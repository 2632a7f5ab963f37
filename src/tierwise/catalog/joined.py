"""A file assembled part by part, so that a checkpoint in twenty parts needs disk space for itself and one part, and an
interrupted pull resumes at the current part.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from tierwise.catalog.cache import BLOCK, Digest, Report, hash_of, make_room, move, write_whole
from tierwise.catalog.source import Source


class Joined:
    """The partial file, its hash, and a journal of its parts for later processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held: list[tuple[str, int]] = []
        """Each complete part and its end offset."""
        self.digest: Digest = hashlib.sha256()

    @classmethod
    def reopen(cls, folder: Path, parts: Sequence[str]) -> Joined:
        """Resume from `folder`, as far as its content matches the first of `parts`."""
        folder.mkdir(parents=True, exist_ok=True)
        joined = cls(folder / "joined")
        try:
            journal = json.loads(joined._journal.read_bytes())
            size = joined.path.stat().st_size
        except (FileNotFoundError, ValueError):
            journal, size = [], 0
        for (written, end), wanted in zip(journal, parts, strict=False):
            if written != wanted or end > size:
                break
            joined.held.append((written, end))
        if joined.path.exists():
            os.truncate(joined.path, joined.size)  # an incomplete part of an interrupted process
        return joined

    async def rehash(self, report: Report) -> None:
        if self.size:
            self.digest = await hash_of(self.path, self.size, report)

    @property
    def _journal(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def size(self) -> int:
        return self.held[-1][1] if self.held else 0

    async def add_file(self, part: Source, path: Path, report: Report) -> None:
        with path.open("rb") as stream:
            await self.add(part, stream, os.fstat(stream.fileno()).st_size, report)

    async def add(self, part: Source, stream: IO[bytes], size: int, report: Report) -> None:
        make_room(self.path.parent, size, f"'{part}'")
        report(0, size)
        done = 0
        with self.path.open("ab") as file:

            def step() -> int:
                block = stream.read(BLOCK)
                file.write(block)
                self.digest.update(block)
                return len(block)

            while taken := await asyncio.to_thread(step):
                done += taken
                report(done, size)
            file.flush()
            os.fsync(file.fileno())
        self._finished(part, self.size + done)

    def become(self, part: Source, whole: Path, digest: Digest) -> None:
        """Use a first part in our folder without copying it."""
        with whole.open("rb") as file:
            os.fsync(file.fileno())
        # The journal first: after a crash in between, `reopen` finds the file too short and the part is still there.
        self._finished(part, whole.stat().st_size)
        move(whole, self.path)
        self.digest = digest

    def _finished(self, part: Source, end: int) -> None:
        self.held.append((str(part), end))
        write_whole(self._journal, json.dumps(self.held))

    def settle(self, folder: Path, name: str, first: Source) -> Path:
        """Rename to `name` with a suffix: `.gguf` if the content is GGUF, whatever the parts' names."""
        with self.path.open("rb") as file:
            suffix = ".gguf" if file.read(4) == b"GGUF" else PurePosixPath(first.file_name).suffix
        target = folder / (name.removesuffix(suffix) + suffix)
        folder.mkdir(parents=True, exist_ok=True)
        move(self.path, target)
        return target
