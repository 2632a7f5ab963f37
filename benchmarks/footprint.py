"""The footprint of Tierwise: idle memory, times of `tierwise --help` and of a start, and packages of the core install.

    python benchmarks/footprint.py [--install] [--json FILE]

Memory is that of the gateway's process with the quickstart's config, without the engine; and with everything on: stored
keys, gRPC, a certified route that is shadowed, metrics. A start is that of `tierwise serve` before a server that runs
already, until it listens; it is measured in seconds and in CPU seconds, because others may use the machine. `--install`
installs the core into a fresh environment, which takes a minute and needs a package index.
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
from processes import HERE, cpu_seconds, listen, running, tierwise
from tierwise import plan as planning

sys.path.insert(0, str(HERE.parent / "tests"))
from certificates import certificate_for

LIMITS = {
    "resident_mb": 120.0,
    "resident_mb_all": 120.0,
    "help_seconds": 0.3,
    "start_cpu_seconds": 1.0,
    "packages": 36.0,
}


def resident_mb(folder: Path) -> float:
    """Resident memory of the serving process after some idle seconds, with the engine ready."""
    config: dict[str, Any] = yaml.safe_load((HERE.parent / "examples" / "quickstart.yaml").read_text(encoding="utf-8"))
    with tierwise(config, folder) as (process, url):
        wait_for_engine(process, url)
        urllib.request.urlopen(f"{url.removesuffix('/v1')}/metrics").read()
        time.sleep(2)
        return _resident_mb(process)


def _resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def everything_on(folder: Path) -> tuple[float, float, float]:
    """Resident memory with everything on, and the seconds and CPU seconds of a start: medians of five starts."""
    server, upstream = listen()  # never answers, and is never asked
    path, ledger = folder / "tierwise.yaml", folder / "all.db"
    path.write_text(json.dumps(certified(upstream)), encoding="utf-8")
    certificate_for(planning.load(path), {}).write(folder / "auto.json")
    create = (sys.executable, "-m", "tierwise", "keys", "create", "--admin", "--json", "--ledger", ledger)
    key = json.loads(subprocess.run(create, check=True, capture_output=True).stdout)["key"]
    resident, wall, cpu = 0.0, [], []
    options = ("--port", "0", "--ledger", ledger, "--grpc-port", "0")
    for _ in range(5):
        began = time.perf_counter()
        with running("-m", "tierwise", "serve", path, *options, log=folder / "all.log") as (process, url):
            wall.append(time.perf_counter() - began)
            cpu.append(cpu_seconds(process))
            for page in ("/v1/models", "/v1/usage", "/metrics"):
                asked = urllib.request.Request(f"{url}{page}", headers={"authorization": f"Bearer {key}"})
                urllib.request.urlopen(asked).read()
            time.sleep(2)
            resident = max(resident, _resident_mb(process))
    server.close()
    return resident, statistics.median(wall), statistics.median(cpu)


def certified(url: str) -> dict[str, Any]:
    """A config file with a certified route that is shadowed, before a server that runs already."""
    http = {"engine": "http", "url": url}
    route = {"cascade": ["fast", "max"], "signals": [{"length": 99}], "certificate": "auto.json"}
    return {
        "deployments": {"small": {**http, "model": "small"}, "large": {**http, "model": "large"}},
        "tiers": {
            "fast": {"deployment": "small", "policy": "single"},
            "max": {"deployment": "large", "policy": {"majority": {"n": 3}}},
        },
        "routes": {"auto": {**route, "shadow": {"share": 0.1}}},
        "prices": {"small": {"completion": 1.0}, "large": {"completion": 10.0}},
    }


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
        everything, start, start_cpu = everything_on(Path(name))
        found |= {"resident_mb_all": everything, "start_seconds": start, "start_cpu_seconds": start_cpu}
        if wanted.install:
            names = packages(Path(name))
            found["packages"] = float(len(names))
            print(", ".join(names))
    print(f"idle memory {found['resident_mb']:.0f} MB (at most {LIMITS['resident_mb']:.0f})")
    print(f"idle memory with everything on {everything:.0f} MB (at most {LIMITS['resident_mb_all']:.0f})")
    print(f"start {start:.2f} s, {start_cpu:.2f} s of CPU (at most {LIMITS['start_cpu_seconds']:g})")
    print(f"tierwise --help {found['help_seconds']:.3f} s (at most {LIMITS['help_seconds']}), {cpu:.3f} s of CPU")
    if "packages" in found:
        print(f"packages {found['packages']:.0f} (at most {LIMITS['packages']:.0f})")
    if wanted.json:
        wanted.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    sys.exit(any(found.get(name, 0.0) > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
