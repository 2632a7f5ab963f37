import json
from pathlib import Path

from data import totals

found = json.loads(Path("/app/totals.json").read_text())
assert set(found) == set(totals()), sorted(set(found) ^ set(totals()))
for country, total in totals().items():
    assert abs(found[country] - total) < 0.011, (country, found[country], total)
    assert round(found[country], 2) == found[country]
