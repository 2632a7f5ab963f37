from pathlib import Path

assert float(Path("/app/total.txt").read_text()) == 1324
