from pathlib import Path

from data import notes

expected, seen = {}, {}
for name, date, text in sorted(notes()):
    seen[date] = seen.get(date, 0) + 1
    expected[f"{date}_{seen[date]}.txt"] = f"Date: {date}\n{text}"
found = {path.name: path.read_text() for path in Path("/app/notes").iterdir()}
assert found == expected, sorted(set(found) ^ set(expected))
