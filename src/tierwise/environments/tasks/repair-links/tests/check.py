import os
from pathlib import Path

root = Path("/app/tree")
links = {path.relative_to(root).as_posix(): os.readlink(path) for path in root.rglob("*") if path.is_symlink()}
assert set(links) == {"a/one", "b/c/two", "three", "a/outside", "b/near"}, sorted(links)
assert links["a/outside"] == "/usr/bin/env"
assert links["b/near"] == "c/deep.txt"
for name, text in (("a/one", "top"), ("b/c/two", "leaf"), ("three", "deep")):
    assert not links[name].startswith("/"), links[name]
    assert (root / name).read_text() == f"{text}\n", name
    assert (root / name).resolve().is_relative_to(root), name
assert Path("/app/dangling.txt").read_text().split() == ["a/gone", "b/c/lost"]
