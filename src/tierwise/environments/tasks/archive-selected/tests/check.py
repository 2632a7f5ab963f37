import tarfile
from pathlib import Path

from data import files

with tarfile.open("/app/backup.tar.gz", "r:gz") as archive:
    found = {member.name: archive.extractfile(member).read() for member in archive}
expected = {name: content for name, content in files().items() if len(content) > 1000 and not name.endswith(".tmp")}
assert found == expected, sorted(set(found) ^ set(expected))
for name, content in files().items():
    assert Path("/app/data", name).read_bytes() == content, name
