"""promptfoo: the results of two providers in one file, with two repeats of each test."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

PACKAGE = "promptfoo@0.121.20"
"""The last version for Node 20."""
QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "true",
    "PROMPTFOO_DISABLE_SHARING": "1",
    "OPENAI_API_KEY": "none",
}


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers at once. Yields the file, and where it belongs."""
    installed = place.home / "promptfoo"
    program = installed / "node_modules" / ".bin" / "promptfoo"
    if not program.exists():
        subprocess.run(["npm", "install", "--prefix", installed, "--no-audit", "--no-fund", PACKAGE], check=True)
    tests = [
        {
            "description": one.id,
            "vars": {"question": one.text},
            "metadata": {"group": one.group},
            "assert": [{"type": "equals", "value": one.target}],
        }
        for one in QUESTIONS
    ]
    providers = [
        {"id": f"openai:chat:{tier}", "label": tier, "config": {"apiBaseUrl": place.url, "temperature": 0}}
        for tier in TIERS
    ]
    config = {"prompts": ["{{question}}"], "providers": providers, "tests": tests}
    (place.folder / "promptfooconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command: list[str | Path] = [
        program,
        "eval",
        "-c",
        "promptfooconfig.json",
        "-o",
        "results.json",
        "--repeat",
        "2",
        "--no-cache",
    ]
    keys = {**QUIET, "PROMPTFOO_CONFIG_DIR": str(place.folder / "state")}
    said = run([*command, "--max-concurrency", "1", "--no-progress-bar", "--no-table"], place.folder, keys)
    path = place.folder / "results.json"
    if not path.exists():
        raise SystemExit(f"promptfoo wrote nothing:\n{said[-3000:]}")
    yield path, "promptfoo/results.json"
