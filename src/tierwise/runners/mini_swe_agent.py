"""mini-swe-agent as an agent: its loop, with the commands in our sandbox instead of a container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from tierwise.runners.outside import work_outside
from tierwise.runners.pythons import installed, python_of
from tierwise.runners.work import Finished, Work

PROGRAM = "TIERWISE_MINI_SWE_AGENT"
"""The variable that names its program, `mini`, if that is not on the path."""

_SCRIPT = Path(__file__).with_name("mini_program.py")


class MiniConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Parts of mini's configuration, with its names, merged into the file that comes with it.

    Limits, and the model's name and endpoint, are what the run says.
    """

    agent: dict[str, Any] = {}
    """Such as `system_template` and `instance_template`, the first two messages."""
    model: dict[str, Any] = {}
    """Such as `observation_template`, what the model is told of a command."""
    environment: dict[str, Any] = {}
    """`env`, variables of the commands; `cwd`; `timeout`, seconds that one command may take (60)."""


class MiniSweAgent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """mini-swe-agent 2, in an environment of its own: `pip install mini-swe-agent`."""

    needs_environment: ClassVar[bool] = True

    turns: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    """Requests to the model, after which it stops."""
    tool_calls: bool = False
    """Whether the model calls its tool `bash`, or writes its command into a block of its answer."""
    config: MiniConfig | None = None
    """Settings in place of mini's own."""

    def check(self) -> None:
        """Raises:
        SpecError: it is not installed.
        """
        _python()

    def versions(self) -> dict[str, str]:
        """As `Runner.versions`."""
        return installed(_python(), "mini-swe-agent")

    async def attempt(self, work: Work) -> Finished:
        """As `Runner.attempt`."""
        python = _python()

        def prepare(folder: Path) -> tuple[Sequence[str], Mapping[str, str]]:
            settings = {"turns": self.turns, "tool_calls": self.tool_calls, "config": self.config or MiniConfig()}
            return [str(python), "-I", str(_SCRIPT), msgspec.json.encode(settings).decode()], {
                "MSWEA_GLOBAL_CONFIG_DIR": str(folder),  # nothing of the user's own settings
                "MSWEA_SILENT_STARTUP": "1",
                "MSWEA_MODEL_RETRY_STOP_AFTER_ATTEMPT": "3",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "TRAJECTORY": str(work.log.with_suffix(".traj.json").absolute()),
            }

        return await work_outside(work, prepare)


def _python() -> Path:
    return python_of(PROGRAM, "mini-swe-agent", "mini-swe-agent")
