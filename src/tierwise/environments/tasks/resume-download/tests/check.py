import hashlib
import socket
from pathlib import Path

from data import CONTENT

assert hashlib.sha256(Path("/app/file.bin").read_bytes()).digest() == hashlib.sha256(CONTENT()).digest()
assert len(CONTENT()) <= int(Path("/app/sent.txt").read_text()) <= 210_000
with socket.socket() as probe:
    probe.settimeout(2)
    assert probe.connect_ex(("127.0.0.1", 7171)) != 0, "the server still runs"
