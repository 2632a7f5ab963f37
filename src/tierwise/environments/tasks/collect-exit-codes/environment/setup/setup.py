from pathlib import Path

from data import jobs

folder = Path("/app/jobs")
folder.mkdir(parents=True)
for name, code, lines in jobs():
    wait = "exec sleep 600" if code is None else f"exit {code}"
    (folder / f"{name}.sh").write_text(f"echo ran >> /app/jobs/{name}.ran\nseq 1 {lines}\necho noise >&2\n{wait}\n")
