"""Runs other tools' harnesses against tiers here, and keeps their logs as fixtures of the tests of `tierwise import`.

    python benchmarks/harness_logs.py --home FOLDER --into tests/runs/fixtures [--only inspect,nemo]
        [--python python3.12]

Each module in `harnesses/` pins a tool's version, installs it in a folder of its own under `--home`, and runs it
against two tiers of `tierwise serve`, `fast` and `max`, which a scripted server answers. Of what the tool wrote only
paths of this machine and the endpoint's port are replaced.
"""

from __future__ import annotations

import argparse
import io
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from backports.zstd import zipfile

from harnesses import (
    aiperf_logs,
    evalscope_logs,
    guidellm_logs,
    harbor_logs,
    inspect_logs,
    livecodebench_logs,
    lm_eval_logs,
    nemo_logs,
    promptfoo_logs,
)
from harnesses.tier import Place, tier

HARNESSES: dict[str, Any] = {
    "aiperf": aiperf_logs,
    "evalscope": evalscope_logs,
    "guidellm": guidellm_logs,
    "harbor": harbor_logs,
    "inspect": inspect_logs,
    "livecodebench": livecodebench_logs,
    "lm_eval": lm_eval_logs,
    "nemo": nemo_logs,
    "promptfoo": promptfoo_logs,
}
_PORT = re.compile(rb"127\.0\.0\.1:\d+")


def without_paths(raw: bytes, *folders: Path) -> bytes:
    """The file, with names in place of this machine's folders, and with a port that does not change."""
    if raw.startswith(b"PK"):
        return _zip_without_paths(raw, *folders)
    for folder in folders:
        raw = raw.replace(str(folder).encode(), folder.name.encode())
    return _PORT.sub(b"127.0.0.1:8000", raw)


def _zip_without_paths(raw: bytes, *folders: Path) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(into, "w") as new:
        for one in old.infolist():
            new.writestr(one, without_paths(old.read(one), *folders), one.compress_type)
    return into.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="folder for the environments")
    parser.add_argument("--into", type=Path, required=True, help="folder for the fixtures")
    parser.add_argument("--only", default=",".join(HARNESSES), help="comma-separated names")
    parser.add_argument("--python", default=sys.executable, help="a Python from 3.12 on")
    args = parser.parse_args()
    home, pythons = args.home.resolve(), [Path(sys.base_prefix), Path(args.python).resolve().parents[1]]
    home.mkdir(parents=True, exist_ok=True)
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory() as folder:
            served, work = Path(folder, "served"), Path(folder, "work")
            served.mkdir()
            work.mkdir()
            with tier(served) as url:
                place = Place(url=url, folder=work, home=home, python=args.python)
                for path, where in HARNESSES[name].make(place):
                    target = args.into / where
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(without_paths(path.read_bytes(), work, home, *pythons))
                    print(f"{target}  {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
