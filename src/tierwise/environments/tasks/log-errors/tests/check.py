from pathlib import Path

from data import requests

counts = {}
for address, status, size, _ in requests():
    if 500 <= status <= 599:
        count, total = counts.get(address, (0, 0))
        counts[address] = count + 1, total + (size or 0)
rows = [f"{a},{c},{t}" for a, (c, t) in sorted(counts.items(), key=lambda row: (-row[1][0], row[0]))]
assert Path("/app/errors.csv").read_text().split() == rows
