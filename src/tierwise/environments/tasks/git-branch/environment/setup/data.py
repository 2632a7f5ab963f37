import os
import subprocess
from pathlib import Path

REPO = Path("/app/repo")


def git(*words, day=1):
    when = f"2025-03-{day:02}T12:00:00+00:00"
    who = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.org", "GIT_AUTHOR_DATE": when}
    who |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.org", "GIT_COMMITTER_DATE": when}
    done = subprocess.run(["git", *words], cwd=REPO, env=os.environ | who, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def new():
    REPO.mkdir(parents=True)
    git("init", "-q", "-b", "main")
    git("config", "user.name", "Ada")
    git("config", "user.email", "ada@example.org")


def commit(message, day=1, **files):
    for name, text in files.items():
        (REPO / name.replace("__", ".")).write_text(text)
    git("add", "-A")
    git("commit", "-q", "-m", message, day=day)
    return git("rev-parse", "HEAD")
