"""EvalScope: its GSM8K on questions of our own, twice each, one of them refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harnesses.tier import Fixture, Place

PACKAGES = ("evalscope==1.14.1",)
KEPT = (".json", ".jsonl")


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    data = place.folder / "data"
    data.mkdir()
    rows = [{"question": one.text, "answer": f"{one.group} #### {one.target}"} for one in QUESTIONS]
    for name in ("train.jsonl", "test.jsonl"):
        (data / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    evalscope = environment(place.home / "evalscope", *PACKAGES, python=place.python) / "evalscope"
    given = {"gsm8k": {"dataset_id": str(data), "subset_list": ["default"], "few_shot_num": 0}}
    for tier in TIERS:
        into = place.folder / "outputs" / tier
        command: list[str | Path] = [evalscope, "eval", "--model", tier, "--api-url", place.url, "--api-key", "none"]
        command += ["--eval-type", "openai_api", "--datasets", "gsm8k", "--dataset-args", json.dumps(given)]
        command += ["--repeats", "2", "--eval-batch-size", "1", "--ignore-errors", "--no-timestamp", "--work-dir", into]
        said = run([*command, "--generation-config", '{"retries": 1}'], place.folder, {"HF_HUB_OFFLINE": "1"})
        found = sorted(path for path in into.rglob("*") if path.suffix in KEPT)
        if not any(path.parent.parent.name == "reviews" for path in found):
            raise SystemExit(f"EvalScope wrote no reviews:\n{said[-3000:]}")
        yield from ((path, f"evalscope/{path.relative_to(place.folder / 'outputs')}") for path in found)
