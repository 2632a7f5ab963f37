from pathlib import Path

home = Path("/app/conf")
assert (home / "app.conf").read_text() == "host = db.internal\nport = 5432\nfallback = db.internal\n"
assert (home / "web.conf").read_text() == "listen 80;\nupstream db.internal:8000;\n"
assert (home / "README.txt").read_text() == "localhost is the default.\n"
