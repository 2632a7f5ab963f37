"""`tierwise` as a user runs it, and whether every tier of a file that it wrote answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

TIERS = ("fast", "standard", "max", "auto")


def tierwise(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "tierwise", *map(str, arguments)]
    everything = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=everything, check=False, timeout=240, cwd=cwd)


def answers(file: Path) -> dict[str, str]:
    """Check a config file and serve it; what each tier, and the route, says to one question."""
    checked = tierwise("check", file, cwd=file.parent)
    assert checked.returncode == 0, checked.stderr
    command = [sys.executable, "-W", "error", "-m", "tierwise", "serve", file, "--port", "0"]
    command += ["--ledger", file.parent / "tried.db"]
    with (
        (file.parent / "tried.log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, cwd=file.parent) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("serving on "), (file.parent / "tried.log").read_text()
            return {tier: said(line.split()[-1], tier) for tier in TIERS}
        finally:
            process.terminate()
            process.wait(30)


def said(endpoint: str, tier: str) -> str:
    body = {"model": tier, "max_tokens": 24, "messages": [{"role": "user", "content": "What is 2 plus 2?"}]}
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"{endpoint}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=120) as response:
        message = json.load(response)["choices"][0]["message"]
    return f"{message.get('reasoning_content') or ''}{message['content'] or ''}"
