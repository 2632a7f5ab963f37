from pathlib import Path

from data import files

for name, content in files().items():
    path = Path("/app/data", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
