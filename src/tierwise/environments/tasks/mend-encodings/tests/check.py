from pathlib import Path

from data import texts

for name, text, _, _ in texts():
    assert Path("/app/texts", name).read_bytes() == text.encode(), name
assert len(list(Path("/app/texts").iterdir())) == len(texts())
