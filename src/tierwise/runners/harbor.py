"""Harbor as a runner: its agents, in our sandbox as its environment, graded by the task's tests as Harbor runs them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec

from tierwise.environments import AgentTask
from tierwise.environments.trial import TrialResult, reward_of
from tierwise.runners.program import Ran, run
from tierwise.runners.pythons import beside, installed
from tierwise.runners.work import Finished, RunnerFailed, Work
from tierwise.spec.errors import SpecError

PROGRAM = "TIERWISE_HARBOR"
"""The variable that names its program, if that is not on the path."""

ENVIRONMENT = "tierwise.environments.harbor:SandboxEnvironment"

_AROUND_SECONDS = 600.0
"""For the start of harbor, the building of the environment and whatever it does after the tests."""

_QUIET = {"HARBOR_TELEMETRY": "0", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}

_USUAL: Mapping[str, Mapping[str, Any]] = {"terminus-2": {"record_terminal_session": False}}
"""Options of agents that ours replace: a recording needs asciinema, which would be installed over the network."""


class Harbor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Harbor 0.24 to 0.26, in an environment of its own (Python 3.12) that has tierwise too."""

    needs_environment: ClassVar[bool] = True

    agent: Annotated[str, msgspec.Meta(min_length=1)] = "terminus-2"
    """As `harbor run -a` takes it. One that runs outside of the task's environment, where the endpoint is reached."""
    options: dict[str, str | int | float | bool] = {}
    """What `--ak` sets, such as `max_turns: 8` of terminus-2."""

    def check(self) -> None:
        """Raises:
        SpecError: it is not installed.
        """
        _program()

    def versions(self) -> dict[str, str]:
        """As `Runner.versions`. Harbor's version is also that of its own agents."""
        program = Path(_program())
        return installed(beside(program), "harbor", program)

    async def attempt(self, work: Work) -> Finished:
        """As `Runner.attempt`."""
        if (task := work.environment) is None:
            raise RunnerFailed(f"the task {work.task} has no environment, which harbor needs")
        with tempfile.TemporaryDirectory(prefix="tierwise-harbor-", ignore_cleanup_errors=True) as made:
            line = self._line(work, task, made)
            key = work.key or "none"
            env = {"OPENAI_BASE_URL": work.base_url, "OPENAI_API_BASE": work.base_url, "OPENAI_API_KEY": key, **_QUIET}
            seconds = work.limit + task.verifier_seconds + _AROUND_SECONDS
            ran = await run(line, Path(made), env, seconds, work.log)
            found = _results(Path(made))
        if len(found) != 1:
            what = f"did not end within {seconds:.0f} s" if ran.timed_out else f"ended with exit code {ran.code}"
            raise RunnerFailed(f"harbor {what} and wrote no result: {ran.said[-500:]}")
        return finished(found[0], ran)

    def _line(self, work: Work, task: AgentTask, folder: str) -> list[str]:
        line = [_program(), "run", "-p", str(task.folder.absolute()), "-a", self.agent, "-m", f"openai/{work.model}"]
        line += ["-e", ENVIRONMENT, "-k", "1", "-n", "1", "-o", f"{folder}/jobs", "--job-name", "job", "-y", "-q"]
        line += ["--agent-timeout-multiplier", f"{work.limit / task.agent_seconds:g}"]
        for name, value in {**_USUAL.get(self.agent, {}), **self.options}.items():
            line += ["--ak", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
        return line


def finished(result: bytes, ran: Ran) -> Finished:
    """How a trial of Harbor's ended.

    Args:
        result: its `result.json`.
        ran: Harbor's program.

    Raises:
        RunnerFailed: it broke off, so that nothing is known about the tier.
    """
    try:
        said = msgspec.json.decode(result, type=TrialResult)
        reward = reward_of(said.rewards)
    except ValueError as error:
        raise RunnerFailed(f"harbor wrote a result that cannot be read: {error}") from error
    if said.broke is not None or reward is None:
        why = "it has no reward" if said.broke is None else said.broke.why[:500]
        raise RunnerFailed(f"harbor's trial broke off: {why}")
    return Finished(
        seconds=ran.seconds if said.seconds is None else said.seconds,
        code=0,
        timed_out=said.timed_out,
        said=ran.said,
        reward=reward,
        tests="\n".join(one.why for one in said.exceptions),
    )


def _results(folder: Path) -> list[bytes]:
    """The results of a job's trials."""
    return [path.read_bytes() for path in (folder / "jobs" / "job").glob("*/result.json")]


def _program() -> str:
    named = os.environ.get(PROGRAM) or shutil.which("harbor")
    if named is None or not Path(named).exists():
        seen = f"{PROGRAM} names {named!r}, which is not there" if named else "no harbor is on the path"
        raise SpecError(
            f"{seen}: `python3.12 -m venv harbor && harbor/bin/pip install harbor tierwise`, and name its program in "
            f"{PROGRAM}=harbor/bin/harbor",
            field="--runner",
        )
    return str(Path(named).absolute())
