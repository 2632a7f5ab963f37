import subprocess


def git(*words):
    return subprocess.run(["git", "-C", "/app/repo", *words], check=True, capture_output=True, text=True).stdout.strip()


assert git("log", "-1", "--format=%s", "rescued") == "Tune the sampler"
assert git("show", "rescued:sampler.txt") == "temperature 0.7\ntop_p 0.95"
assert git("log", "--format=%s", "rescued").splitlines() == ["Tune the sampler", "Add a sampler", "Begin"]
assert git("log", "--format=%s", "main").splitlines() == ["Describe it", "Begin"]
assert git("rev-parse", "--abbrev-ref", "HEAD") == "main"
assert git("status", "--porcelain") == ""
