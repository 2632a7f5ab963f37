"""Any program as an agent: a line for the shell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tierwise.runners.outside import work_outside
from tierwise.runners.work import Finished, Work


@dataclass(frozen=True, slots=True)
class Command:
    """Runs a line of shell per task, in a new folder."""

    line: str
    needs_environment: ClassVar[bool] = False

    def check(self) -> None:
        """Whether the line can run is known when it runs."""

    async def attempt(self, work: Work) -> Finished:
        """As `Runner.attempt`. What the program writes to the file `$OUT` is the answer."""
        return await work_outside(work, lambda _: (["/bin/sh", "-c", self.line], {}))
