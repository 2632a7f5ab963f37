from pathlib import Path

names = set(Path("/app/names.txt").read_text().split())
assert len(names) == 9
assert Path("/app/sorted.txt").read_text().split() == sorted(names)
