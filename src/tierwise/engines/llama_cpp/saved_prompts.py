"""Prompts whose computed state llama.cpp has saved to a file, to be restored into any slot."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tierwise.engines.llama_cpp.prompt_text import PromptText, prompt_text, shared_characters

if TYPE_CHECKING:
    from tierwise.spec.call import Call

_LEAST_SAVED = 1000
"""The fewest characters that sharing must save, over all passes, so that a prefill pass pays. Measured with SmolLM2 on
two cores (benchmarks/prompt_once.py): eight votes take the same time with and without it at 30 tokens of prompt."""

_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is private
_MOST_OF_FREE = 0.5
"""Largest part of the space that is free without the files which they may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPrompt:
    """A file with the state of a slot."""

    file: str
    """Its name in the folder."""
    prompt: PromptText
    tokens: int
    size: int
    """Bytes."""


class SavedPrompts:
    """The saved prompts of one process, up to a size; the least recently used are removed first.

    Args:
        folder: where the process writes them.
        most_bytes: size of all files together.
        prefix: what the files' names begin with.
    """

    def __init__(self, folder: Path, most_bytes: int, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix
        self._most = most_bytes
        self._saved: dict[PromptText, SavedPrompt] = {}
        self._numbers = itertools.count()
        self._bytes = self._characters = 0  # of all files so far, to estimate the size of the next

    def exact(self, prompt: PromptText) -> SavedPrompt | None:
        """The saved state of exactly this prompt."""
        return self._saved.get(prompt)

    def best(self, prompt: PromptText) -> tuple[int, SavedPrompt | None]:
        """The saved prompt that shares most characters with this one, and how many."""
        if (exact := self._saved.get(prompt)) is not None:
            return sum(map(len, prompt)), exact
        shared = ((shared_characters(one.prompt, prompt), one) for one in self._saved.values())
        return max(shared, key=lambda pair: pair[0], default=(0, None))

    def fits(self, prompt: PromptText) -> bool:
        """Whether there is room for a prompt, if need be in place of others."""
        return self._estimate(prompt) <= self._room()

    def next_file(self, prompt: PromptText) -> str | None:
        """The name of a new file for a prompt, after making room for it; None if there is no room."""
        estimate, room = self._estimate(prompt), self._room()
        if estimate > room:
            return None
        self._shrink(room - estimate)
        return f"{self._prefix}{next(self._numbers)}.bin"

    def _estimate(self, prompt: PromptText) -> int:
        """The size of a prompt's file, estimated from those so far; 0 if it will be the first."""
        return self._bytes * sum(map(len, prompt)) // max(1, self._characters)

    def _room(self) -> int:
        """How large all files may be together; -1 if the folder is gone."""
        try:
            free = shutil.disk_usage(self._folder).free
        except OSError:
            return -1
        return min(self._most, int(_MOST_OF_FREE * (free + self._size)))

    @property
    def _size(self) -> int:
        return sum(one.size for one in self._saved.values())

    def add(self, saved: SavedPrompt) -> None:
        """Keep a file that was written, or remove it if it is too large."""
        self._bytes += saved.size
        self._characters += sum(map(len, saved.prompt))
        if saved.size > self._most:
            self._unlink(saved)
            return
        if (before := self._saved.pop(saved.prompt, None)) is not None:
            self._unlink(before)
        self._shrink(self._most - saved.size)
        self._saved[saved.prompt] = saved

    def touch(self, saved: SavedPrompt) -> None:
        """Count it as used now."""
        if self._saved.pop(saved.prompt, None) is not None:
            self._saved[saved.prompt] = saved

    def forget(self, saved: SavedPrompt) -> None:
        """Remove a file that cannot be used."""
        if self._saved.get(saved.prompt) is saved:
            del self._saved[saved.prompt]
        self._unlink(saved)

    def discard(self, file: str) -> None:
        """Remove what a failed save may have left."""
        with contextlib.suppress(OSError):
            (self._folder / file).unlink()

    def _shrink(self, most: int) -> None:
        size = self._size
        while size > most and self._saved:
            oldest = next(iter(self._saved.values()))
            size -= oldest.size
            self.forget(oldest)

    def _unlink(self, saved: SavedPrompt) -> None:
        self.discard(saved.file)


def restore_pays(shared: int, held: int = 0) -> bool:
    """Whether a slot that holds `held` characters of a prompt gains from a file with `shared` of them.

    A file is read whole, so a long one must bring more. Computing a token takes some hundred times as long as reading
    it on a CPU, and some five times on a GPU.
    """
    return shared - held >= max(64, min(256, shared // 8))


def prefill_pays(call: Call, passes: int, known: float = 0.0) -> bool:
    """Whether passes with the prompt of a call gain more from sharing it than a pass that computes it first costs.

    Args:
        call: one of the passes.
        passes: how many there are.
        known: the share of the prompt that each of them finds in a cache anyway.
    """
    prompt = prompt_text(call)
    if not prompt or passes < 2 or call.prompt.fields.get("cache_prompt") is False:
        return False
    return (passes - 1) * (1 - known) * sum(map(len, prompt)) >= _LEAST_SAVED


def make_folder(most_bytes: int, memory: Path = _MEMORY) -> Path | None:
    """A new private folder for files of this size: in memory where the machine has such a file system with enough room
    (a container's often has 64 MB), else among the temporary files.

    None if it cannot be made.
    """
    parents: list[Path | None] = [None]
    with contextlib.suppress(OSError):
        if shutil.disk_usage(memory).free * _MOST_OF_FREE >= most_bytes:
            parents.insert(0, memory)
    for parent in parents:
        with contextlib.suppress(OSError):
            return Path(tempfile.mkdtemp(prefix="tierwise-slots-", dir=parent))
    return None
