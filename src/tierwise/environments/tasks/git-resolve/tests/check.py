import configparser
import subprocess
from pathlib import Path


def git(*words):
    return subprocess.run(["git", "-C", "/app/repo", *words], check=True, capture_output=True, text=True).stdout.strip()


assert git("rev-parse", "--abbrev-ref", "HEAD") == "main"
assert len(git("rev-list", "--parents", "-n", "1", "HEAD").split()) == 3, "not a merge commit"
assert git("merge-base", "--is-ancestor", "feature", "HEAD") == ""
assert git("status", "--porcelain") == ""
text = Path("/app/repo/settings.ini").read_text()
assert not any(mark in text for mark in ("<<<<", "====", ">>>>"))
settings = configparser.ConfigParser()
settings.read_string(text)
assert {name: dict(settings[name]) for name in settings.sections()} == {
    "server": {"host": "localhost", "timeout": "60", "retries": "5"},
    "cache": {"size": "256", "ttl": "900", "path": "/var/cache/app", "compress": "yes"},
}
assert Path("/app/repo/feature.txt").exists()
