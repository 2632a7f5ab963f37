"""Parts of one split: datasets on the Hugging Face Hub are published as `test-00000-of-00003.parquet` and so on."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from tierwise.spec.errors import SpecError

_SHARD = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.parquet")
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Shard:
    """What the name of a part says."""

    split: str
    number: int
    """From 0."""
    count: int
    """Parts of the split."""

    @property
    def pattern(self) -> str:
        """The names of all parts."""
        return f"{self.split}-*-of-{self.count:05}.parquet"

    def name(self, number: int) -> str:
        """The name of a part."""
        return f"{self.split}-{number:05}-of-{self.count:05}.parquet"


def shard_of(name: str) -> Shard | None:
    """The part that a file's name says it is; None for a file that is no part."""
    found = _SHARD.fullmatch(name)
    if found is None or int(found["number"]) >= int(found["count"]):
        return None
    return Shard(found["split"], int(found["number"]), int(found["count"]))


def title_of(name: str) -> str:
    """A file's name without its ending and the number of its part: `test` of `test-00000-of-00001.parquet`."""
    shard = shard_of(name)
    return PurePath(name).stem if shard is None else shard.split


def copies_in(files: Sequence[str], field: str) -> list[list[int]]:
    """Which files are one copy: a file alone, or all parts of a split in their order.

    Args:
        files: paths, or `hf:OWNER/DATASET/FILE@COMMIT`.
        field: the setting that names them, for errors.

    Returns:
        Places in `files`, copy by copy, in the order in which the copies begin there.

    Raises:
        SpecError: a part of a split is missing, or is given twice.
    """
    copies: dict[tuple[str, ...], dict[int, int]] = {}
    shards: dict[tuple[str, str, str], Shard] = {}
    for place, file in enumerate(files):
        path, _, commit = file.partition("@") if file.startswith("hf:") else (file, "", "")
        name = PurePath(path).name
        shard = shard_of(name)
        if shard is None:
            copies[str(place),] = {0: place}
            continue
        key = (path.removesuffix(name), commit, shard.pattern)
        shards[key] = shard
        parts = copies.setdefault(key, {})
        if shard.number in parts:
            raise SpecError(f"{name} is given twice; give each part once", field=field)
        parts[shard.number] = place
    for key, shard in shards.items():
        _check_whole(shard, copies[key], field)
    return [[parts[number] for number in sorted(parts)] for parts in copies.values()]


def _check_whole(shard: Shard, parts: Container[int], field: str) -> None:
    absent = [shard.name(number) for number in range(shard.count) if number not in parts]
    if absent:
        listed = ", ".join(absent[:_LISTED]) + (" and more" if len(absent) > _LISTED else "")
        seen = f"{shard.pattern} is {shard.count} files, of which {len(absent)} are not given or not there: {listed}"
        raise SpecError(f"{seen}; download them, and give all", field=field)
