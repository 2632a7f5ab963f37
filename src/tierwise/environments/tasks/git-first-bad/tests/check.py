import subprocess
from pathlib import Path


def git(*words):
    return subprocess.run(["git", "-C", "/app/repo", *words], check=True, capture_output=True, text=True).stdout.strip()


assert git("log", "-1", "--format=%s", Path("/app/first_bad.txt").read_text().strip()) == "Change 23"
assert len(Path("/app/first_bad.txt").read_text().strip()) == 40
assert git("rev-parse", "--abbrev-ref", "HEAD") == "main"
assert git("status", "--porcelain") == ""
