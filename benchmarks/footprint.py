"""The footprint of Tierwise: idle memory, time of `tierwise --help`, and number of packages of the core install.

    python benchmarks/footprint.py [--install] [--json FILE]

Memory is that of the gateway's process with the quickstart's config, without the engine. `--install` installs the core
into a fresh environment, which takes a minute and needs a package index.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from overhead import wait_for_engine
from processes import HERE, tierwise

LIMITS = {"resident_mb": 120.0, "help_seconds": 0.3, "packages": 36.0}


def resident_mb(folder: Path) -> float:
    """Resident memory of the serving process after some idle seconds, with the engine ready."""
    config: dict[str, Any] = yaml.safe_load((HERE.parent / "examples" / "quickstart.yaml").read_text(encoding="utf-8"))
    with tierwise(config, folder) as (process, url):
        wait_for_engine(process, url)
        urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics").read()
        time.sleep(2)
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def help_seconds() -> tuple[float, float]:
    """Wall and CPU time of `tierwise --help`: medians of ten runs, after one that warms the file cache."""
    program = Path(sys.executable).with_name("tierwise")
    wall, cpu = [], []
    for _ in range(11):
        began, before = time.perf_counter(), _cpu_of_children()
        subprocess.run([program, "--help"], check=True, stdout=subprocess.DEVNULL)
        wall.append(time.perf_counter() - began)
        cpu.append(_cpu_of_children() - before)
    return statistics.median(wall[1:]), statistics.median(cpu[1:])


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def packages(folder: Path) -> list[str]:
    """The packages after `pip install tierwise` in a fresh environment, without pip and setuptools."""
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", HERE.parent], check=True)
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True)
    return sorted(one["name"] for one in json.loads(listed.stdout) if one["name"] not in ("pip", "setuptools", "wheel"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--install", action="store_true", help="also count the packages of a fresh install")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        wall, cpu = help_seconds()
        found = {"resident_mb": resident_mb(Path(name)), "help_seconds": wall, "help_cpu_seconds": cpu}
        if wanted.install:
            names = packages(Path(name))
            found["packages"] = float(len(names))
            print(", ".join(names))
    print(f"idle memory {found['resident_mb']:.0f} MB (at most {LIMITS['resident_mb']:.0f})")
    print(f"tierwise --help {found['help_seconds']:.3f} s (at most {LIMITS['help_seconds']}), {cpu:.3f} s of CPU")
    if "packages" in found:
        print(f"packages {found['packages']:.0f} (at most {LIMITS['packages']:.0f})")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(any(found.get(name, 0.0) > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
