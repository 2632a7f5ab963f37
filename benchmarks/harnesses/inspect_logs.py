"""Inspect: `.eval` logs of a task with two epochs, one refused question and a price for the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from harnesses.answers import QUESTIONS
from harnesses.tier import TIERS, environment, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harnesses.tier import Fixture, Place

PACKAGES = ("inspect-ai==0.3.285", "openai")
PROGRAM = """
import json
import sys

import inspect_ai
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelCost, ModelInfo, get_model, set_model_cost, set_model_info
from inspect_ai.scorer import match
from inspect_ai.solver import generate

url, tier, folder = sys.argv[1:4]
name = f"openai-api/tierwise/{tier}"
set_model_info(name, ModelInfo(organization="Tierwise", model=tier))
set_model_cost(name, ModelCost(input=1.0, output=4.0, input_cache_write=0.0, input_cache_read=0.0))
rows = json.load(open("questions.json", encoding="utf-8"))
samples = [
    Sample(id=row["id"], input=row["question"], target=row["target"], metadata={"group": row["group"]}) for row in rows
]


@inspect_ai.task
def questions():
    return inspect_ai.Task(dataset=samples, solver=generate(), scorer=match(location="exact"), epochs=2)


model = get_model(name, base_url=url, api_key="none", responses_api=False)
inspect_ai.eval(
    questions(), model=model, display="none", log_dir=folder, max_retries=0, fail_on_error=False, max_connections=1
)
"""


def make(place: Place) -> Iterator[Fixture]:
    """Run it for two tiers. Yields the files, and where they belong."""
    rows = [{"id": one.id, "question": one.text, "target": one.target, "group": one.group} for one in QUESTIONS]
    (place.folder / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
    (place.folder / "program.py").write_text(PROGRAM, encoding="utf-8")
    python_there = environment(place.home / "inspect", *PACKAGES) / "python"
    for tier in TIERS:
        said = run([python_there, "program.py", place.url, tier, place.folder / tier], place.folder, {})
        found = sorted((place.folder / tier).glob("*.eval"))
        if not found:
            raise SystemExit(f"Inspect wrote nothing:\n{said[-3000:]}")
        yield from ((path, f"inspect/{tier}.eval") for path in found)
