#!/bin/bash
set -euo pipefail
python3 - <<'END'
from pathlib import Path

for path in Path("/app/texts").glob("*.txt"):
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252")
    path.write_bytes(text.replace("\r\n", "\n").encode())
END
