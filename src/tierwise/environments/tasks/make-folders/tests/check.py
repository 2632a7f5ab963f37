from pathlib import Path

home = Path("/app/project")
assert sorted(path.name for path in home.iterdir()) == ["docs", "src", "tests"]
for folder in home.iterdir():
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert (folder / "README.md").read_bytes() == b""
