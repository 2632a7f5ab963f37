import base64
import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from data import DAMAGED, sales

held = io.BytesIO()
sums = ""
with tarfile.open(fileobj=held, mode="w") as archive:
    for name, rows in sales().items():
        text = "day,item,count\n" + "".join(f"{day},{item},{count}\n" for day, item, count in rows)
        sums += f"{hashlib.sha256(text.encode()).hexdigest()}  sales/{name}\n"
        data = (text + ("2025-01-01,pear,9999\n" if name == DAMAGED else "")).encode()
        member = tarfile.TarInfo(f"sales/{name}")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    member = tarfile.TarInfo("SHA256SUMS")
    member.size = len(sums)
    archive.addfile(member, io.BytesIO(sums.encode()))
packed = gzip.compress(held.getvalue(), mtime=0)
folder = Path("/app/parts")
folder.mkdir(parents=True)
size = -(-len(packed) // 12)
for number in range(12):
    (folder / f"part.{number:03}").write_bytes(base64.encodebytes(packed[number * size : (number + 1) * size]))
