import os
import subprocess
import time
from pathlib import Path

home = Path("/app/project")
TOOLS = {
    "summarise.sh": '#!/bin/bash\nawk -F , \'{ sum += $2 } END { print FILENAME, NR, sum }\' "$1"\n',
    "join.sh": '#!/bin/bash\ncat "$@" | LC_ALL=C sort\n',
}
for name, text in TOOLS.items():
    assert (home / "tools" / name).read_text() == text, f"{name} was changed"


def make(*words):
    done = subprocess.run(["make", *words], cwd=home, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def times():
    return {path.name: path.stat().st_mtime_ns for path in [*(home / "build").iterdir(), home / "report.txt"]}


def touch(path):
    later = time.time() + 5
    os.utime(home / path, (later, later))


make("clean")
make()
assert (home / "report.txt").read_text() == "data/a.csv 3 6\ndata/b.csv 2 30\ndata/c.csv 1 5\n"
before = times()
make()
assert times() == before, "the second make built something"
touch("data/b.csv")
make()
changed = {name for name, when in times().items() if when != before[name]}
assert len(changed) == 2 and "report.txt" in changed and any(name.startswith("b.") for name in changed), changed
before = times()
touch("tools/summarise.sh")
make()
assert all(when != before[name] for name, when in times().items()), "a new tool built nothing"
(home / "clean").write_text("")
make("clean")
assert not (home / "build").exists() and not (home / "report.txt").exists()
(home / "clean").unlink()
