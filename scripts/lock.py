"""Write the locks in requirements/ and src/tierwise/tested.txt.

`make lock` keeps every version that still fits, `make lock UPGRADE=1` takes the newest of everything. A lock serves all
Pythons from 3.11 on, and holds the hash of every file that pip may take. What decides their contents: pyproject.toml,
and in requirements/ the *.in files and torch-cpu.txt.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "requirements"
CPU_BUILDS = (LOCKS / "torch-cpu.txt").read_text()
PROJECT = ROOT / "pyproject.toml"
TESTED = ROOT / "src" / "tierwise" / "tested.txt"

CUDA = re.compile(r"(nvidia|cuda)-|triton\b")
"""What PyPI's torch asks for, and its CPU builds do not."""

FIRST = "# Written by `make lock`.\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--upgrade", action="store_true", help="take the newest versions that the ranges admit")
    upgrade = ["--upgrade"] if arguments.parse_args().upgrade else []
    project = tomllib.loads(PROJECT.read_text())["project"]
    with tempfile.TemporaryDirectory() as folder:
        everything, part, torch = (Path(folder, name) for name in ("everything.txt", "part.txt", "torch.txt"))
        torch.write_text(re.search(r"^torch==[\d.]+", CPU_BUILDS, re.MULTILINE)[0])
        everything.write_text("\n".join((kept("tests"), kept("cuda"))))
        packages = resolve(PROJECT, everything, "--all-extras", "--constraints", torch, *upgrade)
        write("tests", (one for one in packages if not CUDA.match(one)))
        write("cuda", filter(CUDA.match, packages))
        core = resolve(PROJECT, part, "--constraints", everything)
        write("core", core)
        for extra in project["optional-dependencies"].keys() - {"dev"}:
            found = resolve(PROJECT, part, "--extra", extra, "--constraints", everything)
            write(extra, (one for one in found if one not in core), "-r core.txt\n")
        for name, options in {
            "build": [],
            "uv": [],
            "proto": ["--constraints", everything],
            "vllm": ["--overrides", torch, "--excludes", LOCKS / "vllm-excludes.in"],
        }.items():
            part.write_text(kept(name))
            found = resolve(LOCKS / f"{name}.in", part, *options, *upgrade)
            write(name, (one for one in found if not CUDA.match(one)))
    TESTED.write_text(tested(project, packages))


def kept(name: str) -> str:
    """The versions of a lock as it stands, without hashes; nothing where there is none yet."""
    path = LOCKS / f"{name}.txt"
    return "\n".join(re.findall(r"^\w[^\\\n]*", path.read_text(), re.MULTILINE)) if path.exists() else ""


def resolve(source: Path, output: Path, *options: str | Path) -> list[str]:
    """What `source` asks for, directly or not: a package with its hashes each.

    Versions that stand in `output` are kept where they still fit, unless the options say otherwise.
    """
    shape = ("--universal", "--python-version=3.11", "--generate-hashes", "--no-annotate", "--no-header")
    command = (sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-config", *shape)
    subprocess.run([*command, "--output-file", output, *options, source], check=True)
    return re.findall(r"^\w.*\n(?: +--hash=.*\n)*", output.read_text(), re.MULTILINE)


def write(name: str, packages: Iterable[str], first: str = "") -> None:
    """Write a lock; torch gets the hashes of its CPU builds too."""
    builds = re.findall(r"--hash=\S+", CPU_BUILDS)
    lines = []
    for one in packages:
        more = [build for build in builds if one.startswith("torch==") and build not in one]
        lines.append(one.rstrip("\n") + "".join(f" \\\n    {build}" for build in more) + "\n")
    (LOCKS / f"{name}.txt").write_text(FIRST + first + "".join(lines))


def tested(project: dict, packages: list[str]) -> str:
    """What pyproject.toml asks for, the developers' tools aside: name, oldest version allowed, newest one locked."""
    extras = project["optional-dependencies"]
    asked = project["dependencies"] + [one for extra, some in extras.items() if extra != "dev" for one in some]
    newest = dict(re.match(r"([\w.-]+)==(\S+)", one).groups() for one in packages)  # a later one is for newer Pythons
    rows = set()
    for one in asked:
        name, oldest = re.match(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", one).groups()
        name = re.sub(r"[-_.]+", "-", name).lower()
        rows.add(f"{name} {oldest} {newest[name]}\n")
    return f"{FIRST}# package, oldest version allowed, newest version tested\n" + "".join(sorted(rows))


if __name__ == "__main__":
    main()
