import subprocess
import tempfile
from pathlib import Path


def backup(source, target):
    done = subprocess.run(["bash", "/app/backup.sh", source, target], capture_output=True, text=True, timeout=30, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


with tempfile.TemporaryDirectory() as top:
    source, target = Path(top, "my source"), Path(top, "the target")
    files = {"a.txt": "1", "b c.txt": "2", "deep/er/ d.txt": "3", "deep/*.txt": "4", "-n": "5", "new\nline": "6"}
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    assert backup(source, target) == "6"
    assert {path.relative_to(target).as_posix(): path.read_text() for path in target.rglob("*") if path.is_file()} == files
    assert backup(source, target) == "0"
    (source / "b c.txt").write_text("changed")
    (source / "deep/later.txt").write_text("late")
    assert backup(source, target) == "2"
    assert (target / "b c.txt").read_text() == "changed"
    assert backup(source, target) == "0"
