"""Run lint, types and tests in the environment of `make latest`, then say which packages are not as locked.

Exit code 0 when all three pass. What differs is printed either way: it is where to look for the reason.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "requirements" / "tests.txt", ROOT / "requirements" / "cuda.txt")
CHECKS = {"lint": ("ruff", "check", "."), "types": ("mypy",), "tests": ("pytest",)}


def main() -> int:
    failed = [name for name, command in CHECKS.items() if not passes(*command)]
    rows = changes()
    width = max(len(name) for name, _, _ in rows) if rows else 0
    print(f"\nNot as locked, on Python {sys.version.split()[0]}: {len(rows)} packages")
    for name, locked, here in rows:
        print(f"  {name:{width}}  {locked} -> {here}")
    print(f"\nWith the newest packages: {' and '.join(failed) + ' failed' if failed else 'lint, types and tests pass'}")
    return 1 if failed else 0


def passes(module: str, *arguments: str) -> bool:
    print(f"\n$ {' '.join((module, *arguments))}", flush=True)
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False).returncode == 0


def changes() -> list[tuple[str, str, str]]:
    """Package, locked version, version here; a dash where one of the two has none."""
    lines = (line.split(" \\")[0] for path in LOCKS for line in path.read_text().splitlines() if line[:1].isalnum())
    requirements = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    locked = {normal(one.name): str(one.specifier).removeprefix("==") for one in requirements}
    here = {normal(one.name): one.version for one in metadata.distributions()}
    apart = {"tierwise", "pip"}  # not of the lock
    rows = [(name, locked.get(name, "-"), here.get(name, "-")) for name in sorted({*locked, *here} - apart)]
    return [row for row in rows if row[1] != row[2].partition("+")[0]]


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    sys.exit(main())
