"""A task in Harbor's format, which Terminal-Bench 2 has too: a folder with `task.toml`, `instruction.md`,
`environment/`, `tests/test.sh`, which writes a reward, and `solution/solve.sh`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tierwise.environments import dockerfile
from tierwise.environments.sandbox import Limits
from tierwise.spec.errors import SpecError
from tierwise.verifiers.sandbox import MIB

AGENT_SECONDS = 600.0
VERIFIER_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTask:
    """One task.

    Args:
        folder: where it is.
        instruction: what the agent is asked.
        limits: of the sandbox that it works in.
        network: whether it asks for the network of this machine.
        env: of every command in it.
        verifier_env: of `tests/test.sh`.
        solution_env: of `solution/solve.sh`.
        workdir: where commands start; None for what the Dockerfile says.
        agent_seconds: that the agent may take.
        verifier_seconds: that the tests may take.
        metadata: of the task's author: difficulty, category, tags.
    """

    folder: Path
    instruction: str
    limits: Limits
    network: bool
    env: dict[str, str]
    verifier_env: dict[str, str]
    solution_env: dict[str, str]
    workdir: str | None
    agent_seconds: float
    verifier_seconds: float
    metadata: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name


def read_tasks(folder: Path) -> list[AgentTask]:
    """The task in a folder, or all tasks in its folders, by name.

    Raises:
        SpecError: there is none, or one cannot run here.
    """
    if (folder / "task.toml").exists():
        return [read_task(folder)]
    found = sorted(path.parent for path in folder.glob("*/task.toml"))
    if not found:
        raise SpecError(f"{folder}: no task.toml in it, nor in a folder of it", field="tasks")
    return [read_task(one) for one in found]


def read_task(folder: Path) -> AgentTask:
    """One task, if it can run in our sandbox.

    Raises:
        SpecError: a file is missing or wrong, or the task needs what only a container has.
    """
    settings = _settings(folder)
    environment, agent, verifier = (settings.get(name, {}) for name in ("environment", "agent", "verifier"))
    if "steps" in settings:
        raise SpecError(f"{folder}/task.toml: tasks of several steps run with Harbor only", field="steps")
    refuse_what_needs_a_container(folder / "environment", environment.get("docker_image"))
    wanted = [environment.get("network_mode"), agent.get("network_mode")]
    if "allowlist" in wanted:
        raise SpecError(f"{folder}/task.toml: network_mode: allowlist is not enforced here", field="network_mode")
    return AgentTask(
        folder=folder,
        instruction=(folder / "instruction.md").read_text(encoding="utf-8"),
        limits=limits(environment),
        network="public" in wanted or environment.get("allow_internet") is True,
        env=_literal(folder, environment.get("env", {})),
        verifier_env=_literal(folder, verifier.get("env", {})),
        solution_env=_literal(folder, settings.get("solution", {}).get("env", {})),
        workdir=environment.get("workdir"),
        agent_seconds=float(agent.get("timeout_sec") or AGENT_SECONDS),
        verifier_seconds=float(verifier.get("timeout_sec") or VERIFIER_SECONDS),
        metadata=settings.get("metadata", {}),
    )


def limits(environment: dict[str, Any], cpu_seconds: float | None = None) -> Limits:
    """The limits of a sandbox for `[environment]` of a task; what it leaves out is our default."""
    plain = Limits()
    memory, storage = environment.get("memory_mb"), environment.get("storage_mb")
    return Limits(
        cpu_seconds=cpu_seconds or plain.cpu_seconds,
        memory_bytes=memory * MIB if memory else plain.memory_bytes,
        storage_bytes=storage * MIB if storage else plain.storage_bytes,
        cores=max(1, int(environment.get("cpus") or 0)) if environment.get("cpus") else 0,
    )


def refuse_what_needs_a_container(environment: Path, image: str | None) -> None:
    """Raises:
    SpecError: the task is an image or a composition of services, or its Dockerfile cannot be followed.
    """
    if (environment / "docker-compose.yaml").exists():
        raise SpecError(
            f"{environment}/docker-compose.yaml: services need docker; one sandbox is one machine", field="-e"
        )
    if (environment / "Dockerfile").exists():
        dockerfile.check(environment / "Dockerfile")
    elif image and dockerfile.image_name(image) not in dockerfile.STAND_INS:
        raise SpecError(
            f"{environment}: the task is the image {image}, which needs a container runtime (`harbor run -e docker`); "
            f"this machine stands for {', '.join(dockerfile.STAND_INS)} only",
            field="docker_image",
        )


def _settings(folder: Path) -> dict[str, Any]:
    for name in ("task.toml", "instruction.md", "tests/test.sh"):
        if not (folder / name).is_file():
            raise SpecError(
                f"{folder}: {name} is missing; a task has task.toml, instruction.md, tests/test.sh", field=name
            )
    try:
        return tomllib.loads((folder / "task.toml").read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{folder}/task.toml: {error}", field="task.toml") from error


def _literal(folder: Path, env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if "${" in str(value):
            raise SpecError(
                f"{folder}/task.toml: {name} = {value!r} takes a variable of this machine: use Harbor",
                field=name,
            )
    return {name: str(value) for name, value in env.items()}
