"""Real clients that call tools, through the policies of the quickstart, on a scripted server.

    python benchmarks/clients.py --into FOLDER [--only openai,codex] [--json FILE] [--table docs/apis.md]
    python benchmarks/clients.py --into FOLDER --only claude_code,codex --models fast --checkpoint FILE.gguf
    python benchmarks/clients.py --into FOLDER --models fast --silent 40

Installs the clients of `CLIENTS` under FOLDER, those in Python into virtual environments and the others with npm, each
once. `--table` writes their rows into a table of the documentation, and leaves those of other clients as they are. The
server refuses log-probabilities with tools in a stream, as llama.cpp does, and calls one tool. A cell is met if the
client ran the tool (coding agents: wrote the file) and ended with its result; LlamaIndex and LiteLLM also have to
answer without a tool, and to raise their own error for a model that is not there. Exits with 1 if a cell is not met, or
if an action has no answer. With `--checkpoint` the tiers run on llama.cpp with that file, and Claude Code and Codex
send short prompts and few tools. The model may then be the reason that a cell is not met, so only actions without an
answer count. With `--silent` the scripted server says nothing for so long before each answer, and Codex is told to give
up after 20 s without an event (300 s, if it is not told).
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
    from collections.abc import Mapping, Sequence

PROGRAMS = HERE / "client_programs"
MODELS = ("fast", "standard", "max", "auto")
DEPLOYMENT = "gpt-4o"
"""A name that clients know which take OpenAI's models only."""
TASK = "Write the text `17 degrees` into the file hello.txt in this folder. Do nothing else."
ALL_WELL = "all as it should be"
"""What a program says that does several things in one process, because it takes seconds to start."""
SECONDS, REAL_SECONDS = 180, 1200
"""For one run of a client: on the scripted server, and on a real model or a server that is silent for long."""
IDLE_SECONDS = 20
"""After which Codex gives up on a silent server."""
SYSTEM = "You are a coding agent. Use your tools to change files, then say what you did."
"""Instead of prompts of thousands of tokens, for a small model."""
BEGIN, END = "<!-- clients -->", "<!-- end of clients -->"
"""What stands around the table of clients."""


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
        "deployments": {DEPLOYMENT: deployment},
        "tiers": {
            "fast": {"deployment": DEPLOYMENT, "policy": "single", "sampling": {"temperature": 0}},
            "standard": {"deployment": DEPLOYMENT, "policy": {"majority": {"n": 3}}, "sampling": {"temperature": 0.6}},
            "max": {
                "deployment": DEPLOYMENT,
                "policy": {"best_of_n": {"n": 6}},
                "sampling": {"temperature": 0.6},
                "budget": {"passes": 6, "seconds": 60},
            },
        },
        "routes": {"auto": {"cascade": ["fast", "standard", "max"]}},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What is installed, and what the table says of it. `Clients` has a method of its name that runs the task."""

    label: str
    api: str
    packages: tuple[str, ...]
    """The first is the one whose version is shown."""
    folder: str
    """Where it is installed; clients may share one."""
    is_node: bool = False


def in_python(label: str, api: str, folder: str, *packages: str) -> Client:
    return Client(label=label, api=api, folder=folder, packages=packages)


def in_node(label: str, api: str, folder: str, *packages: str) -> Client:
    return Client(label=label, api=api, folder=folder, packages=packages, is_node=True)


CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
LLAMA_INDEX = ("llama-index-llms-openai", "llama-index-llms-openai-like")
LITELLM = ("litellm==1.110.2", "fastapi", "orjson", "soundfile")
"""Its SDK, which imports the others where it streams Anthropic's messages. Pinned: release 1.107.0 was compromised."""
CLIENTS = {
    "openai": in_python("openai-python, `chat.completions`", CHAT, "openai", "openai"),
    "openai_responses": in_python("openai-python, `responses`", RESPONSES, "openai", "openai"),
    "openai_node": in_node("openai-node, `chat.completions`", CHAT, "openai-node", "openai", "zod"),
    "openai_node_responses": in_node("openai-node, `responses`", RESPONSES, "openai-node", "openai", "zod"),
    "ai_sdk": in_node("AI SDK, `@ai-sdk/openai` with its defaults", RESPONSES, "ai-sdk", "@ai-sdk/openai", "ai", "zod"),
    "langchain": in_python("LangChain, `ChatOpenAI`", CHAT, "langchain", "langchain-openai"),
    "langchain_responses": in_python("LangChain, `use_responses_api`", RESPONSES, "langchain", "langchain-openai"),
    "anthropic": in_python("anthropic-python", MESSAGES, "anthropic", "anthropic"),
    "anthropic_node": in_node("anthropic-node", MESSAGES, "anthropic-node", "@anthropic-ai/sdk"),
    "llama_index": in_python("LlamaIndex, `OpenAI`", CHAT, "llamaindex", *LLAMA_INDEX),
    "llama_index_responses": in_python("LlamaIndex, `OpenAIResponses`", RESPONSES, "llamaindex", *LLAMA_INDEX),
    "llama_index_like": in_python("LlamaIndex, `OpenAILike`", CHAT, "llamaindex", *LLAMA_INDEX),
    "litellm": in_python("LiteLLM, `openai/…`", CHAT, "litellm", *LITELLM),
    "litellm_responses": in_python("LiteLLM, `responses`", RESPONSES, "litellm", *LITELLM),
    "litellm_bridge": in_python("LiteLLM, `openai/responses/…`", RESPONSES, "litellm", *LITELLM),
    "litellm_anthropic": in_python("LiteLLM, `anthropic/…`", MESSAGES, "litellm", *LITELLM),
    "litellm_messages": in_python("LiteLLM, `anthropic.messages` for `openai/…`", RESPONSES, "litellm", *LITELLM),
    "inspect": in_python("Inspect", CHAT, "inspect", "inspect-ai", "openai"),
    "aider": in_python("aider", CHAT, "aider", "aider-chat"),
    "opencode": in_node("opencode", CHAT, "opencode", "opencode-ai"),
    "claude_code": in_node("Claude Code", MESSAGES, "claude-code", "@anthropic-ai/claude-code"),
    "codex": in_node("Codex", RESPONSES, "codex", "@openai/codex"),
}


class Clients:
    """Installs clients under a folder, and runs one task with each."""

    def __init__(self, folder: Path, url: str, *, is_real: bool = False, is_silent: bool = False) -> None:
        self._folder, self._url = folder, url
        self._is_real = is_real
        """Whether a real, small model answers."""
        self._is_silent = is_silent
        self._idle_seconds = IDLE_SECONDS if is_silent else REAL_SECONDS
        self._seconds = REAL_SECONDS if is_real or is_silent else SECONDS

    def openai(self, model: str) -> str:
        return self._both(self._python("openai"), "use_openai.py", model)

    def openai_responses(self, model: str) -> str:
        return self._both(self._python("openai_responses"), "use_responses.py", model)

    def openai_node(self, model: str) -> str:
        return self._runs_node("openai_node", "use_openai_node.mjs", model, "chat", "chat-stream")

    def openai_node_responses(self, model: str) -> str:
        return self._runs_node("openai_node_responses", "use_openai_node.mjs", model, "responses", "responses-stream")

    def ai_sdk(self, model: str) -> str:
        return self._runs_node("ai_sdk", "use_ai_sdk.mjs", model, "plain", "stream")

    def anthropic(self, model: str) -> str:
        return self._both(self._python("anthropic"), "use_anthropic.py", model)

    def anthropic_node(self, model: str) -> str:
        package = self._node("anthropic_node") / "@anthropic-ai/sdk/index.mjs"
        return self._each(("plain", "stream"), "node", PROGRAMS / "use_anthropic.mjs", package, self._url, model)

    def claude_code(self, model: str) -> str:
        environment = {
            "ANTHROPIC_BASE_URL": self._url.removesuffix("/v1"),
            "ANTHROPIC_AUTH_TOKEN": "none",
            "ANTHROPIC_MODEL": model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        flags = ["--allowedTools", "Write", "--permission-mode", "acceptEdits"]
        streamed = ("--verbose", "--output-format", "stream-json")
        flags += ("--tools", "Write", "--system-prompt", SYSTEM) if self._is_real else streamed
        task = f"{TASK} It is in the folder {{folder}}."
        program = self._node("claude_code") / ".bin/claude"
        return self._writes(program, "-p", task, *flags, environment=environment)

    def langchain(self, model: str) -> str:
        return self._both(self._python("langchain"), "use_langchain.py", model, "chat")

    def langchain_responses(self, model: str) -> str:
        return self._both(self._python("langchain_responses"), "use_langchain.py", model, "responses")

    def llama_index(self, model: str) -> str:
        return self._llama_index("OpenAI", model)

    def llama_index_responses(self, model: str) -> str:
        return self._llama_index("OpenAIResponses", model)

    def llama_index_like(self, model: str) -> str:
        return self._llama_index("OpenAILike", model)

    def litellm(self, model: str) -> str:
        return self._litellm("chat", model)

    def litellm_responses(self, model: str) -> str:
        return self._litellm("responses", model)

    def litellm_bridge(self, model: str) -> str:
        return self._litellm("bridge", model)

    def litellm_anthropic(self, model: str) -> str:
        return self._litellm("anthropic", model)

    def litellm_messages(self, model: str) -> str:
        return self._litellm("messages", model)

    def _llama_index(self, kind: str, model: str) -> str:
        return self._says(
            ALL_WELL, self._python("llama_index"), PROGRAMS / "use_llama_index.py", self._url, model, kind
        )

    def _litellm(self, route: str, model: str) -> str:
        return self._says(ALL_WELL, self._python("litellm"), PROGRAMS / "use_litellm.py", self._url, model, route)

    def inspect(self, model: str) -> str:
        python = self._python("inspect")
        with tempfile.TemporaryDirectory() as logs:
            return self._says("17", python, PROGRAMS / "use_inspect.py", self._url, model, logs)

    def aider(self, model: str) -> str:
        keys = {"OPENAI_API_KEY": "none", "OPENAI_API_BASE": self._url, "AIDER_ANALYTICS": "false"}
        flags = ["--yes-always", "--no-git", "--no-check-update", "--no-show-model-warnings", "--edit-format", "whole"]
        aider = self._python("aider").with_name("aider")
        return self._writes(aider, "--model", f"openai/{model}", *flags, "--message", TASK, environment=keys)

    def opencode(self, model: str) -> str:
        options = {"baseURL": self._url, "apiKey": "none"}
        limits = {name: {"name": name, "limit": {"context": 32_768, "output": 4_096}} for name in MODELS}
        provider = {"npm": "@ai-sdk/openai-compatible", "name": "Tierwise", "options": options, "models": limits}
        settings = {"provider": {"tierwise": provider}, "autoupdate": False, "share": "disabled"}
        keys = {"OPENCODE_CONFIG_CONTENT": json.dumps(settings), "OPENCODE_DISABLE_MODELS_FETCH": "1"}
        program = self._node("opencode") / ".bin/opencode"
        return self._writes(program, "run", "--model", f"tierwise/{model}", TASK, environment=keys)

    def codex(self, model: str) -> str:
        keys = {"name": "Tierwise", "base_url": self._url, "env_key": "TIERWISE_KEY", "wire_api": "responses"}
        provider = ",".join(f'{name}="{value}"' for name, value in keys.items())
        provider += f",stream_idle_timeout_ms={1000 * self._idle_seconds}"
        if self._is_silent:
            provider += ",stream_max_retries=0"
        settings = ("-c", f"model_providers.tierwise={{{provider}}}", "-c", "model_provider=tierwise")
        # What contains its commands is no part of this test, and needs rights that a container may lack.
        flags = ["--skip-git-repo-check", "--sandbox", "danger-full-access", "--model", model]
        if self._is_real:
            prompt = self._folder / "system.md"
            prompt.write_text(SYSTEM, encoding="utf-8")
            flags += ["-c", f"model_instructions_file={prompt}", "-c", 'web_search="disabled"']
            left_out = ("view_image", "goals", "multi_agent", "collaboration_modes", "skill_search", "plugins", "apps")
            flags += [part for feature in left_out for part in ("--disable", feature)]
        program = self._node("codex") / ".bin/codex"
        return self._writes(program, "exec", *flags, *settings, TASK, environment={"TIERWISE_KEY": "none"})

    def version(self, name: str) -> str:
        """The version of an installed client."""
        client = CLIENTS[name]
        package = client.packages[0].partition("==")[0]
        if client.is_node:
            return str(json.loads((self._node(name) / package / "package.json").read_text(encoding="utf-8"))["version"])
        program = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
        return run(self._python(name), "-c", program, package).stdout.strip()

    def _python(self, name: str) -> Path:
        """The interpreter of a client's virtual environment."""
        client = CLIENTS[name]
        python = self._folder / client.folder / "bin/python"
        if not python.exists():
            run(sys.executable, "-m", "venv", self._folder / client.folder)
            run(python, "-m", "pip", "install", "--quiet", *client.packages)
        return python

    def _node(self, name: str) -> Path:
        """The folder with a client's packages."""
        client = CLIENTS[name]
        folder = self._folder / client.folder
        if not (folder / "node_modules" / client.packages[0]).exists():
            folder.mkdir(parents=True, exist_ok=True)
            run("npm", "install", "--silent", "--prefix", folder, *client.packages)
        return folder / "node_modules"

    def _runs_node(self, name: str, program: str, model: str, *ways: str) -> str:
        copy = self._node(name).parent / program  # Node looks for packages beside the program
        shutil.copyfile(PROGRAMS / program, copy)
        return self._each(ways, "node", copy, self._url, model)

    def _both(self, python: Path, program: str, model: str, *more: str) -> str:
        return self._each(("plain", "stream"), python, PROGRAMS / program, self._url, model, *more)

    def _each(self, ways: Sequence[str], *command: str | Path) -> str:
        return "; ".join(f"{way}: {why}" for way in ways if (why := self._says("17 degrees", *command, way)))

    def _says(self, words: str, *command: str | Path) -> str:
        done = run(*command, check=False, seconds=self._seconds)
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
            done = run(*parts, check=False, folder=work, environment={**home, **environment}, seconds=self._seconds)
            file = work / "hello.txt"
            if done.returncode == 0 and file.is_file() and "17 degrees" in file.read_text(encoding="utf-8"):
                return ""
            return f"exit code {done.returncode}: {(done.stdout + done.stderr)[-300:]}"


def run(
    *command: str | Path,
    check: bool = True,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
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
            timeout=seconds if not check else 900,
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


def rows(results: Sequence[Result], versions: Mapping[str, str]) -> dict[str, str]:
    """The row of every client that ran, by its label."""
    found = {}
    for name, version in versions.items():
        client = CLIENTS[name]
        cells = ["missed" if one.why else "met" for one in results if one.client == name]
        found[client.label] = f"| {' | '.join((client.label, version, f'`{client.api}`', *cells))} |"
    return found


def with_rows(page: str, new: Mapping[str, str]) -> str:
    """A page whose table of clients has these rows; those of clients that did not run stay."""
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"the page has no table between {BEGIN} and {END}")
    old = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[3:] if line}
    head = ["| client | version | API | " + " | ".join(f"`{model}`" for model in MODELS) + " |"]
    head.append("|" + "---|" * (len(MODELS) + 3))
    return f"{before}{begin}\n{chr(10).join([*head, *{**old, **new}.values()])}\n{end}{after}"


def main() -> None:
    """Run every client with every model, and print a table and a line of totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, required=True, help="folder for the clients")
    parser.add_argument("--only", default=",".join(CLIENTS), help="clients, by comma")
    parser.add_argument("--models", default=",".join(MODELS), help="tiers and routes, by comma")
    parser.add_argument("--checkpoint", type=Path, help="a GGUF file to run instead of the scripted server")
    parser.add_argument("--silent", type=float, default=0.0, metavar="SECONDS", help="the scripted server's, at first")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--table", type=Path, help="a page whose table of clients gets their rows")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if options.table and options.models != ",".join(MODELS):
        parser.error("--table needs every model, because it writes whole rows; leave out --models")
    if unknown := set(options.models.split(",")) - set(MODELS):
        parser.error(f"there is no model {', '.join(sorted(unknown))}; the models are: {', '.join(MODELS)}")
    if unknown := set(chosen) - set(CLIENTS):
        parser.error(f"there is no client {', '.join(sorted(unknown))}; the clients are: {', '.join(CLIENTS)}")
    names = [name for name in chosen if not CLIENTS[name].is_node or shutil.which("npm")]
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with (
            running(PROGRAMS / "upstream.py", str(options.silent), log=folder / "upstream.log") as (_, upstream),
            tierwise(_config(options.checkpoint, upstream), folder) as (_, url),
        ):
            clients = Clients(
                options.into.resolve(), url, is_real=options.checkpoint is not None, is_silent=options.silent > 0
            )
            versions = {}
            for name in names:
                versions[name] = clients.version(name)
                for model in options.models.split(","):
                    results.append(Result(client=name, model=model, why=getattr(clients, name)(model)))
                    print(f"{name:21} {versions[name]:10} {model:9} {results[-1].why or 'met'}", flush=True)
        actions, failed = failed_actions(folder / "ledger.db")
    missed = sum(bool(result.why) for result in results)
    print(f"{len(results) - missed} of {len(results)} met; {actions} actions in the ledger, {failed} without an answer")
    if options.json:
        cells = [
            {"client": one.client, "version": versions[one.client], "model": one.model, "why": one.why}
            for one in results
        ]
        options.json.write_text(json.dumps({"cells": cells, "actions": actions, "failed": failed}), encoding="utf-8")
    if options.table:
        text = options.table.read_text(encoding="utf-8")
        options.table.write_text(with_rows(text, rows(results, versions)), encoding="utf-8")
    sys.exit(bool(failed or (missed and options.checkpoint is None)))


def _config(checkpoint: Path | None, upstream: str) -> dict[str, Any]:
    if checkpoint is None:
        return config({"engine": "http", "url": upstream})
    settings = {"engine": "llama.cpp", "checkpoint": "model", "context": 8192, "slots": 2}
    return config(settings, checkpoint.resolve())


if __name__ == "__main__":
    main()
