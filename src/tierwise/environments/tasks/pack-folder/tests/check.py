import tarfile
from pathlib import Path

with tarfile.open("/app/photos.tar.gz", "r:gz") as archive:
    names = {one.name.removeprefix("./") for one in archive if one.isfile()}
    bodies = {one.name.removeprefix("./"): archive.extractfile(one).read() for one in archive if one.isfile()}
assert names == {"photos/a.txt", "photos/b.txt", "photos/old/c.txt"}
assert all(Path("/app", name).read_bytes() == body for name, body in bodies.items())
