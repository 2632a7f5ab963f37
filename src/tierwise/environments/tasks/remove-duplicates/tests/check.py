from pathlib import Path

from data import photos

kept, deleted = {}, []
for path, content in sorted(photos().items()):
    if content in kept.values():
        deleted.append(path)
    else:
        kept[path] = content
root = Path("/app/photos")
found = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
assert found == kept, sorted(set(found) ^ set(kept))
assert Path("/app/deleted.txt").read_text().splitlines() == sorted(deleted)
