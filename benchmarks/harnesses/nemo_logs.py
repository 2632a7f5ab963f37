"""NeMo Evaluator: the bundle of a benchmark of our own, with two repeats of each task."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

PACKAGES = ("nemo-evaluator==0.3.0", "scipy")
BENCHMARK = """
from nemo_evaluator import benchmark, scorer


@benchmark(name="questions", dataset="FOLDER/questions.jsonl", prompt="{question}", target_field="target")
@scorer
def equal(sample):
    return {"correct": sample.response.strip() == sample.target.strip()}
"""


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    rows = [{"id": one.id, "question": one.text, "target": one.target, "group": one.group} for one in QUESTIONS]
    (place.folder / "questions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (place.folder / "mine.py").write_text(BENCHMARK.replace("FOLDER", str(place.folder)), encoding="utf-8")
    nel = environment(place.home / "nemo", *PACKAGES, python=place.python) / "nel"
    for tier in TIERS:
        command: list[str | Path] = [
            nel,
            "eval",
            "run",
            "--bench",
            "mine.py",
            "--model-url",
            f"{place.url}/chat/completions",
        ]
        command += ["--model-id", tier, "--api-key", "none", "--repeats", "2", "-o", place.folder / tier]
        said = run(command, place.folder, {})
        found = sorted(path for path in (place.folder / tier).rglob("*") if path.is_file())
        if not found:
            raise SystemExit(f"nel wrote nothing:\n{said[-3000:]}")
        yield from ((path, f"nemo/{tier}/{path.relative_to(place.folder / tier)}") for path in found)
