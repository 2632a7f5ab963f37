from pathlib import Path

from data import CONTENT

Path("/app").mkdir(exist_ok=True)
Path("/app/.content").write_bytes(bytes(byte ^ 0x5A for byte in CONTENT()))
