"""Runs mini-swe-agent on one task, in its own Python: its default agent, on the endpoint, with commands in the sandbox.

Started by `mini_swe_agent.py` with its settings as JSON. Imports nothing of ours. Written for mini-swe-agent 2.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import litellm
from minisweagent.agents.default import DefaultAgent
from minisweagent.config import builtin_config_dir, get_config_from_spec
from minisweagent.environments.local import LocalEnvironment
from minisweagent.models import get_model
from minisweagent.utils.serialize import recursive_merge

_SECONDS = 60
"""Time limit of one command without a setting, told to the model where it is reached."""


class SandboxEnvironment(LocalEnvironment):
    """Runs commands in the sandbox, by the socket that `SANDBOX_SOCKET` names."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(os.environ["SANDBOX_SOCKET"])
        self._answers = self._line.makefile("rb")

    def execute(self, action: dict[str, Any], cwd: str = "", *, timeout: int | None = None) -> dict[str, Any]:
        """Run a command; raises mini's `Submitted` if it says that the task is complete."""
        seconds = timeout or self.config.timeout
        # One stream, as mini's own environments have it.
        order = {
            "command": f"{{ {action.get('command', '')}\n}} 2>&1",
            "cwd": cwd or self.config.cwd,
            "env": self.config.env,
            "seconds": seconds,
        }
        self._line.sendall(json.dumps(order).encode() + b"\n")
        said = json.loads(self._answers.readline())
        text = (base64.b64decode(said["stdout"]) + base64.b64decode(said["stderr"])).decode(errors="replace")
        output = {"output": text, "returncode": said["code"], "exception_info": ""}
        if said["timed_out"]:
            output["exception_info"] = f"The command was ended after {seconds:g} s"
        self._check_finished(output)
        return output

    def get_template_vars(self, **more: Any) -> dict[str, Any]:
        """What prompts may name: of the sandbox, and nothing of this process, whose variables hold a key."""
        system = {"system": "Linux", "release": "", "version": "", "machine": os.uname().machine}
        return {**self.config.model_dump(), **system, **more}


def main() -> None:
    """Work on the task that the variables name, until the agent says that it is done or its turns are over."""
    settings = json.loads(sys.argv[1])
    name = "mini" if settings["tool_calls"] else "default"
    config = recursive_merge(get_config_from_spec(str(builtin_config_dir / f"{name}.yaml")), settings["config"])
    litellm.suppress_debug_info = True  # it writes a list of providers for each request
    known = DefaultAgent.__init__.__kwdefaults__["config_class"].model_fields
    if unknown := sorted(settings["config"].get("agent", {}).keys() - known):
        sys.exit(f"mini-swe-agent has no setting agent.{unknown[0]}; allowed: {', '.join(known)}")
    agent_settings = {
        **{key: value for key, value in config["agent"].items() if key in known},
        "step_limit": settings["turns"],
        "cost_limit": 0.0,
        "output_path": Path(os.environ["TRAJECTORY"]),
    }
    model = get_model(
        config={
            **config.get("model", {}),
            "model_class": "litellm" if settings["tool_calls"] else "litellm_textbased",
            "model_name": f"openai/{os.environ['TIERWISE_MODEL']}",
            "cost_tracking": "ignore_errors",
            "model_kwargs": {
                **config.get("model", {}).get("model_kwargs", {}),
                "drop_params": True,
                "api_base": os.environ["OPENAI_BASE_URL"],
                "api_key": os.environ["OPENAI_API_KEY"],
            },
        }
    )
    environment = SandboxEnvironment(**{"timeout": _SECONDS, **config.get("environment", {})})
    agent = DefaultAgent(model, environment, **agent_settings)
    instruction = Path(os.environ["INSTRUCTION"]).read_text(encoding="utf-8")
    ended = agent.run(instruction)
    print(f"mini-swe-agent: {ended.get('exit_status')} after {agent.n_calls} requests")  # noqa: T201


if __name__ == "__main__":
    main()
