import subprocess


def git(*words):
    return subprocess.run(["git", "-C", "/app/repo", *words], check=True, capture_output=True, text=True).stdout.strip()


assert git("rev-parse", "hotfix") == git("rev-parse", "v1.0^{commit}")
assert git("rev-list", "--count", "main") == "3"
