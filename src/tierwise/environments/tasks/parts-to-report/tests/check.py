import sqlite3
from collections import Counter
from pathlib import Path

from data import DAMAGED, sales

rows = [row for name, content in sales().items() if name != DAMAGED for row in content]
assert Path("/app/damaged.txt").read_text().strip().rpartition("/")[2] == DAMAGED
with sqlite3.connect("file:/app/sales.db?mode=ro", uri=True) as database:
    found = database.execute("SELECT day, item, count FROM sales").fetchall()
assert sorted(found) == sorted(rows)
totals = Counter()
for _, item, count in rows:
    totals[item] += count
top = [f"{item} {total}" for item, total in totals.most_common(3)]
assert Path("/app/top.txt").read_text().splitlines() == top
