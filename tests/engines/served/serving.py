"""What tests of servers that we launch in their own interpreter have in common: vLLM and SGLang."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engines.checkpoints import checkpoint
from tierwise.engines import row_of
from tierwise.engines.process.launched import LaunchedEngine
from tierwise.engines.settings import LaunchContext

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tierwise.engines.process.supervisor import Launch
    from tierwise.engines.served.settings import ServerEngineSettings

NESTED = {"model_type": "qwen3_5_moe", "text_config": {"num_experts": 8, "num_experts_per_tok": 2}}

OF_OURS = {"checkpoint", "python", "url", "model", "api_key_env", "extra_args", "start_seconds", "silent_seconds"} | {
    "environment"
}
"""Settings that no server is told."""


def site(folder: Path, **config: Any) -> LaunchContext:
    return LaunchContext(base=folder, logs=folder, model=checkpoint(folder / "model", **config))


def launch(settings: ServerEngineSettings, place: LaunchContext) -> Launch:
    engine = row_of(settings).build(settings, "small", place)
    assert isinstance(engine, LaunchedEngine)
    return engine.supervisor._build(4242)


def words(settings: ServerEngineSettings, place: LaunchContext) -> list[str]:
    return list(launch(settings, place).command)


def after(flag: str, found: list[str]) -> str:
    return found[found.index(flag) + 1]


def understood(python: str, script: str, lines: Mapping[str, list[str]]) -> dict[str, dict[str, Any]]:
    """Every line as the server itself understood it: one process for all, since importing it takes seconds."""
    asked = subprocess.run(
        [python, "-c", script],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert asked.returncode == 0, asked.stderr[-2000:]
    found: dict[str, dict[str, Any]] = json.loads(asked.stdout.splitlines()[-1])
    return found


@dataclass(frozen=True)
class Place:
    """A folder with an environment in it, whose packages hold nothing but what is looked for."""

    kind: type[ServerEngineSettings]
    folder: Path
    python: str

    @classmethod
    def made(cls, kind: type[ServerEngineSettings], folder: Path) -> Place:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        return cls(kind, folder, str(folder / "env" / "bin" / "python"))

    def package(self, name: str, files: Mapping[str, str]) -> None:
        for file, text in files.items():
            path = next(self.folder.glob("env/lib/python*/site-packages")) / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def preflight(self, config: dict[str, Any] | None = None, **levers: Any) -> dict[str, str]:
        model = None if config is None else checkpoint(self.folder / "model", **config)
        settings = self.kind(**{"checkpoint": "small", "python": self.python, **levers})
        return dict(
            row_of(settings).preflight(settings, LaunchContext(base=self.folder, logs=self.folder, model=model))
        )
