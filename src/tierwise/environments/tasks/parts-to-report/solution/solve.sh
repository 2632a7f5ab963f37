#!/bin/bash
set -euo pipefail
mkdir -p /app/work
for part in /app/parts/part.*; do base64 -d "$part"; done | tar -xzf - -C /app/work
cd /app/work
{ sha256sum -c SHA256SUMS 2> /dev/null || true; } | sed -n 's/: FAILED$//p' > /app/damaged.txt
python3 - <<'END'
import csv
import pathlib
import sqlite3

damaged = pathlib.Path("/app/damaged.txt").read_text().split()
with sqlite3.connect("/app/sales.db") as database:
    database.execute("CREATE TABLE sales(day TEXT, item TEXT, count INTEGER)")
    for path in sorted(pathlib.Path("sales").glob("*.csv")):
        if str(path) not in damaged:
            rows = [(row["day"], row["item"], int(row["count"])) for row in csv.DictReader(path.open())]
            database.executemany("INSERT INTO sales VALUES (?, ?, ?)", rows)
    query = "SELECT item, SUM(count) AS total FROM sales GROUP BY item ORDER BY total DESC LIMIT 3"
    top = "".join(f"{item} {total}\n" for item, total in database.execute(query))
pathlib.Path("/app/top.txt").write_text(top)
END
