import subprocess


def git(*words):
    return subprocess.run(["git", "-C", "/app/repo", *words], check=True, capture_output=True, text=True).stdout.strip()


assert git("status", "--porcelain") == ""
assert git("log", "--format=%s", "main").split("\n") == ["Add notes", "Begin"]
assert git("show", "main:notes.txt") == "remember the milk"
assert git("show", "main:list.txt") == "one\ntwo"
