from pathlib import Path

from data import photos

for name, content in photos().items():
    path = Path("/app/photos", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
