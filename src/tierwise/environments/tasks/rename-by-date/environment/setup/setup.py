from pathlib import Path

from data import notes

folder = Path("/app/notes")
folder.mkdir(parents=True)
for name, date, text in notes():
    (folder / name).write_text(f"Date: {date}\n{text}")
