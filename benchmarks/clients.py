"""Real clients that call tools, through the policies of the quickstart, on a scripted server.

    python benchmarks/clients.py --into FOLDER [--only openai,opencode] [--json FILE]
    python benchmarks/clients.py --into FOLDER --only openai,langchain --checkpoint FILE.gguf

Installs openai-python, anthropic-python, LangChain, Inspect and aider into virtual environments under FOLDER, and
opencode, Claude Code and anthropic-node with npm, each once. The server refuses log-probabilities with tools in a
stream, as llama.cpp does, and calls one tool. A cell is met if the client ran the tool (aider: wrote the file) and
ended with its result. Exits with 1 if a cell is not met, or if an action has no answer. With `--checkpoint` the tiers
run on llama.cpp with that file. The model may then be the reason that a cell is not met, so only actions without an
answer count.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from processes import HERE, running, tierwise

if TYPE_CHECKING:
    from collections.abc import Mapping

PROGRAMS = HERE / "client_programs"
BY_NPM = ("opencode", "anthropic_node", "claude_code")
ALL = ("openai", "anthropic", "langchain", "inspect", "aider", *BY_NPM)
MODELS = ("fast", "standard", "max", "auto")
TASK = "Write the text `17 degrees` into the file hello.txt in this folder. Do nothing else."
SECONDS = 180


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one client did with one model."""

    client: str
    model: str
    why: str
    """Why it failed; empty if it did not."""


def config(deployment: dict[str, Any], checkpoint: Path | None = None) -> dict[str, Any]:
    """The tiers of examples/quickstart.yaml on one deployment."""
    return {
        "checkpoints": {} if checkpoint is None else {"model": {"source": f"file:{checkpoint}"}},
        "deployments": {"up": deployment},
        "tiers": {
            "fast": {"deployment": "up", "policy": "single", "sampling": {"temperature": 0}},
            "standard": {"deployment": "up", "policy": {"majority": {"n": 3}}, "sampling": {"temperature": 0.6}},
            "max": {
                "deployment": "up",
                "policy": {"best_of_n": {"n": 6}},
                "sampling": {"temperature": 0.6},
                "budget": {"passes": 6, "seconds": 60},
            },
        },
        "routes": {"auto": {"cascade": ["fast", "standard", "max"]}},
    }


class Clients:
    """Installs clients under a folder, and runs one task with each."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url

    def openai(self, model: str) -> str:
        python = self._python("openai", "openai")
        return self._both(python, "use_openai.py", model)

    def anthropic(self, model: str) -> str:
        python = self._python("anthropic", "anthropic")
        return self._both(python, "use_anthropic.py", model)

    def anthropic_node(self, model: str) -> str:
        package = self._node("anthropic-node", "@anthropic-ai/sdk") / "@anthropic-ai/sdk/index.mjs"
        ways = ("plain", "stream")
        program = PROGRAMS / "use_anthropic.mjs"
        said = {way: self._says("17 degrees", "node", program, package, self._url, model, way) for way in ways}
        return "; ".join(f"{way}: {why}" for way, why in said.items() if why)

    def claude_code(self, model: str) -> str:
        program = self._node("claude-code", "@anthropic-ai/claude-code") / ".bin/claude"
        environment = {
            "ANTHROPIC_BASE_URL": self._url.removesuffix("/v1"),
            "ANTHROPIC_AUTH_TOKEN": "none",
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        flags = ["--allowedTools", "Write", "--permission-mode", "acceptEdits", "--output-format", "stream-json"]
        task = f"{TASK} It is in the folder {{folder}}."
        return self._writes(program, "-p", task, "--verbose", *flags, environment=environment)

    def langchain(self, model: str) -> str:
        python = self._python("langchain", "langchain-openai")
        return self._both(python, "use_langchain.py", model)

    def inspect(self, model: str) -> str:
        python = self._python("inspect", "inspect-ai", "openai")
        with tempfile.TemporaryDirectory() as logs:
            return self._says("17", python, PROGRAMS / "use_inspect.py", self._url, model, logs)

    def aider(self, model: str) -> str:
        python = self._python("aider", "aider-chat")
        keys = {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": self._url, "AIDER_ANALYTICS": "false"}
        flags = ["--yes-always", "--no-git", "--no-check-update", "--no-show-model-warnings", "--edit-format", "whole"]
        aider = python.with_name("aider")
        return self._writes(aider, "--model", f"openai/{model}", *flags, "--message", TASK, environment=keys)

    def opencode(self, model: str) -> str:
        program = self._node("opencode", "opencode-ai") / ".bin/opencode"
        options = {"baseURL": self._url, "apiKey": "none"}
        limits = {name: {"name": name, "limit": {"context": 32_768, "output": 4_096}} for name in MODELS}
        provider = {"npm": "@ai-sdk/openai-compatible", "name": "Tierwise", "options": options, "models": limits}
        settings = {"provider": {"tierwise": provider}, "autoupdate": False, "share": "disabled"}
        keys = {"OPENCODE_CONFIG_CONTENT": json.dumps(settings), "OPENCODE_DISABLE_MODELS_FETCH": "1"}
        return self._writes(program, "run", "--model", f"tierwise/{model}", TASK, environment=keys)

    def _python(self, name: str, *packages: str) -> Path:
        python = self._folder / name / "bin/python"
        if not python.exists():
            run(sys.executable, "-m", "venv", self._folder / name)
            run(python, "-m", "pip", "install", "--quiet", *packages)
        return python

    def _node(self, name: str, package: str) -> Path:
        """The folder of a package that npm installs."""
        folder = self._folder / name
        if not (folder / "node_modules" / package).exists():
            folder.mkdir(parents=True, exist_ok=True)
            run("npm", "install", "--silent", "--prefix", folder, package)
        return folder / "node_modules"

    def _both(self, python: Path, program: str, model: str) -> str:
        ways = ("plain", "stream")
        return "; ".join(
            f"{way}: {why}"
            for way in ways
            if (why := self._says("17 degrees", python, PROGRAMS / program, self._url, model, way))
        )

    def _says(self, words: str, *command: str | Path) -> str:
        done = run(*command, check=False)
        if done.returncode == 0 and words in done.stdout:
            return ""
        return f"exit code {done.returncode}: {(done.stdout + done.stderr)[-300:]}"

    def _writes(self, *command: str | Path, environment: Mapping[str, str]) -> str:
        """The failure of a coding agent that should write hello.txt, with a home of its own."""
        with tempfile.TemporaryDirectory() as place:
            work = Path(place) / "work"
            work.mkdir()
            home = {"HOME": place, "XDG_CONFIG_HOME": f"{place}/config", "XDG_DATA_HOME": f"{place}/data"}
            parts = [part.replace("{folder}", str(work)) if isinstance(part, str) else part for part in command]
            done = run(*parts, check=False, folder=work, environment={**home, **environment})
            file = work / "hello.txt"
            if done.returncode == 0 and file.is_file() and "17 degrees" in file.read_text(encoding="utf-8"):
                return ""
            return f"exit code {done.returncode}: {(done.stdout + done.stderr)[-300:]}"


def run(
    *command: str | Path,
    check: bool = True,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command; on timeout, its exit code is 124."""
    try:
        return subprocess.run(
            [str(part) for part in command],
            check=check,
            cwd=folder,
            env={**os.environ, "PWD": str(folder or Path.cwd()), **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS if not check else 900,
        )
    except subprocess.TimeoutExpired as late:
        said = bytes(late.stdout or b"").decode(errors="replace")
        return subprocess.CompletedProcess(late.args, 124, said, "")


def failed_actions(ledger: Path) -> tuple[int, int]:
    """The number of actions in a ledger, and of those without an answer."""
    with sqlite3.connect(ledger) as database:
        actions = database.execute("SELECT count(*) FROM actions").fetchone()[0]
        failed = database.execute("SELECT count(*) FROM actions WHERE ending != 'answered'").fetchone()[0]
    return actions, failed


def main() -> None:
    """Run every client with every model, and print a table and a line of totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder for the clients")
    parser.add_argument("--only", default=",".join(ALL), help="clients, by comma")
    parser.add_argument("--checkpoint", type=Path, help="a GGUF file to run instead of the scripted server")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name not in BY_NPM or shutil.which("npm")]
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            running(PROGRAMS / "upstream.py", log=folder / "upstream.log") as (_, upstream),
            tierwise(_config(options.checkpoint, upstream), folder) as (_, url),
        ):
            clients = Clients(options.into.resolve(), url)
            for name in names:
                for model in MODELS:
                    results.append(Result(client=name, model=model, why=getattr(clients, name)(model)))
                    print(f"{name:10} {model:9} {results[-1].why or 'met'}", flush=True)
        actions, failed = failed_actions(folder / "ledger.db")
    missed = sum(bool(result.why) for result in results)
    print(f"{len(results) - missed} of {len(results)} met; {actions} actions in the ledger, {failed} without an answer")
    if options.json:
        cells = [{"client": one.client, "model": one.model, "why": one.why} for one in results]
        options.json.write_text(json.dumps({"cells": cells, "actions": actions, "failed": failed}), encoding="utf-8")
    sys.exit(bool(failed or (missed and options.checkpoint is None)))


def _config(checkpoint: Path | None, upstream: str) -> dict[str, Any]:
    if checkpoint is None:
        return config({"engine": "http", "url": upstream})
    settings = {"engine": "llama.cpp", "checkpoint": "model", "context": 4096, "slots": 2}
    return config(settings, checkpoint.resolve())


if __name__ == "__main__":
    main()
