from pathlib import Path

from data import texts

folder = Path("/app/texts")
folder.mkdir(parents=True)
for name, text, encoding, end in texts():
    (folder / name).write_bytes(text.replace("\n", end).encode(encoding))
