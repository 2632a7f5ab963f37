"""An agent whose turns go to the tier and the task's sandbox, and in between, as a bare agent, to the model and this
machine's bash. Appends the seconds of each pair of turns to the file of `RESULTS`. Used by `agent_overhead.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

from loop import Terminal, ask

COMMAND = "ls / | wc -l; awk 'BEGIN { for (i = 0; i < 20000; i++) s += i; print s }'"


def turn(messages: list[dict[str, str]], terminal: Terminal | None) -> float:
    """One turn: a request, and the command; its seconds."""
    began = time.perf_counter()
    ask(messages)
    if terminal is None:
        subprocess.run(["bash", "-c", f"{{ {COMMAND}\n}} 2>&1"], stdout=subprocess.PIPE, check=True)
    else:
        terminal.run(COMMAND)
    return time.perf_counter() - began


def main() -> None:
    terminal, tier = Terminal(), os.environ["OPENAI_BASE_URL"]
    messages = [{"role": "user", "content": "word " * 2000}]
    pairs = []
    for number in range(int(os.environ["PAIRS"]) + 1):
        found = {}
        for which in ("ours", "bare") if number % 2 else ("bare", "ours"):
            os.environ["OPENAI_BASE_URL"] = tier if which == "ours" else os.environ["UPSTREAM"]
            found[which] = turn(messages, terminal if which == "ours" else None)
        pairs.append(found)
    with Path(os.environ["RESULTS"]).open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(found) + "\n" for found in pairs[1:])  # the first connects


if __name__ == "__main__":
    main()
