"""Inspect as a runner: its ReAct agent, with the tool `bash` in our sandbox for tasks that have an environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec

from tierwise.runners.outside import work_outside
from tierwise.runners.pythons import installed, python_of
from tierwise.runners.work import Finished, Work

PROGRAM = "TIERWISE_INSPECT"
"""The variable that names its program, `inspect`, if that is not on the path."""

_SCRIPT = Path(__file__).with_name("inspect_program.py")


class Inspect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Inspect, in an environment of its own: `pip install inspect-ai openai`."""

    needs_environment: ClassVar[bool] = False

    turns: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    """Requests to the model, after which it stops."""

    def check(self) -> None:
        """Raises:
        SpecError: it is not installed.
        """
        _python()

    def versions(self) -> dict[str, str]:
        """As `Runner.versions`."""
        return installed(_python(), "inspect-ai")

    async def attempt(self, work: Work) -> Finished:
        """As `Runner.attempt`. Its log is in the run's folder, beside what it printed."""
        python = _python()

        def prepare(_: Path) -> tuple[Sequence[str], Mapping[str, str]]:
            logs = work.log.with_suffix(".inspect").absolute()
            settings = {"turns": self.turns, "logs": str(logs)}
            return [str(python), "-I", str(_SCRIPT), msgspec.json.encode(settings).decode()], {
                "TIERWISE_BASE_URL": work.base_url,
                "TIERWISE_API_KEY": work.key or "none",
            }

        return await work_outside(work, prepare)


def _python() -> Path:
    return python_of(PROGRAM, "inspect", "inspect-ai openai")
