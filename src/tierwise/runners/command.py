"""Any program as an agent: a line for the shell."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

from tierwise.runners.outside import work_outside
from tierwise.runners.pythons import file_hash, shown
from tierwise.runners.work import Finished, Work


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a line of shell per task, in a new folder."""

    line: str
    needs_environment: ClassVar[bool] = False

    def check(self) -> None:
        """Whether the line can run is known when it runs."""

    def versions(self) -> dict[str, str]:
        """The hash of the line, of its program, and of every file that the line names with its folder.

        Raises:
            SpecError: one of them cannot be read.
        """
        found = {"command": shown(sha256(self.line.encode()).hexdigest())}
        try:
            words = shlex.split(self.line)
        except ValueError:  # a line for the shell need not be one of words only
            return found
        for number, word in enumerate(words):
            named = shutil.which(word) if number == 0 else word
            path = Path(named) if named is not None else None
            if path is not None and path.is_absolute() and path.is_file():
                found[word] = file_hash(path)
        return found

    async def attempt(self, work: Work) -> Finished:
        """As `Runner.attempt`. What the program writes to the file `$OUT` is the answer."""
        return await work_outside(work, lambda _: (["/bin/sh", "-c", self.line], {}))
