import hashlib
import subprocess
import tarfile
from pathlib import Path

home = Path("/app/repo")


def git(*words):
    return subprocess.run(["git", "-C", str(home), *words], check=True, capture_output=True, text=True).stdout.strip()


assert (home / "VERSION").read_text() == "1.5.0\n"
assert git("rev-parse", "v1.5.0^{commit}") == git("rev-parse", "HEAD")
assert git("cat-file", "-t", "v1.5.0") == "tag", "the tag is not annotated"
assert git("log", "-1", "--format=%s") == "Release 1.5.0"
assert sorted(git("show", "--name-only", "--format=", "HEAD").split()) == ["CHANGELOG.md", "VERSION"]
lines = (home / "CHANGELOG.md").read_text().splitlines()
assert lines[:7] == ["# Changes", "", "## 1.5.0", "", "- Greet several people", "- Say farewell", ""], lines[:7]
assert "## 1.4.2" in lines and "## Unreleased" not in lines
assert git("status", "--porcelain", "--untracked-files=no") == ""
archive = home / "dist" / "greet-1.5.0.tar.gz"
with tarfile.open(archive) as opened:
    names = sorted(opened.getnames())
    said = opened.extractfile("greet-1.5.0/VERSION").read()
files = sorted(f"greet-1.5.0/{name}" for name in git("ls-files").split())
assert [name for name in names if name != "greet-1.5.0"] == files, names
assert said == b"1.5.0\n"
digest, name = (home / "dist" / "SHA256SUMS").read_text().split()
assert (digest, name) == (hashlib.sha256(archive.read_bytes()).hexdigest(), "greet-1.5.0.tar.gz")
