"""Our terminal tasks, and tasks in Harbor's format in general: they run in our sandbox, and say what cannot."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tierwise.cli import app
from tierwise.environments import TASKS, Sandbox, attempt, dockerfile, nop, oracle, read_task, read_tasks
from tierwise.spec.errors import SpecError

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "terminal_tasks.py"
NAMES = sorted(path.parent.name for path in TASKS.glob("*/task.toml"))


def test_there_are_tasks_of_every_kind():
    kinds = [task.metadata["category"] for task in read_tasks(TASKS)]
    assert len(kinds) >= 15
    assert set(kinds) == {"files", "processes", "git", "text", "broken script", "state", "orchestration"}


@pytest.mark.sandbox
@pytest.mark.parametrize("name", NAMES)
def test_the_solution_passes_and_doing_nothing_does_not(name):
    task = read_task(TASKS / name)

    async def both():
        return await asyncio.gather(attempt(task, oracle), attempt(task, nop))

    solved, undone = asyncio.run(both())
    assert solved.reward == 1, solved.output
    assert undone.reward == 0, undone.output


HARBOR = os.environ.get("TIERWISE_HARBOR") or shutil.which("harbor")


@pytest.mark.sandbox
@pytest.mark.skipif(
    HARBOR is None, reason="harbor is not installed: it needs Python 3.12; TIERWISE_HARBOR names its program"
)
def test_harbor_runs_tasks_in_our_sandbox(tmp_path):
    for name in ("git-resolve", "keep-serving", "account-server"):
        shutil.copytree(TASKS / name, tmp_path / "tasks" / name)
    line = [sys.executable, BENCHMARK, "--runs", "1", "--harbor", HARBOR, "--tasks", tmp_path / "tasks"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "oracle: 3 of 3 attempts" in done.stdout
    assert "nop: 0 of 3 attempts" in done.stdout


def test_the_tasks_are_copied_for_users(tmp_path):
    done = CliRunner().invoke(app, ["workload", "terminal", str(tmp_path / "tasks")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "tasks").iterdir()) == NAMES
    assert os.access(tmp_path / "tasks" / NAMES[0] / "solution" / "solve.sh", os.X_OK)
    assert "harbor run -p" in done.output


# ---------------------------------------------------------------- other people's tasks


def written(folder: Path, *, toml: str = "", docker: str = "FROM ubuntu:24.04\n", test: str = "", **files: str) -> Path:
    """A small task; `files` are below `environment`."""
    for name, text in {
        "task.toml": toml,
        "instruction.md": "Do it.\n",
        "tests/test.sh": test
        or "#!/bin/bash\n[ -e done ] && echo 1 > /logs/verifier/reward.txt || echo 0 > /logs/verifier/reward.txt\n",
        "environment/Dockerfile": docker,
        **{f"environment/{name}": text for name, text in files.items()},
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


async def touches(sandbox: Sandbox, _) -> None:
    await sandbox.run("touch done")


def tried(folder: Path, solver=touches):
    return asyncio.run(attempt(read_task(folder), solver))


@pytest.mark.sandbox
def test_a_dockerfile_is_followed(tmp_path):
    docker = """
        # a comment
        FROM --platform=linux/amd64 docker.io/library/python:3.12-slim@sha256:00 AS base
        ARG NAME=world
        ENV GREETING="hello ${NAME}" \\
            PLACE=/srv
        ENV OLD style too
        WORKDIR $PLACE
        WORKDIR app
        COPY one.txt sub /data/
        COPY ["one.txt", "renamed.txt"]
        ADD . ./all
        RUN echo "$GREETING" > greeting \\
            && echo "$OLD" >> greeting
        RUN ["touch", "a b"]
        EXPOSE 80
        CMD ["python"]
    """.replace("\n        ", "\n")
    files = {"one.txt": "1", "sub/two.txt": "2", "sub/three.log": "3", ".dockerignore": "*.log\n"}
    folder = written(tmp_path / "task", docker=docker, **files)

    async def look(sandbox, _):
        said = await sandbox.run("pwd; cat greeting; find /data . -type f | sort")
        await sandbox.run("touch done")
        assert said.text.split("\n")[:3] == ["/srv/app", "hello world", "style too"]
        assert said.text.split("\n")[3:-1] == [
            "./a b", "./all/.dockerignore", "./all/Dockerfile", "./all/one.txt", "./all/sub/two.txt", "./greeting",
            "./renamed.txt", "/data/one.txt", "/data/two.txt",
        ]  # fmt: skip

    assert tried(folder, look).reward == 1


@pytest.mark.parametrize(
    ("docker", "why"),
    [
        ("FROM node:22\n", r"Dockerfile:1: FROM node:22: only buildpack-deps, debian"),
        ("FROM acme/python\n", r"Dockerfile:1: FROM acme/python"),
        ("FROM\n", r"Dockerfile:1: FROM : only buildpack-deps, debian"),
        ("FROM debian\nFROM debian\n", r"expected one FROM"),
        ("FROM debian\n\nCOPY --from=build /a /b\n", r"Dockerfile:3: COPY --from=build /a /b: only files of the task"),
        ("FROM debian\nADD https://example.org/x /x\n", r"only files of the task"),
        ("FROM debian\nUSER agent\n", r"one user, root"),
        ("FROM debian\nONBUILD RUN true\n", r"ONBUILD RUN true: not followed here"),
        ("", r"expected one FROM"),
    ],
)
def test_what_a_sandbox_cannot_do_is_refused_before_anything_runs(tmp_path, docker, why):
    with pytest.raises(SpecError, match=why):
        read_task(written(tmp_path, docker=docker))


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('[environment]\ndocker_image = "acme/thing:1"\n', "the task is the image acme/thing:1"),
        ('[environment]\nnetwork_mode = "allowlist"\n', "allowlist is not enforced"),
        ('[environment.env]\nKEY = "${SECRET}"\n', "takes a variable of this machine"),
        ('[[steps]]\nname = "one"\n', "several steps"),
        ("[environment\n", "task.toml: Expected ']'"),
    ],
)
def test_a_task_that_needs_more_says_what(tmp_path, toml, why):
    folder = written(tmp_path, toml=toml)
    if "docker_image" in toml:
        (folder / "environment" / "Dockerfile").unlink()
    with pytest.raises(SpecError, match=why):
        read_task(folder)


@pytest.mark.parametrize("name", ["task.toml", "instruction.md", "tests/test.sh"])
def test_a_missing_file_is_named(tmp_path, name):
    written(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(SpecError, match=f"{name} is missing" if name != "task.toml" else "task.toml"):
        read_tasks(tmp_path)


@pytest.mark.sandbox
def test_a_run_that_fails_names_its_line_and_what_it_said(tmp_path):
    folder = written(tmp_path, docker="FROM debian\nRUN echo sorry >&2; exit 4\n")
    with pytest.raises(SpecError, match=r"line 2 of the Dockerfile: RUN .* ended with 4: sorry"):
        tried(folder)


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("test", "why"),
    [
        ("#!/bin/bash\necho broken; exit 3\n", r"left neither .* ended with 3 and wrote: broken"),
        ("#!/bin/bash\necho lots > /logs/verifier/reward.txt\n", "'lots', which is no reward"),
        ("#!/bin/bash\necho NaN > /logs/verifier/reward.txt\n", "which is no reward"),
        ("#!/bin/bash\necho '{}' > /logs/verifier/reward.json\n", "which is no reward"),
    ],
)
def test_tests_without_a_reward_are_an_error_and_no_zero(tmp_path, test, why):
    with pytest.raises(SpecError, match=why):
        tried(written(tmp_path, test=test))


@pytest.mark.sandbox
def test_rewards_by_name_are_read_too_and_one_that_the_agent_wrote_does_not_count(tmp_path):
    async def cheats(sandbox, _):
        await sandbox.run("echo 1 > /logs/verifier/reward.json; mkdir -p /tests; echo 'exit 0' > /tests/test.sh")

    by_name = """#!/bin/bash\necho '{"a": 1, "b": 0.5}' > /logs/verifier/reward.json\n"""
    assert tried(written(tmp_path / "a", test=by_name)).reward == 0.75
    assert tried(written(tmp_path / "b"), cheats).reward == 0


@pytest.mark.sandbox
def test_a_solver_that_takes_too_long_is_stopped_and_its_work_is_tested(tmp_path):
    async def dawdles(sandbox, _):
        await sandbox.run("touch done; sleep 300")

    done = tried(written(tmp_path, toml="[agent]\ntimeout_sec = 2.0\n"), dawdles)
    assert (done.timed_out, done.reward) == (True, 1)


@pytest.mark.sandbox
def test_limits_network_and_variables_are_the_tasks(tmp_path):
    limits = "[environment]\ncpus = 1\nmemory_mb = 300\nstorage_mb = 50\n"
    toml = limits + '[environment.env]\nA = "b"\n[verifier.env]\nB = "c"\n'
    task = read_task(
        written(tmp_path, toml=toml, test='#!/bin/bash\n[ "$A$B" = bc ] && echo 1 > /logs/verifier/reward.txt\n')
    )
    assert (task.limits.cores, task.limits.memory_bytes >> 20, task.limits.storage_bytes >> 20) == (1, 300, 50)
    assert not task.network
    assert asyncio.run(attempt(task, nop)).reward == 1
    assert read_task(written(tmp_path, toml='[environment]\nnetwork_mode = "public"\n')).network


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python:3.12", "python"),
        ("docker.io/library/ubuntu:24.04@sha256:0", "ubuntu"),
        ("localhost:5000/python", "localhost:5000/python"),
        ("acme/debian:1", "acme/debian"),
    ],
)
def test_an_image_is_known_by_its_name(image, name):
    assert dockerfile.image_name(image) == name
