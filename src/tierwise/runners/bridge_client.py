"""Runs a command in the sandbox of an agent's task: `sandbox COMMAND`, or the command on standard input.

Started by the program that `bridge.py` writes, without site packages; imports nothing of ours.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys


def main() -> int:
    """Send the command, write what it wrote, and end with its exit code."""
    path, *words = sys.argv[1:]
    command = " ".join(words) if words else sys.stdin.read()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.sendall(json.dumps({"command": command, "cwd": os.environ.get("SANDBOX_CWD")}).encode() + b"\n")
        said = json.loads(line.makefile("rb").readline() or b'{"code": 125, "stdout": "", "stderr": ""}')
    sys.stdout.buffer.write(base64.b64decode(said["stdout"]))
    sys.stderr.buffer.write(base64.b64decode(said["stderr"]))
    return int(said["code"])


if __name__ == "__main__":
    sys.exit(main())
