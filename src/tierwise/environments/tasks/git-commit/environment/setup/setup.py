import os
import subprocess
from pathlib import Path

home = Path("/app/repo")
home.mkdir()
who = {f"GIT_{part}_{name}": text for part in ("AUTHOR", "COMMITTER") for name, text in (
    ("NAME", "Ada"), ("EMAIL", "ada@example.org"), ("DATE", "2025-03-01T12:00:00Z"))}


def git(*words):
    subprocess.run(["git", "-C", home, *words], check=True, capture_output=True, env=os.environ | who)


git("init", "-q", "-b", "main")
git("config", "user.name", "Ada")
git("config", "user.email", "ada@example.org")
(home / "list.txt").write_text("one\n")
git("add", "--all")
git("commit", "-q", "-m", "Begin")
(home / "list.txt").write_text("one\ntwo\n")
(home / "notes.txt").write_text("remember the milk\n")
