import os
from pathlib import Path

root = Path("/app/tree")
for name, text in (("top.txt", "top"), ("a/leaf.txt", "leaf"), ("b/c/deep.txt", "deep")):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(f"{text}\n")
for link, target in {
    "a/one": "/srv/old/tree/top.txt",
    "b/c/two": "/srv/old/tree/a/leaf.txt",
    "three": "/srv/old/tree/b/c/deep.txt",
    "a/gone": "/srv/old/tree/a/missing.txt",
    "b/c/lost": "/srv/old/tree/nowhere",
    "a/outside": "/usr/bin/env",
    "b/near": "c/deep.txt",
}.items():
    os.symlink(target, root / link)
