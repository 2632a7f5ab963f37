"""Harbor's environment on our sandbox: tasks run without docker.

    harbor run -p TASKS -a AGENT -e tierwise.environments.harbor:SandboxEnvironment

Written for harbor 0.24 to 0.26 (Python 3.12 or newer). The agent itself runs outside unless Harbor installs it in the
environment, which needs a network: `--ek network=true`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities
from harbor.environments.options import EnvironmentOptions
from harbor.models.task.config import NetworkMode
from pydantic import Field

from tierwise.environments import transfer
from tierwise.environments.attempt import prepare
from tierwise.environments.sandbox import Limits, Sandbox
from tierwise.environments.task import limits, refuse_what_needs_a_container
from tierwise.spec.errors import SpecError


class SandboxOptions(EnvironmentOptions):
    """What `--ek name=value` may set."""

    network: bool = Field(
        default=False, description="Share this machine's network, also if the task does not ask for it."
    )
    cpu_seconds: float = Field(default=Limits().cpu_seconds, gt=0, description="CPU time of all processes of a trial.")


class SandboxEnvironment(BaseEnvironment):
    """One sandbox per trial: files and processes stay from one command to the next, and nothing stays after it.

    A task has no network unless its task.toml says `network_mode = "public"` or the job says `--ek network=true`:
    Harbor's own default, public, is not taken as a wish. `cpus`, `memory_mb` and `storage_mb` are limits.
    """

    options_model = SandboxOptions
    _sandbox: Sandbox | None = None

    @staticmethod
    def type() -> str:
        return "tierwise-sandbox"

    @property
    def capabilities(self) -> EnvironmentCapabilities:
        return EnvironmentCapabilities(disable_internet=True)

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        return EnvironmentResourceCapabilities(cpu_limit=True, memory_limit=True)

    def _validate_definition(self) -> None:
        try:
            refuse_what_needs_a_container(self.environment_dir, self.task_env_config.docker_image)
        except SpecError as error:
            raise ValueError(str(error)) from error

    async def start(self, force_build: bool) -> None:  # noqa: ARG002 -- nothing is kept from an earlier build
        config = self.task_env_config
        asked = "network_mode" in config.model_fields_set or self.options.network
        given = {"cpus": self._effective_cpus, "memory_mb": self._effective_memory_mb, "storage_mb": config.storage_mb}
        sandbox = self._sandbox = Sandbox(
            limits(given, cpu_seconds=self.options.cpu_seconds),
            network=bool(asked) and self.network_policy.network_mode == NetworkMode.PUBLIC,
            env=self._startup_env(),
        )
        await sandbox.start()
        await prepare(sandbox, self.environment_dir, env=self._startup_env(), workdir=config.workdir)
        await self._upload_environment_dir_after_start()

    async def stop(self, delete: bool) -> None:  # noqa: ARG002 -- it has nothing that could stay
        if self._sandbox is not None:
            await self._sandbox.stop()

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        if (who := self._resolve_user(user)) not in (None, "root", "0", 0):
            raise ValueError(f"user {who!r}: the sandbox has one user, root")
        done = await self._running().run(command, cwd=cwd, env=self._merge_env(env), seconds=timeout_sec)
        if done.timed_out:
            raise RuntimeError(f"Command timed out after {timeout_sec} seconds")
        note = f"\n[{done.cut} bytes of output were left out]" if done.cut else ""
        stdout, stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if (say := self._output_callback()) is not None:
            await say(stdout, "stdout")
            await say(stderr, "stderr")
        return ExecResult(stdout=stdout, stderr=stderr + note, return_code=done.code)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        await transfer.upload(self._running(), Path(source_path), self._place(target_path))

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        await transfer.upload(self._running(), Path(source_dir), self._place(target_dir))

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        await transfer.download(self._running(), self._place(source_path), Path(target_path))

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        left_out = await transfer.download_folder(self._running(), self._place(source_dir), Path(target_dir))
        if left_out:
            self.logger.warning("links and devices are not copied out of the sandbox: %s", ", ".join(left_out[:8]))

    def _place(self, path: str) -> str:
        return str(PurePosixPath(self._running().workdir, path))

    def _running(self) -> Sandbox:
        if self._sandbox is None:
            raise RuntimeError("the environment was not started")
        return self._sandbox
