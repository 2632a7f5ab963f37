from pathlib import Path

from data import jobs

rows = ["job,code,lines"]
rows += [f"{name},{'timeout' if code is None else code},{lines}" for name, code, lines in jobs()]
assert Path("/app/report.csv").read_text().split() == rows
for name, _, _ in jobs():
    assert Path(f"/app/jobs/{name}.ran").read_text() == "ran\n", f"{name} did not run exactly once"
